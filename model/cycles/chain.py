"""The chain of rooms: when each packet is where.

Every time is the maximum of a few earlier ones plus a constant (`costs`), so the chain is a recurrence over packets. It
is stepped for many stretches of the packet list at once, each from the state that the stretch before left; those states
are guessed, and the stretches stepped again until every one ends as the next began. The answer is that of one long run.

Where rooms are about as fast as one another, what one is late by goes on through thousands of packets: `leads` tells
the next guess how far. What then still differs without a packet entering or leaving at another time is let be.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from model.cycles import placing
from model.cycles.context import Uses
from model.cycles.costs import NEVER
from model.cycles.leads import Late, carried
from model.cycles.packets import NO_PAUSE, Array, Packets
from model.cycles.placing import State
from model.cycles.rooms import INSIDE, Rooms
from model.cycles.rows import Grid, Times, TooLong
from model.cycles.stalls import ROOMS, stalls
from model.cycles.steps import LATEST, Steps

STRETCH = 256
"""Packets of a stretch at least: far more than are inside at one time."""
STRETCHES = 4096
WARM = 128
"""Packets that the first guess of a state comes from."""
MOST_LATE = 1 << 22
"""Cycles by which a guess is later than what it comes from: more than a full device takes, and few of 32 bits."""
TRACKED = ("taken_before", "taken", "tracked", "aligned", "overlaid")
"""What is as late as the tracker is."""
TRIES = 64
"""Times that the states between stretches are put right. What is left then is `Timing.doubt`."""
PATIENCE, SMALL = 7, 8
"""After so many tries a doubt is left that is no more than such a part of a stretch's cycles."""
SPARE = 8
"""Cycles by which the verdict is to be later than what the tracker's being late changes."""


@dataclass
class Timing:
    """Cycles of each packet, counted from the first one's way in.

    Attributes
    ----------
    first_in, last_in, first_out, last_out : Array
        Cycle in which its first and last beat enter and leave.
    waits : callable
        Gives `stalls`, by room: cycles it waited because the room was busy with those before it. `buffer` (full, or too
        many frames inside), `lookup`, `context` (not in the cache), `track`, `align`, `ghash` (no placing power yet),
        `verdict`, `keystream` (its overlay comes late), `release` (the bus).
    """

    first_in: Array
    last_in: Array
    first_out: Array
    last_out: Array
    waits: Callable[[], dict[str, Array]]
    doubt: int = 0
    """0: packets enter and leave as in one long run. Else by how much a stretch of them was begun too early or late."""

    @cached_property
    def stalls(self) -> dict[str, Array]:
        return self.waits()

    @property
    def cycles(self) -> int:
        """From the first beat in to the last one out."""
        return int(self.last_out[-1] - self.first_in[0] + 1) if len(self.last_out) else 0


def simulate(packets: Packets, rooms: Rooms, uses: Uses | None = None) -> Timing:
    """Run the packets through the rooms. `uses` of a context cache, if not all state is in the device."""
    if not len(packets):
        nothing = np.zeros(0, np.int64)
        return Timing(nothing, nothing, nothing, nothing, lambda: dict.fromkeys(ROOMS, nothing))
    if uses is None and not np.any(packets.arrival > 0):
        try:
            return _Chain(packets, rooms, uses, np.int32).run()
        except TooLong:
            pass
    return _Chain(packets, rooms, uses, np.int64).run()


class _Chain:
    def __init__(self, packets: Packets, rooms: Rooms, uses: Uses | None, kind: type[np.signedinteger[Any]]):
        self.packets, self.rooms = packets, rooms
        count = len(packets)
        steps = -(-count // max(1, min(STRETCHES, count // STRETCH)))
        self.grid = grid = Grid(count, steps, -(-count // steps), kind)
        self.steps = Steps(packets, rooms, uses, grid)
        self.arrival = grid.rows(packets.arrival + rooms.lead, 0) if np.any(packets.arrival > 0) else None
        self.opening = np.full(grid.stretches, grid.never, kind)
        self.opening[0] = rooms.lead
        self.tracked = (*TRACKED, *(placing.names_of(rooms) if self.steps.placing else ()))
        self.begin = np.zeros(grid.stretches, np.int64)
        """Cycles in front of each stretch's times."""

    def run(self) -> Timing:
        doubt = self._back_to_back() if self.arrival is None else self._arriving()
        flat, s = self.grid.flat, self.steps
        first_in, last_in = flat(s.first_in, self.begin), flat(s.last_in, self.begin)
        if self.rooms.lead_beats:
            first_in, last_in = self._fed(first_in)
        out = self.begin + self.rooms.out
        first_out, last_out = flat(s.begun_out[INSIDE:], out), flat(s.released[INSIDE:], out)
        return Timing(
            first_in,
            last_in,
            first_out,
            last_out,
            lambda: stalls(s, self.state, self.opening, self.arrival),
            doubt,
        )

    def _back_to_back(self) -> int:
        """Times of each stretch since the last beat in front of it, which is all that the others change of it."""
        n, first = self.grid.stretches, max(0, self.grid.steps - WARM)
        state = self.state = self.steps.empty()
        if n == 1:
            self.steps.step(state, self.opening)
            return 0
        end = self.steps.step(state, first=first)
        took = (end["last_in"] + 1).astype(np.int64) * self.grid.steps // (self.grid.steps - first)
        state = _shifted(self._since(end), state)
        ends = {name: values.copy() for name, values in state.items()}
        self._late(state, took)
        low, high, doubt = 0, n, 0
        for tries in range(TRIES):
            self.state = state
            part = {name: values[..., low:high] for name, values in state.items()}
            end = self.steps.step(part, self.opening[low:high], low=low, high=high)
            took[low:high] = end["last_in"] + 1
            for name, values in self._since(end).items():
                ends[name][..., low:high] = values
            following = _shifted(ends, state)
            off = _off(following, state)
            wrong = self._wrong(off)
            if not len(wrong):
                doubt = 0
                break
            doubt = max(int(np.abs(values).max()) for values in off.values())
            if n > TRIES and tries >= PATIENCE and doubt * SMALL <= int(took.min()):
                break
            state = self._later(following, state, ends, took)
            later = self._wrong(_off(state, self.state))
            if len(later):
                wrong = later
            else:
                state = following
            low, high = int(wrong[0]), int(wrong[-1]) + 1
        self.begin[1:] = np.cumsum(took)[:-1]
        return doubt

    def _since(self, end: State) -> State:
        """A state, from the last beat in on."""
        since = self.steps.moved(end, -1 - end["last_in"])
        if self.steps.holds.place is None and not self.steps.holds.lag:
            since["begun_out"][:] = self.grid.never
        return since

    def _later(self, state: State, begun: State, ends: State, took: Array) -> State:
        """`state`, which the stretches begun as `begun` leave to one another, with what they leave if they begin so."""
        ever = begun["aligned"] > self.grid.never // 2
        off = _off(state, begun)
        more = [np.where(ever, values, 0) for values in (off["aligned"], off["judged"], off["released"][-1])]
        entered, worked = took - self._whole(), took - self._work()
        judged = ends["judged"] - begun["judged"] + worked
        left = ends["released"][-1] - begun["released"][-1] + entered
        late = carried(Late(more[0], more[1], more[2]), self.steps.leads, entered, judged, left)
        for by, known, names in (
            (late.track, off["aligned"], self.tracked),
            (late.judge, off["judged"], ("judged", "patched")),
            (late.leave, off["released"][-1], LATEST),
        ):
            by = np.clip(np.where(ever, by - known, 0), -MOST_LATE, MOST_LATE).astype(self.grid.kind)
            state = state | self.steps.moved({name: state[name] for name in names}, by)
        return state

    def _wrong(self, off: State) -> Array:
        """The stretches to be stepped again. If there are many, not those whose tracker begins a little too early or
        late while the verdict is busy all the time: no packet enters or leaves at another time."""
        wrong = _wrong(off)
        if self.grid.stretches <= TRIES:
            return wrong
        leads = self.steps.leads
        seen = np.abs(off["aligned"]) + SPARE > np.minimum(leads.judge, leads.bring)
        seen[_wrong({name: values for name, values in off.items() if name not in self.tracked})] = True
        return wrong[seen[wrong]]

    def _late(self, state: State, took: Array) -> None:
        """What is judged or leaves late makes all behind it late."""
        judged = _carried(state["judged"], self._work() - took)
        np.maximum(state["judged"], judged, out=state["judged"], casting="unsafe")
        rows, steps = self.steps.rows["beats"], self.grid.steps
        beats = np.asarray(rows[steps - INSIDE :], np.int64) + 1
        whole = self._whole()
        behind = np.cumsum(beats[::-1], axis=0)[::-1] - beats
        carried = _carried(state["released"][-1], whole - took)
        behind = np.concatenate((behind[:, :1], behind[:, :-1]), axis=1)
        beats = np.concatenate((beats[:, :1], beats[:, :-1]), axis=1)
        reach = carried - behind
        reach[:, 0] = self.grid.never
        np.maximum(state["released"], reach, out=state["released"], casting="unsafe")
        if self.steps.holds.place is not None or self.steps.holds.lag:
            np.maximum(state["begun_out"], reach - beats + 1, out=state["begun_out"], casting="unsafe")

    def _whole(self) -> Array:
        """Cycles of each stretch on the bus."""
        rows, steps = self.steps.rows["beats"], self.grid.steps
        if rows.strides[0] == 0:
            return (rows[0] + 1).astype(np.int64) * steps
        return rows.sum(axis=0, dtype=np.int64) + steps

    def _work(self) -> Array:
        """Cycles of the verdict's room for each stretch."""
        return self.steps.rows["verdict"].sum(axis=0, dtype=np.int64)

    def _arriving(self) -> int:
        """Times of all stretches since one beginning."""
        state, doubt = self._arrived(), 0
        for _ in range(TRIES):
            self.state = state
            state = _shifted(self.steps.step(state, arrival=self.arrival), state)
            doubt = max(int(np.abs(values).max()) for values in _off(state, self.state).values())
            if not doubt:
                break
        return doubt

    def _arrived(self) -> State:
        """What each stretch may find: back to back with those in front of it, or after packets that came late."""
        steps, empty = self.steps, self.steps.empty()
        n = self.grid.stretches
        if n == 1:
            return empty
        ahead = steps.step(_shifted(self._since(steps.step(empty, first=max(0, self.grid.steps - WARM))), empty))
        bare = steps.empty()
        bare["last_in"][:] = self.grid.never
        alone = steps.step(bare, arrival=self.arrival)
        # x[k + 1] = max(x[k] + took[k], alone[k])
        took = ahead["last_in"] + 1
        base = np.concatenate((np.zeros(1, np.int64), np.cumsum(took)[:-1]))
        last = np.maximum.accumulate(np.maximum(alone["last_in"] - took, -1) - base) + base
        begin = np.concatenate((np.zeros(1, np.int64), np.maximum(last + took, alone["last_in"])[:-1] + 1))
        late = alone["last_in"] >= ahead["last_in"] + begin
        state = steps.moved(ahead, begin)
        for name, values in state.items():
            if name in placing.names_of(self.rooms):
                state[name] = np.where(late, alone[name], values)
            else:
                state[name] = np.maximum(values, alone[name])
        return _shifted(state, empty)

    def _fed(self, buffered: Array) -> tuple[Array, Array]:
        """First and last beat in, in front of the beats that wait for the packet buffer."""
        beats = -(-self.packets.size // self.rooms.width)
        before = np.cumsum(beats) - beats
        wanted = before - self.rooms.lead_beats  # this beat has made room for the packet's first one
        index = np.clip(np.searchsorted(before, wanted, side="right") - 1, 0, None)
        room = np.where(wanted < 0, NEVER, buffered[index] + wanted - before[index] - self.rooms.lead + 2)
        free = np.maximum(self.packets.arrival, room)
        if self.steps.pause is not None:
            free = np.maximum(free, np.where(self.packets.pause == NO_PAUSE, NEVER, buffered - self.rooms.lead))
        first = np.minimum(np.maximum.accumulate(free - before) + before, buffered - self.rooms.lead)
        return first, first + beats - 1


def _carried(late: Times, drift: Array) -> Array:
    """What each stretch finds at least, if those in front of it find `late` and move it on by `drift`."""
    late = late.astype(np.int64)
    base = np.concatenate((np.zeros(1, np.int64), np.cumsum(drift)[:-1]))
    carried = np.maximum.accumulate(late - base) + base + drift
    return np.concatenate((late[:1], carried[:-1]))


def _off(one: State, other: State) -> State:
    """By how much states differ as far as packets may wait for it: not for those that left in front of the last beat
    in."""
    off = {name: one[name] - other[name] for name in one}
    last = (np.maximum(state["released"], state["last_in"]) for state in (one, other))
    off["released"] = np.subtract(*last)
    return off


def _wrong(off: State) -> Array:
    """The stretches whose states differ."""
    rows = (values.reshape(-1, values.shape[-1]) for values in off.values())
    return np.flatnonzero(np.any([values.any(axis=0) for values in rows], axis=0))


def _shifted(end: State, state: State) -> State:
    """The state each stretch finds if the one before it ends so; the first one's stays."""
    return {name: np.concatenate((state[name][..., :1], end[name][..., :-1]), axis=-1) for name in state}
