"""One step of the chain after another, for many stretches of the packets at once."""

from collections.abc import Mapping

import numpy as np

from model.cycles import placing
from model.cycles.context import PARTS, Uses
from model.cycles.costs import NEVER
from model.cycles.leads import Leads
from model.cycles.packets import NO_PAUSE, Packets
from model.cycles.placing import Placing, State
from model.cycles.rooms import INSIDE, Direction, Rooms
from model.cycles.rows import Grid, Times, rows_of

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
INNER = {
    "parsed": "headers there",
    "handed": "taken over by the flow table",
    "read": "fingerprints compared",
    "found": "connection found",
    "context": "context there",
    "walked": "the tracker's begin",
    "tracked": "its end",
    "streamed": "the last fragment's end in the aligner",
    "aligned": "the packet's",
    "powered": "the last placing power's product",
    "judged": "the verdict",
}
"""Times of each packet in the rooms."""


class Steps:
    """The packets in stretches, and what rooms take of them.

    Attributes
    ----------
    first_in, last_in : Times
        Of every packet, as rows of the grid: first and last beat in.
    begun_out, released : Times
        First and last beat out, with INSIDE rows of the packets in front before them.
    """

    def __init__(self, packets: Packets, rooms: Rooms, uses: Uses | None, grid: Grid):
        """Raises TooLong if times do not fit into the grid's type."""
        self.rooms, self.uses, self.grid = rooms, uses, grid
        self.never = grid.never
        self.latest = LATEST + (LATEST_CONTEXTS if uses else ())
        rows = rows_of(packets, rooms, grid)
        self.rows, self.holds, self.chained, self.alone = rows.of, rows.holds, rows.chained, rows.alone
        self.slow = bool(np.any(packets.slow > 0))
        drains = bool(np.any(packets.pause != NO_PAUSE))
        self.pause = grid.rows(np.where(packets.pause == NO_PAUSE, NEVER, packets.pause), NEVER) if drains else None
        self.gap = grid.rows(packets.gap + 1, 1)
        self.waiting = uses.cache.waiting if uses else 0
        if uses:
            cache = uses.cache
            self.miss = grid.rows(uses.miss, 0) > 0
            self.fill = grid.rows(np.where(uses.miss, cache.parts(cache.read), 0), 0)
            self.back = grid.rows(np.where(uses.evicts, cache.parts(cache.written), 0), 0)
            self.victim = grid.rows(uses.victim, 0)
            self.free = grid.rows(np.where(uses.free < INSIDE, uses.free, 0), 0)
        self.placing = Placing(rows, rooms) if rows.hashed else None
        kind, whole, longer = grid.kind, (grid.steps, grid.stretches), (grid.steps + INSIDE, grid.stretches)
        self.first_in, self.last_in = np.empty(whole, kind), np.empty(whole, kind)
        self.released, self.begun_out = np.empty(longer, kind), np.empty(longer, kind)
        self.leads = Leads.of(grid.stretches, kind)

    def empty(self) -> State:
        """Of each stretch: the device without a packet, the last beat in at -1."""
        n, kind = self.grid.stretches, self.grid.kind
        state: State = {name: np.full(n, self.never, kind) for name in KEPT}
        state["last_in"] = np.full(n, -1, kind)
        state |= {name: np.full((INSIDE, n), self.never, kind) for name in self.latest}
        return state | (placing.empty(self.rooms, n, self.never, kind) if self.placing else {})

    def moved(self, state: State, by: Times) -> State:
        """All times later by so many cycles."""
        return {name: self.ever(values + by * unit_of(name)) for name, values in state.items()}

    def ever(self, values: Times) -> Times:
        """NEVER stays NEVER, whatever was added to it."""
        return np.where(values < self.never // 2, self.grid.kind(self.never), values)

    def step(
        self,
        state: State,
        opening: Times | None = None,
        low: int = 0,
        high: int | None = None,
        first: int = 0,
        arrival: Times | None = None,
        kept: Mapping[str, Times] | None = None,
    ) -> State:
        """The stretches `low` to `high` from `state`, from their step `first` on.

        `opening`: when the first packet may come at the earliest; `arrival`: when any may. The times of ways in and out
        are left in the chain, those of the rooms in `kept`.
        """
        r, steps = self.rooms, self.grid.steps
        all_, kind = self.grid.stretches, self.grid.kind
        high = all_ if high is None else high
        n, part = high - low, slice(low, high)
        transmit = r.direction is Direction.TX

        def listed(rows: Times) -> list[Times]:
            if rows.strides[0] == 0:
                return [rows[0, part]] * steps
            return list(rows[:, part])

        def scratch(name: str) -> list[Times]:
            if kept is not None and name in kept:
                return list(kept[name][:, part])
            four = np.empty((4, n), kind)
            return [four[s & 3] for s in range(steps)]

        def same(value: int) -> Times:
            return np.full(n, value, kind)

        row = {name: listed(rows) for name, rows in self.rows.items()}
        t = {name: scratch(name) for name in (*INNER, "overlaid", "patched", "gone", "turned")}
        entered, left = list(self.first_in[:, part]), list(self.last_in[:, part])
        released, begun_out = list(self.released[:, part]), list(self.begun_out[:, part])
        self.released[first : first + INSIDE, part] = state["released"]
        self.begun_out[first : first + INSIDE, part] = state["begun_out"]
        before: State = {}
        if self.uses:
            before = {name: np.empty((steps + INSIDE, n), kind) for name in LATEST_CONTEXTS}
            for name, values in before.items():
                values[first : first + INSIDE] = state[name]
        gap, pause = listed(self.gap), listed(self.pause) if self.pause is not None else None
        arrivals = listed(arrival) if arrival is not None else None
        lag, beat = self.holds.lag, listed(self.holds.beat)
        place = list(self.holds.place[:, part]) if self.holds.place is not None else None
        flat = self.begun_out.reshape(-1)
        chained = list(self.chained[:, part]) if self.chained is not None else None
        alone = list(self.alone[:, part]) if self.alone is not None else None
        if self.placing:
            self.placing.begin(state, low, high)
        last, g, c, o, taken2, taken, f, d, v, q, y, x, bus = (state[name] for name in KEPT)
        most, add, copy = np.maximum, np.add, np.copyto
        one, two, own, late = np.empty(n, kind), np.empty(n, kind), np.empty(n, kind), np.empty(n, np.bool_)
        unit, plan, order, ahead = same(1), same(r.plan), same(r.order), same(r.overlay_next)
        never = same(self.never)
        behind = same(-r.behind)
        aligned = same(-r.aligned_beats)
        leads, least, zero = self.leads.part(part, -self.never), np.minimum, same(0)
        for s in range(first, steps):
            more = row["beats"][s]
            # way in
            a = add(last, gap[s], out=entered[s])
            room = add(released[s], unit, out=one)
            least(leads.enter, np.subtract(a, room, out=two), out=leads.enter)
            most(a, room, out=a)
            if arrivals is not None:
                most(a, arrivals[s], out=a)
            elif opening is not None and s == 0:
                most(a, opening, out=a)
            if pause is not None:
                most(a, add(x, pause[s], out=one), out=a)
            last = add(a, more, out=left[s])
            if lag or place is not None:
                held = begun_out[s + INSIDE - lag] if place is None else flat[s * all_ :].take(place[s])
                room = add(held, beat[s], out=one)
                least(leads.enter, np.subtract(last, room, out=two), out=leads.enter)
                most(last, room, out=last)
            h = add(a, row["parse"][s], out=t["parsed"][s])
            # lookup
            if r.lookup:
                g = add(g, unit, out=t["handed"][s])
                most(g, h, out=g)
                g += row["hash"][s]
                most(g, c, out=g)
                c = add(g, row["read"][s], out=t["read"][s])
                most(c, o, out=c)
                o = add(c, row["find"][s], out=t["found"][s])
                if not before and r.found < INSIDE:
                    most(o, add(taken2, unit, out=one), out=o)
                elif before and self.waiting < INSIDE:
                    most(o, before["turned"][s + INSIDE - self.waiting] + 1, out=o)
            here = add(o if r.lookup else h, row["there"][s], out=two)
            if before:
                fetched, bus = self._fetched(s, o if r.lookup else h, before, bus, part)
                before["fetched"][s + INSIDE] = fetched
                if kept is not None:
                    t["context"][s][:] = fetched
                most(here, fetched, out=here)
            # a packet that comes too late to go on from the one before is begun like any other
            on = add(f, row["start"][s], out=one)
            w = most(here, on, out=t["walked"][s])
            if chained is not None:
                np.greater_equal(f, here, out=late)
                late &= chained[s]
                copy(w, on, where=late)
            slack = on
            slack -= here
            if chained is not None:
                copy(slack, np.subtract(f, here, out=here), where=late)
            least(leads.track, slack, out=leads.track)
            leads.idle -= least(slack, zero, out=slack)
            taken2, taken = taken, most(w, f, out=t["turned"][s])
            if before:
                before["turned"][s + INSIDE] = taken
            # tracker and aligner
            f = add(w, row["track"][s], out=t["tracked"][s])
            most(f, add(last, row["track_last"][s], out=one), out=f)
            most(f, add(h, row["track_headers"][s], out=one), out=f)
            most(f, add(d, row["track_blocked"][s], out=one), out=f)
            k = add(w, row["align"][s], out=t["streamed"][s])
            most(k, add(d, row["align_blocked"][s], out=one), out=k)
            if self.slow:
                most(k, add(last, row["align_last"][s], out=one), out=k)
            most(k, d, out=one)
            one += unit
            d = add(f, plan, out=t["aligned"][s])
            most(d, one, out=d)
            if before:
                before["ended"][s + INSIDE] = f
            # keystream's way into the frame's grid; transmit: encryption waits for it, and GHASH for that
            earlier = q
            q = add(q, row["overlay"][s], out=t["overlaid"][s])
            most(q, add(d, row["emitted"][s], out=one), out=q)
            since = np.subtract(q, row["emitted"][s], out=two)
            k -= d
            most(d, add(since, behind, out=one), out=d)
            k += d
            reach, done = k, d
            if transmit:
                since += aligned
                done = most(since, d)
                reach = done - d
                reach += k
            # GHASH, verdict
            powered = add(reach, row["power"][s], out=t["powered"][s])
            judged, v = v, add(v, row["verdict"][s], out=t["judged"][s])
            copy(own, v)
            if self.placing:
                summed = self.placing.step(s, reach, judged)
                add(self.placing.there, r.end, out=powered)
                if alone is not None:
                    copy(powered, never, where=alone[s])
                most(v, add(summed, row["judge"][s], out=one), out=v)
            most(v, powered, out=v)
            most(v, add(done, row["settle"][s], out=one), out=v)
            own -= most(one, powered, out=one)
            least(leads.judge, own, out=leads.judge)
            # way out
            first_out = add(earlier, ahead, out=one)
            if alone is not None:
                copy(first_out, q + r.overlay, where=alone[s])
            go = add(v, order, out=two)
            least(leads.bring, np.subtract(go, first_out, out=own), out=leads.bring)
            out = most(go, first_out, out=begun_out[s + INSIDE])
            room = add(released[s + INSIDE - 1], unit, out=one)
            least(leads.leave, np.subtract(room, out, out=own), out=leads.leave)
            most(out, room, out=out)
            gone = add(out, more, out=released[s + INSIDE])
            brought = add(q, row["flush"][s], out=one)
            least(leads.bring, np.subtract(gone, brought, out=own), out=leads.bring)
            most(gone, brought, out=gone)
            if transmit:
                y = most(add(y, row["patches"][s], out=one), go, out=t["patched"][s])
                most(gone, y, out=gone)
            if pause is not None:
                x = add(gone, r.out, out=t["gone"][s])
        values = dict(zip(KEPT, (last, g, c, o, taken2, taken, f, d, v, q, y, x, bus), strict=True))
        end = {name: self.ever(value) for name, value in values.items()}
        end["released"] = self.ever(self.released[steps:, part])
        end["begun_out"] = self.ever(self.begun_out[steps:, part])
        if self.placing:
            end |= {name: self.ever(value) for name, value in self.placing.end().items()}
        return end | {name: self.ever(values[steps:]) for name, values in before.items()}

    def _fetched(self, s: int, found: Times, before: State, bus: Times, part: slice) -> tuple[Times, Times]:
        """When the contexts of step `s` are there, NEVER: all the time; and from when the memory is free, in parts."""
        assert self.uses
        miss, asked, columns = self.miss[s, part], found, np.arange(len(found))
        for lag, times in ((self.free[s, part], before["fetched"]), (self.victim[s, part], before["ended"])):
            asked = np.where(lag > 0, np.maximum(asked, times[s + INSIDE - lag, columns]), asked)
        through = np.maximum(bus, asked * PARTS) + self.fill[s, part]
        there = -(-through // PARTS) + self.uses.cache.latency
        return np.where(miss, there, NEVER), np.where(miss, through + self.back[s, part], bus)


def unit_of(name: str) -> int:
    """What a cycle counts in that time."""
    return PARTS if name == "memory" else placing.unit_of(name)
