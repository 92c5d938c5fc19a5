"""Stream helpers that Amaranth's library does not ship: typed queues, one of two registers, and a register."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out


class Queue(wiring.Component):
    """First-in first-out queue of typed payloads, one in and one out a cycle.

    Contract: `i.ready` falls only when `depth` payloads are inside; a payload shows at `o` one cycle after it was
    taken (`buffered`: two, and the memory may be block RAM).

    Members
    -------
    i : In(stream.Signature(shape))
    o : Out(stream.Signature(shape))
    level : Out(range(depth + 1))    payloads inside
    """

    def __init__(self, shape, *, depth: int, buffered: bool = False):
        self._depth = depth
        self._buffered = buffered
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
            "level": Out(range(depth + 2)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        width = len(self.i.p.as_value()) if hasattr(self.i.p, "as_value") else len(self.i.p)
        kind = fifo.SyncFIFOBuffered if self._buffered else fifo.SyncFIFO
        m.submodules.fifo = f = kind(width=width, depth=self._depth)
        m.d.comb += [
            f.w_data.eq(self.i.p),
            f.w_en.eq(self.i.valid),
            self.i.ready.eq(f.w_rdy),
            self.o.p.eq(f.r_data),
            self.o.valid.eq(f.r_rdy),
            f.r_en.eq(self.o.ready),
            self.level.eq(f.level),
        ]
        return m


class Slice(wiring.Component):
    """Two registers in a stream's way: neither `valid` nor `ready` goes through in the same cycle.

    Contract: that of a Queue of depth 2. Which register is written and which is shown is one register's output each,
    so that no `ready` enables a whole payload.

    Members
    -------
    i : In(stream.Signature(shape))
    o : Out(stream.Signature(shape))
    """

    def __init__(self, shape):
        self._shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        full, full_next, write, write_next, read = (Signal() for _ in range(5))
        push, pop = Signal(), Signal()
        places = [Signal(self._shape, name=f"place{k}") for k in range(2)]
        follows = [Signal(name=f"follows{k}", init=k == 0) for k in range(2)]  # what is not valid may come in as well
        m.d.comb += [
            self.i.ready.eq(~full),
            push.eq(self.i.valid & ~full),
            pop.eq(self.o.valid & self.o.ready),
            full_next.eq(~pop & (full | (push & self.o.valid))),
            write_next.eq(write ^ push),
            self.o.p.eq(Mux(read, places[1], places[0])),
        ]
        for k, place in enumerate(places):
            m.d.sync += follows[k].eq(~full_next & (write_next == k))
            with m.If(follows[k]):
                m.d.sync += place.eq(self.i.p)
        m.d.sync += [
            write.eq(write_next),
            read.eq(read ^ pop),
            full.eq(full_next),
            self.o.valid.eq(push | full | (self.o.valid & ~pop)),
        ]
        return m


class Hold(wiring.Component):
    """One register in a stream's way: neither `valid`, `ready` nor the payload goes through in the same cycle.

    Contract: a payload every other cycle. Half of a Slice, and no multiplexer.

    Members
    -------
    i : In(stream.Signature(shape))
    o : Out(stream.Signature(shape))
    """

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(~self.o.valid)
        with m.If(self.o.valid):
            m.d.sync += self.o.valid.eq(~self.o.ready)
        with m.Else():  # what is not valid may come in as well: one register enables all
            m.d.sync += [self.o.valid.eq(self.i.valid), self.o.p.eq(self.i.p)]
        return m


class FlagQueue(wiring.Component):
    """A Queue whose `o.valid` and `i.ready` come from registers.

    Contract: that of an unbuffered Queue.

    Members
    -------
    i : In(stream.Signature(shape))
    o : Out(stream.Signature(shape))
    level : Out(range(depth + 1))    payloads inside
    """

    def __init__(self, shape, *, depth: int):
        self._depth = depth
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
            "level": Out(range(depth + 1)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        depth = self._depth
        width = len(self.i.p.as_value()) if hasattr(self.i.p, "as_value") else len(self.i.p)
        m.submodules.storage = storage = Memory(shape=width, depth=depth, init=[])
        write, read = storage.write_port(), storage.read_port(domain="comb")
        full, push, pop = Signal(), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~full),
            push.eq(self.i.valid & ~full),
            pop.eq(self.o.valid & self.o.ready),
            write.data.eq(self.i.p),
            write.en.eq(push),
            self.o.p.eq(read.data),
        ]
        for way, address in (push, write.addr), (pop, read.addr):
            place = Signal(range(depth))
            m.d.comb += address.eq(place)
            with m.If(way):
                m.d.sync += place.eq(Mux(place == depth - 1, 0, place + 1))
        with m.If(push & ~pop):
            m.d.sync += [self.level.eq(self.level + 1), self.o.valid.eq(1), full.eq(self.level == depth - 1)]
        with m.Elif(pop & ~push):
            m.d.sync += [self.level.eq(self.level - 1), self.o.valid.eq(self.level != 1), full.eq(0)]
        return m
