"""Requests of the keystream room wait here until their connection's round keys are on their way."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.config import Config
from hw.stream import FlagQueue

DEPTH = 12
"""Requests that wait: a key is fetched in seven cycles, while those in front of it leave."""


def loader_item(config: Config):
    """A request; or, with `reload`, a key operation that takes its key into the pipeline: `derive`, to encrypt zero."""
    return data.StructLayout({"request": layouts.keystream_request(config), "reload": 1, "derive": 1})


class KeyLoader(wiring.Component):
    """Fetches the keys of requests ahead of them.

    Contract: in order, one a cycle as long as they have the same key. Another key takes seven cycles, less as many as
    requests wait in front of its first one, and nine since the one before. `select.swap` comes a cycle behind `o`.

    Members
    -------
    i : In(stream.Signature(loader_item))
    o : Out(stream.Signature(loader_item, always_ready=True))
    select : Out(layouts.round_key_select)
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "i": In(stream.Signature(loader_item(config))),
            "o": Out(stream.Signature(loader_item(config), always_ready=True)),
            "select": Out(layouts.round_key_select(config)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config, item = self._config, loader_item(self._config)
        waiting = data.StructLayout({"item": item, "change": 1})
        m.submodules.queue = queue = FlagQueue(waiting, depth=DEPTH)
        m.submodules.jobs = jobs = FlagQueue(config.index_bits, depth=DEPTH)

        # which of them have another key than the one before
        accept = self.i.valid & self.i.ready
        coming = self.i.p.request
        taken, taken_valid, change = Signal(item), Signal(), Signal()
        last, known = Signal(config.index_bits), Signal()
        m.d.sync += [
            self.i.ready.eq(queue.level < DEPTH - 3),  # from a register: what is on its way is not counted yet
            taken.eq(self.i.p),
            taken_valid.eq(accept),
            change.eq(self.i.p.reload | (~coming.end & (~known | (coming.index != last)))),
        ]
        with m.If(accept & ~coming.end):
            m.d.sync += [last.eq(coming.index), known.eq(1)]
        m.d.comb += [
            queue.i.valid.eq(taken_valid),
            queue.i.p.item.eq(taken),
            queue.i.p.change.eq(change),
            jobs.i.valid.eq(taken_valid & change),
            jobs.i.p.eq(taken.request.index),
        ]

        # the next key: in the pipeline's waiting registers, until the request that it is for has left
        loading, held, leaves = Signal(), Signal(), Signal()
        m.d.comb += [
            leaves.eq(queue.o.valid & (~queue.o.p.change | held)),
            queue.o.ready.eq(leaves),
            jobs.o.ready.eq(~loading & ~held),
            self.select.load.eq(loading),
        ]
        step = Signal(3)
        m.d.comb += Cat(self.select.word, self.select.row).eq(step)
        with m.If(jobs.o.valid & jobs.o.ready):
            m.d.sync += [loading.eq(1), step.eq(0), self.select.index.eq(jobs.o.p)]
        with m.If(loading):
            m.d.sync += step.eq(step + 1)
            with m.If(step == 4):  # the words that are still to come are not wanted before
                m.d.sync += held.eq(1)
            with m.If(step == 7):
                m.d.sync += loading.eq(0)
        with m.If(leaves & queue.o.p.change):
            m.d.sync += held.eq(0)

        changed = Signal()
        m.d.sync += [
            self.o.valid.eq(leaves),
            self.o.p.eq(queue.o.p.item),
            changed.eq(leaves & queue.o.p.change),
            self.select.swap.eq(changed),
        ]
        return m
