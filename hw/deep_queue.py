"""A queue in block RAM that nothing at its ends holds up in the same cycle."""

from amaranth.hdl import Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.stream import FlagQueue

FRONT = 8  # from a read to where it is seen that its place is free again are five cycles


class DeepQueue(wiring.Component):
    """First-in first-out queue in block RAM, one in and one out a cycle.

    Contract: a payload shows at `o` three cycles after it was given, `o.valid` from a register. The block RAM is read
    ahead into a few places in front, without an enable. `room` falls when less than `slack` places are left; what is
    given without a place is lost.

    Parameters
    ----------
    depth : int
        A power of two.
    slack : int
        What may be given once `room` has fallen.

    Members
    -------
    i_valid : In(1)
    i : In(shape)
    room : Out(1)
    o : Out(stream.Signature(shape))
    """

    def __init__(self, shape, *, depth: int, slack: int):
        if depth & (depth - 1):
            raise ValueError(f"depth {depth}: must be a power of two")
        self._shape, self._depth, self._slack = shape, depth, slack
        super().__init__({
            "i_valid": In(1),
            "i": In(shape),
            "room": Out(1, init=1),
            "o": Out(stream.Signature(shape)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        depth = self._depth
        m.submodules.storage = ram = memory.Memory(shape=self._shape, depth=depth, init=[])
        m.submodules.front = front = FlagQueue(self._shape, depth=FRONT)
        wiring.connect(m, front.o, wiring.flipped(self.o))
        write, read = ram.write_port(), ram.read_port()
        level = Signal(range(depth + 1))
        some = Signal()  # a payload is in the memory
        read_before = Signal()  # counted in `level` a cycle late
        due, place = Signal(range(FRONT + 1)), Signal(init=1)  # read and not yet taken; one more may be read
        reads, taken = Signal(), Signal()
        m.d.comb += [
            write.data.eq(self.i),
            write.en.eq(self.i_valid),
            reads.eq(some & place),
            front.i.valid.eq(read_before),
            front.i.p.eq(read.data),
        ]
        with m.If(reads):
            m.d.sync += read.addr.eq(read.addr + 1)
        with m.If(self.i_valid):
            m.d.sync += write.addr.eq(write.addr + 1)
        due_next = (due + reads - taken)[: len(due)]
        more, two, one = level[2:].any() | level[:2].all(), level == 2, level == 1
        m.d.sync += [
            read_before.eq(reads),
            level.eq(level + self.i_valid - read_before),
            some.eq(self.i_valid | more | (two & ~read_before) | ((two | (one & ~read_before)) & ~reads)),
            self.room.eq(level <= depth - self._slack),
            taken.eq(self.o.valid & self.o.ready),
            due.eq(due_next),
            place.eq(due_next < FRONT),
        ]
        return m
