"""Whether the device is behind: whole frames wait inside for an order, longer than one takes that nothing holds up."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import Config
from hw.layouts import PACKET_BITS

STEP = 16
OLD, LATE_OLD = 4, 10
"""A frame is old when it has been whole for that many times STEP cycles, at most STEP - 1 more: an order comes within
50, with `config.late` 126."""
WAITED = 4
"""Cycles in a row in which an old frame could have gone and did not: it is the device that makes it wait."""
SINCE = 256
"""Beats that leave until that is forgotten: who waits then may wait for the host."""


class Overload(wiring.Component):
    """Watches the packet buffer's way out; the tracker is told.

    Members
    -------
    ended : In(PACKET_BITS) see `hw.buffer.PacketBuffer`
    offered : In(1)         the buffer has a beat to give
    taken, last : In(1)     it is taken; the last one of its frame
    free : In(1)            the way out could take it
    behind : Out(1)         an old frame waits inside, whoever makes it wait
    overload : Out(1)       and the device does
    """

    def __init__(self, config: Config):
        self._steps = LATE_OLD if config.late else OLD
        super().__init__({
            "ended": In(PACKET_BITS),
            "offered": In(1),
            "taken": In(1),
            "last": In(1),
            "free": In(1),
            "behind": Out(1),
            "overload": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        left = Signal(PACKET_BITS)
        cycle = Signal(range(STEP))
        ended = [Signal(PACKET_BITS, name=f"ended_{n}") for n in range(self._steps + 1)]  # STEP cycles apart
        since_old = Signal(PACKET_BITS)
        old = Signal()
        waited = Signal(range(WAITED + 1))
        since = Signal(range(SINCE + 1))
        m.d.sync += [left.eq(left + (self.taken & self.last)), cycle.eq(cycle + 1)]
        with m.If(cycle == 0):
            m.d.sync += [later.eq(now) for later, now in zip(ended, [self.ended, *ended], strict=False)]
        m.d.comb += [
            since_old.eq(ended[-1] - left),
            old.eq((since_old != 0) & ~since_old[-1]),
        ]
        with m.If(self.taken):
            m.d.sync += waited.eq(0)
            with m.If(since != 0):
                m.d.sync += since.eq(since - 1)
        with m.Elif(self.offered & self.free & old):
            with m.If(waited == WAITED):
                m.d.sync += since.eq(SINCE)
            with m.Else():
                m.d.sync += waited.eq(waited + 1)
        m.d.sync += [self.behind.eq(old), self.overload.eq(old & (since != 0))]
        return m
