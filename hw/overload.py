"""Whether the crypto is behind: frames wait inside, whole, and none of them can go."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import Config
from hw.layouts import MAX_PACKETS, PACKET_BITS

WAITED = 4
"""Cycles in a row in which the way out could give a beat of a whole frame, and its order or keystream is not there:
with a backlog it is the crypto that made it."""
SINCE = 256
"""Beats that leave until that is forgotten: the backlog may be the host's by then, and goes at the pace of the bus."""
FRAMES = 3
"""Whole frames inside that are a backlog if they fill a quarter of the packet buffer. (Fewer are one that comes in
beside one that leaves.)"""
MANY = MAX_PACKETS - 3
"""Whole frames inside that are one whatever their size."""


class Overload(wiring.Component):
    """Watches the packet buffer's way out; the tracker is told.

    Members
    -------
    written, ended : In     see `hw.buffer.PacketBuffer`
    offered : In(1)         the buffer has a beat to give
    taken, last : In(1)     it is taken; the last one of its frame
    free : In(1)            the way out could take it
    overload : Out(1)
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "written": In(config.pointer_bits),
            "ended": In(PACKET_BITS),
            "offered": In(1),
            "taken": In(1),
            "last": In(1),
            "free": In(1),
            "overload": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self._config
        gone = Signal(config.pointer_bits)
        left = Signal(PACKET_BITS)
        inside = Signal(config.pointer_bits)
        whole = Signal(PACKET_BITS)
        waited = Signal(range(WAITED + 1))
        since = Signal(range(SINCE + 1))
        backlog = Signal()
        m.d.sync += [gone.eq(gone + self.taken), left.eq(left + (self.taken & self.last))]
        m.d.comb += [
            inside.eq(self.written - gone),
            whole.eq(self.ended - left),
            backlog.eq((whole >= MANY) | ((whole >= FRAMES) & (inside >= config.buffer_beats // 4))),
        ]
        with m.If(self.taken):
            m.d.sync += waited.eq(0)
            with m.If(since != 0):
                m.d.sync += since.eq(since - 1)
        with m.Elif(self.offered & self.free & (whole != 0)):
            with m.If(waited != WAITED):
                m.d.sync += waited.eq(waited + 1)
            with m.Elif(backlog):
                m.d.sync += since.eq(SINCE)
        m.d.sync += self.overload.eq(backlog & (since != 0))
        return m
