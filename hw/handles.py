"""Handles: which indices are free, and the generation that tells an old handle from a new one."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.config import Config
from model.contract import GENERATION_BITS, INDEX_BITS


class Handles(wiring.Component):
    """Free list and generations (docs/contract.md, section 4).

    Contract: `next` is the handle the next ADD gets, valid while `any_free`; `allocate` takes it; with `config.late` it
    is there four cycles behind that. `live` says, two
    cycles after `query` was set, whether that handle stands for an installed connection. `free` gives the
    handle of the last query back and raises the generation. Allow three cycles between operations. After a reset all
    are free, but `entries` may hold what was allocated before: `clear` takes that from the index of the last query,
    and raises the generation if it was.

    Members
    -------
    next : Out(HANDLE_BITS)
    any_free : Out(1)
    free_count : Out
    allocate : In(1)
    query : In(HANDLE_BITS)
    live : Out(1)
    free : In(1)
    clear : In(1)
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "next": Out(layouts.HANDLE_BITS),
            "any_free": Out(1),
            "free_count": Out(config.index_bits + 1),
            "allocate": In(1),
            "query": In(layouts.HANDLE_BITS),
            "live": Out(1),
            "free": In(1),
            "clear": In(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self.config
        n = config.connections
        entry = data.StructLayout({"generation": GENERATION_BITS, "allocated": 1})
        m.submodules.entries = entries = memory.Memory(shape=entry, depth=n, init=[])
        m.submodules.freed = freed = memory.Memory(shape=config.index_bits, depth=n, init=[])
        next_entry, query_entry = entries.read_port(), entries.read_port()
        freed_read, freed_write = freed.read_port(), freed.write_port()
        write = entries.write_port()

        fresh = Signal(range(n + 1))  # indices from here on were never used
        head, tail = Signal(config.index_bits), Signal(config.index_bits)  # of the queue of freed ones
        any_fresh = Signal()
        next_index = Signal(config.index_bits)
        query_index = self.query[: config.index_bits]

        def known(target, value, init=0):
            """`config.late`: from a register."""
            if config.late:
                register = Signal.like(target, name=f"{target.name}_known", init=init)
                m.d.sync += register.eq(value)
                value = register
            m.d.comb += target.eq(value)

        known(any_fresh, fresh != n, 1)
        known(next_index, Mux(any_fresh, fresh, freed_read.data))
        known(self.any_free, self.free_count != 0, 1)
        m.d.comb += [
            freed_read.addr.eq(head),
            next_entry.addr.eq(next_index),
            query_entry.addr.eq(query_index),
            self.next.eq(Cat(next_index, Const(0, INDEX_BITS - config.index_bits), next_entry.data.generation)),
            freed_write.addr.eq(tail),
            freed_write.data.eq(query_index),
            write.addr.eq(next_index),
            write.data.generation.eq(next_entry.data.generation),
            write.data.allocated.eq(1),
        ]
        in_range = (self.query[:INDEX_BITS] >> config.index_bits) == 0
        if config.late:  # while the entry is read
            index_in_range = Signal()
            m.d.sync += index_in_range.eq(in_range)
            in_range = index_in_range
        m.d.sync += self.live.eq(
            query_entry.data.allocated & (query_entry.data.generation == self.query[INDEX_BITS:]) & in_range
        )
        used = Signal(config.index_bits + 1)
        known(self.free_count, n - used, n)
        with m.If(self.allocate):
            m.d.comb += write.en.eq(1)
            m.d.sync += used.eq(used + 1)
            with m.If(any_fresh):
                m.d.sync += fresh.eq(fresh + 1)
            with m.Else():
                m.d.sync += head.eq(head + 1)
        with m.Elif(self.free):
            m.d.comb += [
                write.addr.eq(query_index),
                write.data.generation.eq(query_entry.data.generation + 1),
                write.data.allocated.eq(0),
                write.en.eq(1),
                freed_write.en.eq(1),
            ]
            m.d.sync += [tail.eq(tail + 1), used.eq(used - 1)]
        with m.Elif(self.clear):
            m.d.comb += [
                write.addr.eq(query_index),
                write.data.generation.eq(query_entry.data.generation + query_entry.data.allocated),
                write.data.allocated.eq(0),
                write.en.eq(1),
            ]
        return m
