"""A tracker's operations: some take the machine between two frames, others pass it by."""

from amaranth.hdl import Module, Signal

from hw.layouts import TrackerOperation
from model.contract import Result


class Operations:
    """INIT writes the state of a connection that no frame is about, so it waits for no frame.

    With `clear_passes` neither does CLEAR: a receiver's flow table has let go of the connection and its frames are
    out. A transmit request brings its handle along, and CLEAR is what makes that stale: it comes between two frames.

    Members
    -------
    waiting : Signal    an operation for the machine is there
    running : Signal    the machine is at it; from its first cycle to the transfer of its answer
    writes : Signal     to be set: the machine writes a state in this cycle
    opens : Signal      an operation that passes by is taken in this cycle: write what it says
    opened : Signal     such a one is to be answered
    init : Value        with `opens`: INIT
    """

    def __init__(self, m: Module, tracker, *, clear_passes: bool):
        self.m = m
        self.tracker = tracker
        self.waiting = Signal()
        self.running = Signal()
        self.writes = Signal()
        self.opens = Signal()
        operations = tracker.operations
        self.init = operations.p.kind == TrackerOperation.INIT
        self.opened = Signal()
        past = self.init | (operations.p.kind == TrackerOperation.CLEAR) if clear_passes else self.init
        m.d.comb += [
            self.waiting.eq(operations.valid & ~past & ~self.opened),
            self.opens.eq(operations.valid & past & ~self.opened & ~self.running & ~self.writes),
            tracker.answers.valid.eq(self.opened),
        ]
        with m.If(tracker.answers.valid & tracker.answers.ready):
            m.d.sync += [self.opened.eq(0), self.running.eq(0)]
        with m.If(self.opens):
            m.d.comb += operations.ready.eq(1)
            m.d.sync += [self.opened.eq(1), tracker.answers.p.result.eq(Result.OK)]

    def begin(self):
        """In the machine's idle state: the operation that waits is taken up."""
        self.m.d.sync += self.running.eq(1)
