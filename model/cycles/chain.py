"""The chain of rooms: when each packet is where.

Every time is the maximum of a few earlier ones plus a constant (`costs`), so the chain is a recurrence over packets. It
is stepped for many stretches of the packet list at once, each from the state that the stretch before left; those states
are found by steps over the same stretches from an empty device, and checked. The answer is that of one long run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from model.cycles import placing
from model.cycles.context import PARTS, Uses
from model.cycles.costs import NEVER, Costs, Hashed, costs_of
from model.cycles.packets import NO_PAUSE, Array, Packets
from model.cycles.placing import Fragments, Placing
from model.cycles.rooms import INSIDE, Direction, Rooms

STRETCH = 2048
"""Packets of a stretch at least: far more than are inside at one time."""
STRETCHES = 1024
TRIES = 8
"""Times that the states between stretches are put right. What is left then is `Timing.doubt`."""

KEPT = (
    "last_in",
    "handed",
    "read",
    "found",
    "taken_before",
    "taken",
    "tracked",
    "aligned",
    "judged",
    "overlaid",
    "patched",
    "gone",
    "memory",
)
"""Times of the packet before that the next one's depend on."""
LATEST = ("released", "begun_out")
LATEST_CONTEXTS = ("fetched", "ended", "turned")
"""Times of the last INSIDE packets; the second ones with a context cache."""
ROOMS = ("buffer", "lookup", "context", "track", "align", "ghash", "verdict", "keystream", "release")


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
    """0: the times are those of one long run. Else by how much a stretch of the packets was begun too early or late."""

    @cached_property
    def stalls(self) -> dict[str, Array]:
        return self.waits()

    @property
    def cycles(self) -> int:
        """From the first beat in to the last one out."""
        return int(self.last_out[-1] - self.first_in[0] + 1) if len(self.last_out) else 0


def simulate(packets: Packets, rooms: Rooms, uses: Uses | None = None) -> Timing:
    """Run the packets through the rooms. `uses` of a context cache, if not all state is in the device."""
    chain = _Chain(packets, *costs_of(packets, rooms), rooms, uses)
    return chain.run()


State = dict[str, npt.NDArray[np.int64]]
"""Of each stretch: the times of `KEPT` and, as rows, those of the last packets that were released."""


class _Chain:
    def __init__(self, packets: Packets, costs: Costs, hashed: Hashed | None, rooms: Rooms, uses: Uses | None = None):
        self.packets, self.costs, self.rooms, self.uses = packets, costs, rooms, uses
        self.latest = LATEST + (LATEST_CONTEXTS if uses else ())
        count = len(packets)
        self.stretches = max(1, min(STRETCHES, count // STRETCH))
        self.steps = -(-count // self.stretches) if count else 0
        self.drains = bool(np.any(packets.pause != NO_PAUSE))
        self.timed = bool(np.any(packets.arrival > 0))
        self.chained = bool(np.any(costs.chained))
        self.slow = bool(np.any(packets.slow > 0))
        self.waiting = uses.cache.waiting if uses else 0
        self.holds = self._holds()
        self.placing: Placing | None = None
        if hashed:
            fragments = Fragments.of(hashed, rooms, self.steps, self.stretches)
            self.placing = Placing(fragments, rooms, self.stretches)

    def _by_step(self, values: Array, rest: int) -> Array:
        """As rows of steps, a column for each stretch; one row for all steps where all values are alike."""
        if values[0] == values[-1] and np.all(values == values[0]):
            return np.broadcast_to(np.full(self.stretches, values[0], np.int64), (self.steps, self.stretches))
        whole = np.full(self.steps * self.stretches, rest, np.int64)
        whole[: len(values)] = values
        return np.ascontiguousarray(whole.reshape(self.stretches, self.steps).T)

    def _flat(self, rows: Array) -> Array:
        return np.ascontiguousarray(rows.T).reshape(-1)[: len(self.packets)]

    def _holds(self) -> tuple[Array, Array] | None:
        """Of each packet: how many packets back is the one whose beat makes room for its last one, and which beat."""
        beats = self.costs.beats
        if not len(beats):
            return None
        total = np.cumsum(beats)
        wanted = total - self.rooms.buffer_beats  # beats that must have left
        index = np.searchsorted(total, wanted, side="left")
        lag = np.arange(len(beats)) - index
        beat = wanted - 1 - (total[index] - beats[index])
        active = (wanted > 0) & (lag < INSIDE) & (lag > 0)
        if not active.any():
            return None
        return np.where(active, lag, 0), np.where(active, beat, NEVER)

    def empty(self) -> State:
        state: State = {name: np.full(self.stretches, NEVER, np.int64) for name in KEPT}
        state["last_in"] = np.full(self.stretches, -1, np.int64)
        state |= {name: np.full((INSIDE, self.stretches), NEVER, np.int64) for name in self.latest}
        return state | (placing.empty(self.rooms, self.stretches, NEVER) if self.placing else {})

    def run(self) -> Timing:
        count = len(self.packets)
        if not count:
            nothing = np.zeros(0, np.int64)
            return Timing(nothing, nothing, nothing, nothing, lambda: dict.fromkeys(ROOMS, nothing))
        self._rows()
        if self.stretches == 1:
            self.step(self.empty(), self.arrival)
            return self._timing()
        state = self._states()
        doubt = 0
        for _ in range(TRIES):
            end = self.step(state, self.arrival)
            following = self._following(end, state)
            doubt = max(int(np.abs(following[name] - state[name]).max()) for name in state)
            if not doubt:
                break
            state = following
        return self._timing(doubt)

    def _rows(self) -> None:
        c, p = self.costs, self.packets
        self.rows = {
            name: self._by_step(getattr(c, name), 1 if name == "beats" else 0) for name in c.__dataclass_fields__
        }
        self.listed = {name: list(rows) for name, rows in self.rows.items()}  # quicker in the loop
        self.arrival = self._by_step(p.arrival + self.rooms.lead, 0)
        self.pause = self._by_step(np.where(p.pause == NO_PAUSE, NEVER, p.pause), NEVER) if self.drains else None
        self.gap = self._by_step(p.gap + 1, 1) if np.any(p.gap) else None
        self.lag = self._by_step(self.holds[0], 0) if self.holds else None
        self.beat = self._by_step(self.holds[1], NEVER) if self.holds else None
        if self.uses:
            u, cache = self.uses, self.uses.cache
            self.miss = self._by_step(u.miss.astype(np.int64), 0) > 0
            self.fill = self._by_step(np.where(u.miss, cache.parts(cache.read), 0), 0)
            self.back = self._by_step(np.where(u.evicts, cache.parts(cache.written), 0), 0)
            self.victim = self._by_step(u.victim, 0)
            self.free = self._by_step(np.where(u.free < INSIDE, u.free, 0), 0)

    def _states(self) -> State:
        """What each stretch finds: first its shape, from an empty device, then how far a stretch moves it on."""
        bare = np.full_like(self.arrival, NEVER)
        shape = self.step(self.empty(), bare)
        begin = _shifted(_moved(shape, -1 - shape["last_in"]), self.empty())
        ahead = self.step(begin, bare)  # from the shape, with the last beat in at -1
        alone = self.step(self.empty_never(), self.arrival) if self.timed else None
        state = {name: values.copy() for name, values in self.empty().items()}
        for k in range(1, self.stretches):
            moved = int(state["last_in"][k - 1]) + 1
            for name in tuple(state):
                value = ahead[name][..., k - 1] + moved * _unit(name)
                if alone is not None and name in placing.names_of(self.rooms):
                    late = alone["last_in"][k - 1] >= ahead["last_in"][k - 1] + moved
                    value = alone[name][..., k - 1] if late else value
                elif alone is not None:
                    value = np.maximum(value, alone[name][..., k - 1])
                state[name][..., k] = _ever(value)
        return state

    def empty_never(self) -> State:
        state = self.empty()
        state["last_in"][:] = NEVER
        return state

    def _following(self, end: State, state: State) -> State:
        """What each stretch finds if the one before it ends so. Back to back, what moves one moves all behind it."""
        following = _shifted(end, state)
        if not self.timed:
            moved = np.concatenate((np.zeros(1, np.int64), np.cumsum((following["last_in"] - state["last_in"])[1:-1])))
            for name, values in following.items():
                values[..., 1:] = _ever(values[..., 1:] + moved * _unit(name))
        return following

    def step(self, state: State, arrival: Array) -> State:
        """All stretches from `state`; leaves the times in `self.times`."""
        r, steps, n = self.rooms, self.steps, self.stretches
        rows = self.listed
        transmit = r.direction is Direction.TX
        names = ("a", "l", "h", "g", "c", "o", "w", "f", "k", "d", "p", "v", "q", "r", "x", "m")
        t = {name: np.empty((steps, n), np.int64) for name in names}
        released = np.empty((steps + INSIDE, n), np.int64)
        begun_out = np.empty((steps + INSIDE, n), np.int64)
        released[:INSIDE], begun_out[:INSIDE] = state["released"], state["begun_out"]
        flat = begun_out.reshape(-1)
        before = {name: np.empty((steps + INSIDE, n), np.int64) for name in LATEST_CONTEXTS} if self.uses else {}
        for name, values in before.items():
            values[:INSIDE] = state[name]
        columns = np.arange(n)
        if self.placing:
            self.placing.begin(state)
        last, g, c, o, taken2, taken, f, d, v, q, y, x, bus = (state[name] for name in KEPT)
        take, most, add = np.take, np.maximum, np.add
        one = np.empty(n, np.int64)
        for s in range(steps):
            beats = rows["beats"][s]
            # way in
            a = most(arrival[s], last + (1 if self.gap is None else self.gap[s]), out=t["a"][s])
            most(a, add(released[s], 1, out=one), out=a)
            if self.pause is not None:
                most(a, x + self.pause[s], out=a)
            last = add(a, beats, out=t["l"][s])
            last -= 1
            if self.lag is not None and self.beat is not None:
                place = (s + INSIDE - self.lag[s]) * n + columns
                left = take(flat, place) + self.beat[s]
                most(last, np.where(self.lag[s] > 0, left + 1, NEVER), out=last)
            h = add(a, rows["parse"][s], out=t["h"][s])
            # lookup
            if r.lookup:
                g = most(h, g + 1, out=t["g"][s])
                g += rows["hash"][s]
                most(g, c, out=g)
                c = most(g + rows["read"][s], o, out=t["c"][s])
                o = add(c, rows["find"][s], out=t["o"][s])
                if not before and r.found < INSIDE:
                    most(o, taken2 + 1, out=o)
                elif before and self.waiting < INSIDE:
                    most(o, before["turned"][s + INSIDE - self.waiting] + 1, out=o)
                here = o + rows["there"][s]
            else:
                here = h + rows["there"][s]
            if before:
                fetched, bus = self._fetched(s, o if r.lookup else h, before, bus, columns)
                before["fetched"][s + INSIDE] = t["m"][s] = fetched
                most(here, fetched, out=here)
            # a packet that comes too late to go on from the one before is begun like any other
            w = most(here, f + rows["start"][s], out=t["w"][s])
            if self.chained:
                w[:] = np.where(rows["chained"][s] > 0, np.where(f >= here, f + r.follows, most(here, f)), w)
            taken2, taken = taken, most(w, f)
            if before:
                before["turned"][s + INSIDE] = taken
            # tracker and aligner
            f = add(w, rows["track"][s], out=t["f"][s])
            most(f, add(last, rows["track_last"][s], out=one), out=f)
            most(f, add(h, rows["track_headers"][s], out=one), out=f)
            most(f, add(d, rows["track_blocked"][s], out=one), out=f)
            k = add(w, rows["align"][s], out=t["k"][s])
            most(k, add(d, rows["align_blocked"][s], out=one), out=k)
            if self.slow:
                most(k, add(last, rows["align_last"][s], out=one), out=k)
            behind = d
            d = most(f + r.plan, k + 1, out=t["d"][s])
            most(d, add(behind, 1, out=one), out=d)
            if before:
                before["ended"][s + INSIDE] = f
            # keystream's way into the frame's grid; transmit: encryption waits for it, and GHASH for that
            earlier = q
            q = add(q, rows["overlay"][s], out=t["q"][s])
            emitted = add(d, rows["emitted"][s], out=one)
            most(q, emitted, out=q)
            late = q - emitted
            held = most(late - r.behind, 0)
            d += held
            k += held
            reach, done = k, d
            if transmit:
                late -= held
                late -= r.aligned_beats
                most(late, 0, out=late)
                reach, done = k + late, d + late
            # GHASH, verdict
            powered = add(reach, rows["power"][s], out=t["p"][s])
            judged, v = v, add(v, rows["verdict"][s], out=t["v"][s])
            if self.placing:
                summed = self.placing.step(s, reach, judged)
                powered[:] = np.where(rows["alone"][s] > 0, NEVER, self.placing.there + r.end)
                most(v, add(summed, rows["judge"][s], out=one), out=v)
            most(v, powered, out=v)
            most(v, add(done, rows["settle"][s], out=one), out=v)
            # way out
            first = np.where(rows["alone"][s] > 0, q + r.overlay, earlier + r.overlay_next)
            q_out = q + rows["flush"][s]
            out = most(add(v, r.order, out=one), first, out=t["r"][s])
            most(out, released[s + INSIDE - 1] + 1, out=out)
            begun_out[s + INSIDE] = out
            gone = released[s + INSIDE]
            most(out + beats - 1, q_out + r.overlay, out=gone)
            if transmit:
                y = most(y + rows["patches"][s], v + r.order)
                most(gone, y, out=gone)
            x = add(gone, r.out, out=t["x"][s])
        self.times = t | {"R": released[INSIDE:]}
        self.released_before = released[INSIDE - 1 : -1]
        values = dict(zip(KEPT, (last, g, c, o, taken2, taken, f, d, v, q, y, x, bus), strict=True))
        end = {name: _ever(value) for name, value in values.items()}
        end["released"] = _ever(released[steps:])
        end["begun_out"] = _ever(begun_out[steps:])
        if self.placing:
            end |= {name: _ever(value) for name, value in self.placing.end().items()}
        return end | {name: _ever(values[steps:]) for name, values in before.items()}

    def _fetched(self, s: int, found: Array, before: State, bus: Array, columns: Array) -> tuple[Array, Array]:
        """When the contexts of step `s` are there, NEVER: all the time; and from when the memory is free, in parts."""
        assert self.uses
        miss, asked = self.miss[s], found
        for lag, times in ((self.free[s], before["fetched"]), (self.victim[s], before["ended"])):
            asked = np.where(lag > 0, np.maximum(asked, times[s + INSIDE - lag, columns]), asked)
        through = np.maximum(bus, asked * PARTS) + self.fill[s]
        there = -(-through // PARTS) + self.uses.cache.latency
        return np.where(miss, there, NEVER), np.where(miss, through + self.back[s], bus)

    def _timing(self, doubt: int = 0) -> Timing:
        t, r = self.times, self.rooms
        first_in, last_in = self._flat(t["a"]), self._flat(t["l"])
        if r.lead_beats:
            first_in, last_in = self._fed(first_in)
        first_out, last_out = self._flat(t["r"]) + r.out, self._flat(t["R"]) + r.out
        return Timing(first_in, last_in, first_out, last_out, self._stalls, doubt)

    def _stalls(self) -> dict[str, Array]:
        t, r, rows = self.times, self.rooms, self.rows
        stalls: dict[str, Array] = {}
        before = np.concatenate((np.full((1, self.stretches), -1), t["l"][:-1]))
        before[0, 1:] = t["l"][-1, :-1]
        wanted = np.maximum(self.arrival, before + 1)
        stalls["buffer"] = t["a"] - wanted + t["l"] - t["a"] - rows["beats"] + 1
        if r.lookup:
            waited = t["g"] - t["h"] - rows["hash"]
            held = t["o"] - t["c"] - rows["find"]
            # The flow table holds a packet that the tracker's queue has no room for, and with it those behind.
            in_front = np.concatenate((np.zeros((1, self.stretches), np.int64), held[:-1]))
            in_front[0, 1:] = held[-1, :-1]
            compared = t["c"] - t["g"] - rows["read"]
            waited += compared
            stalls["lookup"] = np.where(in_front > 0, 0, waited)
            stalls["track"] = waited - stalls["lookup"] + held
            here = t["o"] + rows["there"]
        else:
            stalls["lookup"] = np.zeros_like(wanted)
            stalls["track"] = np.zeros_like(wanted)
            here = t["h"] + rows["there"]
        stalls["context"] = np.zeros_like(wanted)
        if self.uses:  # what it waits for its context when the tracker could have begun
            ended = np.concatenate((np.full((1, self.stretches), NEVER), t["f"][:-1]))
            ended[0, 1:] = t["f"][-1, :-1]
            stalls["context"] = np.clip(t["m"] - np.maximum(here, ended), 0, None)
        stalls["track"] += np.maximum(t["w"] - here - stalls["context"], 0)
        free = np.maximum(
            np.maximum(t["w"] + rows["free"], t["l"] + rows["track_last"]), t["h"] + rows["track_headers"]
        )
        stalls["align"] = np.maximum(t["f"] - free, 0) + t["d"] - np.maximum(t["f"] + r.plan, NEVER)
        base = r.aligned + r.encrypted + r.hash + r.place + 1
        ready = np.maximum(t["k"] + base, t["d"] + rows["settle"])
        powered = np.maximum(ready, t["p"])
        stalls["ghash"] = powered - ready
        stalls["verdict"] = np.maximum(t["v"] - powered, 0)
        go = np.maximum(t["v"] + r.order, self.released_before + 1)
        stalls["keystream"] = t["r"] - go + t["R"] - t["r"] - rows["beats"] + 1
        stalls["release"] = go - t["v"] - r.order
        return {room: self._flat(stalls[room]) for room in ROOMS}

    def _fed(self, buffered: Array) -> tuple[Array, Array]:
        """First and last beat in, in front of the beats that wait for the packet buffer."""
        beats = self.costs.beats
        before = np.cumsum(beats) - beats
        wanted = before - self.rooms.lead_beats  # this beat has made room for the packet's first one
        index = np.clip(np.searchsorted(before, wanted, side="right") - 1, 0, None)
        room = np.where(wanted < 0, NEVER, buffered[index] + wanted - before[index] - self.rooms.lead + 2)
        free = np.maximum(self.packets.arrival, room)
        if self.drains:
            free = np.maximum(free, np.where(self.packets.pause == NO_PAUSE, NEVER, buffered - self.rooms.lead))
        first = np.minimum(np.maximum.accumulate(free - before) + before, buffered - self.rooms.lead)
        return first, first + beats - 1


def _unit(name: str) -> int:
    """What a cycle counts in that time."""
    return PARTS if name == "memory" else placing.unit_of(name)


def _ever(values: Array) -> Array:
    """NEVER stays NEVER, whatever was added to it."""
    return np.where(values < NEVER // 2, NEVER, values)


def _moved(state: State, by: Array) -> State:
    return {name: _ever(values + by * _unit(name)) for name, values in state.items()}


def _shifted(end: State, state: State) -> State:
    """The state each stretch finds if the one before it ends so; the first one's stays."""
    return {name: np.concatenate((state[name][..., :1], end[name][..., :-1]), axis=-1) for name in state}
