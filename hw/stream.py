"""Stream helpers that Amaranth's library does not ship: a typed queue."""

from amaranth.hdl import Module
from amaranth.lib import fifo, stream, wiring
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
