"""The chain of rooms: when each packet is where.

Every time is the maximum of a few earlier ones plus a constant (`costs`), so the chain is a recurrence over packets.
"""

from dataclasses import dataclass

import numpy as np

from model.cycles.context import PARTS, Uses
from model.cycles.costs import NEVER, cost_blocks
from model.cycles.packets import NO_PAUSE, Array, Packets
from model.cycles.recurrence import Before, Contexts, Cycles, Given, Multipliers, Times, Waits, run
from model.cycles.rooms import Rooms

BLOCK = 16384
"""Packets whose costs are found at one time: their arrays stay in a second-level cache."""


@dataclass
class Timing:
    """Cycles of each packet, counted from the first one's way in.

    Attributes
    ----------
    first_in, last_in, first_out, last_out : Array
        Cycle in which its first and last beat enter and leave.
    stalls : dict of Array
        By room: cycles it waited because the room was busy with those before it. `buffer` (full, or too many frames
        inside), `lookup`, `context` (not in the cache), `track`, `align`, `ghash` (no placing power yet), `verdict`,
        `keystream` (its overlay comes late), `release` (the bus).
    """

    first_in: Array
    last_in: Array
    first_out: Array
    last_out: Array
    stalls: dict[str, Array]

    @property
    def cycles(self) -> int:
        """From the first beat in to the last one out."""
        return int(self.last_out[-1] - self.first_in[0] + 1) if len(self.last_out) else 0


def simulate(packets: Packets, rooms: Rooms, uses: Uses | None = None) -> Timing:
    """Run the packets through the rooms. `uses` of a context cache, if not all state is in the device."""
    n = len(packets)
    given = Given(
        beats=-(-packets.size // rooms.width),
        arrival=packets.arrival + rooms.lead,
        gap=packets.gap + 1,
        pause=np.where(packets.pause == NO_PAUSE, NEVER, packets.pause),
    )
    times = Times(*np.empty((4, n), np.int64), *np.full((3, n if uses else 0), NEVER))
    waits = Waits(*np.zeros((len(Waits._fields), n), np.int64))
    cycles = Cycles(**{name: getattr(rooms, name) for name in Cycles._fields})
    contexts = _contexts(uses)
    before, multipliers = Before(), Multipliers.idle(rooms.multipliers, rooms.power_step, rooms.slots)
    for begin, costs, hashed in cost_blocks(packets, rooms, BLOCK):
        before = run(begin, costs, hashed, given, contexts, cycles, before, multipliers, times, waits)
    first_in, last_in = _fed(packets, rooms, given, times.first_in) if rooms.lead_beats else times[:2]
    out = times.begun_out + rooms.out, times.released + rooms.out
    return Timing(first_in, last_in, *out, waits._asdict())


def _contexts(uses: Uses | None) -> Contexts:
    if not uses:
        none = np.zeros(0, np.int64)
        return Contexts(False, PARTS, 0, 0, np.zeros(0, np.bool_), none, none, none, none)
    cache = uses.cache
    return Contexts(
        cached=True,
        parts=PARTS,
        latency=cache.latency,
        waiting=cache.waiting,
        miss=uses.miss,
        fill=np.where(uses.miss, cache.parts(cache.read), 0),
        back=np.where(uses.evicts, cache.parts(cache.written), 0),
        victim=uses.victim,
        free=uses.free,
    )


def _fed(packets: Packets, rooms: Rooms, given: Given, buffered: Array) -> tuple[Array, Array]:
    """First and last beat in, in front of the beats that wait for the packet buffer."""
    before = np.cumsum(given.beats) - given.beats
    wanted = before - rooms.lead_beats  # this beat has made room for the packet's first one
    index = np.clip(np.searchsorted(before, wanted, side="right") - 1, 0, None)
    room = np.where(wanted < 0, NEVER, buffered[index] + wanted - before[index] - rooms.lead + 2)
    free = np.maximum(packets.arrival, room)
    paused = packets.pause != NO_PAUSE
    free = np.maximum(free, np.where(paused, buffered - rooms.lead, NEVER))
    first = np.minimum(np.maximum.accumulate(free - before) + before, buffered - rooms.lead)
    return first, first + given.beats - 1
