"""Ranges of a stream that have not passed yet."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from hw.config import Config
from hw.priority import lowest
from hw.sequence import after, from_on
from model.contract import HOLES


class Holes(wiring.Component):
    """The holes of every connection: asked whether a range is untouched, and told what passes.

    Contract: `check` or `cut` is held with its operands until `done`, one cycle in which the answer stands. Two cycles
    for each hole in use.

    Members
    -------
    index : In(config.index_bits)
    used : In(HOLES)             places in use
    seen : In(32)                end of what has passed
    start, end : In(32)          the range
    check : In(1)
    cut : In(1)                  the range passes
    done : Out(1)
    untouched : Out(1)           no byte of the range has passed; with `check`
    left : Out(HOLES)            places in use from now on; with `cut`
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "index": In(config.index_bits),
            "used": In(HOLES),
            "seen": In(32),
            "start": In(32),
            "end": In(32),
            "check": In(1),
            "cut": In(1),
            "done": Out(1),
            "untouched": Out(1),
            "left": Out(HOLES),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        hole = data.StructLayout({"start": 32, "end": 32})
        m.submodules.holes = holes = memory.Memory(shape=hole, depth=self.config.connections * HOLES, init=[])
        read, write = holes.read_port(), holes.write_port()
        start, end = self.start, self.end
        todo = Signal(HOLES)
        n = lowest(m, todo)
        free = lowest(m, ~self.left)
        added = Signal()  # a range that becomes a hole of its own
        addition = Signal(hole)
        at = read.data
        base = self.index << (HOLES - 1).bit_length()
        m.d.comb += [read.addr.eq(base | n), write.addr.eq(base | n)]

        with m.FSM():
            with m.State("idle"):
                m.d.sync += [
                    todo.eq(self.used),
                    self.left.eq(self.used),
                    self.untouched.eq(from_on(start, self.seen)),
                    added.eq(after(start, self.seen)),
                    addition.start.eq(self.seen),
                    addition.end.eq(start),
                ]
                with m.If(self.check & from_on(start, self.seen)):
                    m.next = "done"
                with m.Elif(self.check | self.cut):
                    m.next = "read"

            with m.State("read"):
                m.next = "compare"
                with m.If(todo == 0):
                    m.next = "done"
                    with m.If(self.cut):
                        m.next = "add"

            with m.State("compare"):
                m.next = "read"
                m.d.sync += todo.bit_select(n, 1).eq(0)
                apart = from_on(start, at.end) | from_on(at.start, end)
                in_front, behind = after(start, at.start), after(at.end, end)
                with m.If(self.check):
                    with m.If(from_on(start, at.start) & from_on(at.end, end)):
                        m.d.sync += self.untouched.eq(1)
                        m.next = "done"
                with m.Elif(~apart):
                    m.d.comb += write.en.eq(in_front | behind)
                    with m.If(in_front):
                        m.d.comb += [write.data.start.eq(at.start), write.data.end.eq(start)]
                    with m.Else():
                        m.d.comb += [write.data.start.eq(end), write.data.end.eq(at.end)]
                    with m.If(in_front & behind):
                        m.d.sync += [added.eq(1), addition.start.eq(end), addition.end.eq(at.end)]
                    with m.If(~in_front & ~behind):
                        m.d.sync += self.left.bit_select(n, 1).eq(0)

            with m.State("add"):
                # What finds no place counts as passed.
                with m.If(added & ~self.left.all()):
                    m.d.comb += [write.addr.eq(base | free), write.data.eq(addition), write.en.eq(1)]
                    m.d.sync += self.left.bit_select(free, 1).eq(1)
                m.next = "done"

            with m.State("done"):
                m.d.comb += self.done.eq(1)
                m.next = "idle"
        return m
