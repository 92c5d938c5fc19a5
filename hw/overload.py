"""Whether the tracker is behind: the frame at hand would get its order too late."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.config import Config

BEHIND, LATE_BEHIND = 23, 80
"""Cycles that the tracker may be at a frame while what is behind it comes in or waits; with `config.late`. Those behind
it still leave 62 cycles after they came in then (docs/decisions.md, "Overload")."""
NEAR, LATE_NEAR = 32, 130
"""Cycles from the tracker to the way out, about."""


class Overload(wiring.Component):
    """Compares where the packet buffer is written and read with where the tracker's frame lies in it.

    A frame is late when so many beats have come in behind its end; cycles in which none does count as well if a whole
    frame waits there. Unless NEAR beats or more in front of it have yet to leave: then nobody waits for the tracker.

    Members
    -------
    written, taken : In(config.pointer_bits)    beats that have come into the packet buffer and left it, since reset
    ended : In(PACKET_BITS)                     frames that have come into it
    frame : In(layouts.track_request(config))   at the tracker's hand
    overload : Out(1)                           it was late in the cycle before, and is the same one
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "written": In(config.pointer_bits),
            "taken": In(config.pointer_bits),
            "ended": In(layouts.PACKET_BITS),
            "frame": In(layouts.track_request(config)),
            "overload": Out(1),
        })  # fmt: skip

    @staticmethod
    def limits(config: Config) -> tuple[int, int]:
        """Cycles behind its end, and beats in front of it, of a frame that is late."""
        return (LATE_BEHIND, LATE_NEAR) if config.late else (BEHIND, NEAR)

    def elaborate(self, platform):
        m = Module()
        config, frame = self.config, self.frame
        behind_limit, near = self.limits(config)
        end = Signal(layouts.OFFSET_BITS)
        behind, in_front = Signal(config.pointer_bits), Signal(config.pointer_bits)
        others = Signal(layouts.PACKET_BITS)  # whole ones behind it
        waited = Signal(range(behind_limit + 1))
        late = Signal()
        packet, written = Signal.like(frame.packet), Signal.like(self.written)  # a cycle ago
        same = packet == frame.packet
        m.d.comb += [
            end.eq(frame.payload_offset + frame.payload_length + config.width - 1),
            behind.eq(self.written - frame.base - (end >> config.rotate_bits) + waited - behind_limit),
            in_front.eq(frame.base - self.taken),
            others.eq(self.ended - frame.packet - 2),
            self.overload.eq(late & same),
        ]
        m.d.sync += [
            packet.eq(frame.packet),
            written.eq(self.written),
            late.eq(~behind[-1] & (in_front < near)),
        ]
        with m.If(~same):
            m.d.sync += waited.eq(0)
        with m.Elif(~others[-1] & (written == self.written) & (waited != behind_limit)):
            m.d.sync += waited.eq(waited + 1)
        return m
