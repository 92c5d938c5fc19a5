"""What Corundum sends along with a frame, kept while the frame is in the device."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.config import Config
from hw.stream import Queue
from model.contract import MAX_FRAME


class Sideband(wiring.Component):
    """Queues the sideband of each frame that goes by.

    Contract: it is that of the frame's last beat, which alone has the error flag right; of a frame longer than
    MAX_FRAME, that of the beat there, for the device may let such a frame out before it has ended. It shows at `o` one
    cycle after that beat. A beat must not go by while `ready` is low.

    Parameters
    ----------
    config : Config
    side : ShapeLike
    depth : int
        Frames that can be inside.

    Members
    -------
    go : In(1)           a beat goes by in this cycle
    last : In(1)         of it, valid with or without `go`
    side : In(side)      likewise
    ready : Out(1)       does not depend on `go`
    o : Out(stream.Signature(side))
    """

    def __init__(self, config: Config, side, *, depth: int):
        self._side = side
        self._depth = depth
        self._limit = MAX_FRAME // config.width
        super().__init__({
            "go": In(1),
            "last": In(1),
            "side": In(side),
            "ready": Out(1),
            "o": Out(stream.Signature(side)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = Queue(self._side, depth=self._depth)
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        beats = Signal(range(self._limit + 1))  # of this frame that have gone by; stays at the limit
        due = Signal()
        m.d.comb += [
            due.eq((self.last & (beats != self._limit)) | (beats == self._limit - 1)),
            self.ready.eq(queue.i.ready | ~due),
            queue.i.valid.eq(self.go & due),
            queue.i.p.eq(self.side),
        ]
        with m.If(self.go):
            with m.If(self.last):
                m.d.sync += beats.eq(0)
            with m.Elif(beats != self._limit):
                m.d.sync += beats.eq(beats + 1)
        return m
