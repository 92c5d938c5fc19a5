"""Beats that wait for the checksum unit."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.config import Config
from hw.layouts import beat

DELAY_DEPTH = 32
"""Beats waiting for their plan; the parser has a plan ready after at most 128 / W + 9 beats (`config.late`: 21)."""


class PairQueue(wiring.Component):
    """Queue of beats that gives one or two of them a cycle.

    Members
    -------
    i : In(stream.Signature(beat(config)))
    low, high : Out(beat(config))   the two oldest beats
    level : Out                     how many there are (of `low` and `high`: those it covers)
    some : Out(1)                   `config.late`: there are any
    take : In(2)                    so many are taken in this cycle, at most `level`
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "i": In(stream.Signature(beat(config))),
            "low": Out(beat(config)),
            "high": Out(beat(config)),
            "level": Out(range(DELAY_DEPTH + 1)),
            **({"some": Out(1)} if config.late else {}),
            "take": In(2),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        write = Signal(range(2 * DELAY_DEPTH))
        read = Signal(range(2 * DELAY_DEPTH))
        push = Signal()
        m.d.comb += self.level.eq((write - read)[: len(read)])
        if self._config.late:  # from a register: the last place stays empty
            room = Signal(init=1)
            m.d.sync += room.eq(self.level < DELAY_DEPTH - 1)
            m.d.comb += [self.i.ready.eq(room), self.some.eq(write != read)]
        else:
            m.d.comb += self.i.ready.eq(self.level != DELAY_DEPTH)
        m.d.comb += push.eq(self.i.valid & self.i.ready)
        m.d.sync += [write.eq(write + push), read.eq(read + self.take)]
        bank_data = []
        # The beat behind one in the odd bank is in the even bank one row further.
        for bank, row in enumerate(((read + 1)[1 : len(read) - 1], read[1:-1])):
            ram = memory.Memory(shape=beat(self._config), depth=DELAY_DEPTH // 2, init=[])
            m.submodules[f"bank{bank}"] = ram
            w, r = ram.write_port(), ram.read_port(domain="comb")
            m.d.comb += [
                w.addr.eq(write[1:-1]),
                w.data.eq(self.i.p),
                w.en.eq(push & (write[0] == bank)),
                r.addr.eq(row),
            ]
            bank_data.append(r.data.as_value())
        even, odd = bank_data
        m.d.comb += [
            self.low.eq(Mux(read[0], odd, even)),
            self.high.eq(Mux(read[0], even, odd)),
        ]
        return m
