"""What stands in front of a receive tracker's machine: the next frame, and its state read ahead."""

from amaranth.hdl import Module, Mux, Signal

from hw import layouts
from hw.config import Config
from hw.operations import Operations
from model.contract import Status


class Intake:
    """The frames in front of a tracker's machine: the next one's state is read while the machine is busy.

    Contract: `take` is a state's condition to begin the next frame, with what the memories answer for it; `accept()`
    gives the statements. Behind a write of the state that the next frame needs, `again()` has it read once more.

    Members
    -------
    frame : Signal(layouts.track_request)    the frame at hand
    next : View                              the one behind it, if `i.valid`
    take : Signal                            it is of a connection, its state is there, and no operation waits
    index : Signal                           what the memories are to read
    """

    def __init__(self, m: Module, config: Config, tracker, operations: Operations):
        self.m = m
        self.tracker = tracker
        self.operations = operations
        self.frame = Signal(layouts.track_request(config))
        self.next = tracker.i.p
        self.take = Signal()
        self.index = Signal(config.index_bits)
        self._there = Signal()
        operating = operations.waiting
        m.d.comb += [
            self.index.eq(Mux(operating, tracker.operations.p.index, self.next.handle)),
            self.take.eq(tracker.i.valid & self.next.matched & self._there & ~operating),
        ]
        asked = Signal(name="state_asked")
        m.d.comb += asked.eq(tracker.i.valid & ~tracker.i.ready & ~operating & ~operations.opens)
        self._read = Signal(name="state_read")
        m.d.sync += [self._read.eq(asked), self._there.eq(asked)]

    def accept(self):
        self.m.d.comb += self.tracker.i.ready.eq(1)
        return self.frame.eq(self.next)

    def again(self):
        return [self._read.eq(0), self._there.eq(0)]

    def same(self):
        """The next frame is of the connection at hand."""
        index = len(self.index)
        return self.next.handle[:index] == self.frame.handle[:index]

    def idle(self, begin):
        """State "idle": an operation first; else a frame, by `begin()`, and one of no connection is passed by."""
        m, tracker = self.m, self.tracker
        offered = Signal()  # the end of a frame that passes by is not withdrawn
        m.d.sync += offered.eq(tracker.o.valid & ~tracker.o.ready)
        with m.If(self.operations.waiting & ~offered):
            self.operations.begin()
            m.next = "operation"
        with m.Elif(tracker.i.valid & ~self.next.matched):
            m.d.comb += [
                tracker.o.p.end.eq(1),
                tracker.o.p.payload_length.eq(self.next.payload_length),
                tracker.o.p.descriptor.status.eq(Status.BYPASS),
                tracker.o.p.descriptor.matched.eq(0),
                tracker.o.p.descriptor.handle.eq(0),
                tracker.o.valid.eq(tracker.checksum.valid),
                tracker.i.ready.eq(tracker.o.ready & tracker.checksum.valid),
                tracker.checksum.ready.eq(tracker.o.ready),
            ]
        with m.Elif(self.take):
            begin()
