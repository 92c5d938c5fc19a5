"""GHASH fragment by fragment: where short ones wait for one another's powers (hw/placing.py).

A multiplier takes a product a cycle, and a power's next product goes in when the one before comes out, `power_step`
cycles later: so it has as many *ways* as cycles in a step, each with its own cycles modulo the step, and a power holds
one of them from its first product to its last. Of the cycles that no power holds, those that place a hash come first;
then powers begin, which takes a cycle to load the first digit and a later one for the first product.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.cycles.packets import Flags
from model.cycles.rooms import Rooms
from model.cycles.rows import Rows, Times, TooLong

SPARSE = 4
"""Rows with fragments in fewer than one stretch of so many are stepped for those alone."""
LOOKS = 3
"""Hashes placed between the begins of two powers, at most; more wait for the next one."""
State = dict[str, Times]

SHARED = ("entered", "made")
"""Of the last fragment: its last beat in GHASH, and its hash's product as far as it is known so early."""
OWN = ("ways", "loads", "started", "placed", "waiting", "ready", "results")
"""Of each multiplier. By way: from when a power or a hash may go, and a digit may be loaded. Of its last fragment: the
power's first product, and the hash's. How many wait for that. Of its last `slots`: power and hash there, twice, and
1 more for a power that is a single digit; the hash's product."""
UNITS = {"ready": 2, "waiting": 0}
"""What a cycle counts in these; in the others 1."""


def names_of(rooms: Rooms) -> tuple[str, ...]:
    """Of the states."""
    return (*SHARED, *(f"{name}{k}" for k in range(rooms.multipliers) for name in OWN))


def unit_of(name: str) -> int:
    """What a cycle counts in the state of that name."""
    return UNITS.get(name.rstrip("0123456789"), 1)


def empty(rooms: Rooms, count: int, never: int, kind: type) -> State:
    """The room without a fragment, `count` times."""
    state: State = {name: np.full(count, never, kind) for name in SHARED}
    for k in range(rooms.multipliers):
        for name in ("started", "placed"):
            state[f"{name}{k}"] = np.full(count, never, kind)
        for name in ("ready", "results"):
            state[f"{name}{k}"] = np.full((rooms.slots, count), never, kind)
        for name in ("ways", "loads"):
            state[f"{name}{k}"] = np.repeat(np.arange(-rooms.power_step, 0, dtype=kind)[:, np.newaxis], count, axis=1)
        state[f"waiting{k}"] = np.zeros(count, kind)
    return state


@dataclass
class Fragments:
    """Fragments of every step, a row for each that a packet of the step has, a column for each stretch.

    Attributes
    ----------
    at : list of int
        Of each step, and behind the last one: its first row.
    there : Flags
        There is one.
    beats, behind, products, work : Times
        Aligned beats; those of the packet's fragments behind it; products of its power; the verdict's cycles.
    slot : Times
        Its place among its multiplier's last ones.
    many : list of int
        Of each row: how many there are.
    """

    at: list[int]
    there: npt.NDArray[np.bool_]
    beats: Times
    behind: Times
    products: Times
    work: Times
    slot: Times
    many: list[int]

    @staticmethod
    def of(rows: Rows, rooms: Rooms) -> "Fragments":
        grid = rows.grid
        steps, stretches = grid.steps, grid.stretches
        most = np.zeros(steps, np.int64)
        for hashed in rows.hashed:
            whole = len(hashed.many) // steps * steps
            np.maximum(most, hashed.many[:whole].reshape(-1, steps).max(axis=0, initial=0), out=most)
            np.maximum(most[: len(hashed.many) - whole], hashed.many[whole:], out=most[: len(hashed.many) - whole])
        at = np.concatenate((np.zeros(1, np.int64), np.cumsum(most)))
        shape = (int(at[-1]), stretches)
        there = np.zeros(shape, np.bool_)
        beats, behind, products, work, slot = (np.zeros(shape, grid.kind) for _ in range(5))
        number = 0
        for n, hashed in enumerate(rows.hashed):
            packet = np.repeat(np.arange(len(hashed.many)), hashed.many)
            end = np.cumsum(hashed.many)
            rank = np.arange(len(packet)) - (end - hashed.many)[packet]
            column, step = packet // steps, packet % steps
            place = (at[step] + rank) * stretches + column + n * (grid.block // steps)
            total = np.concatenate((np.zeros(1, np.int64), np.cumsum(hashed.beats)))
            there.reshape(-1)[place] = True
            for row, values in (
                (beats, hashed.beats),
                (behind, total[end][packet] - total[1:]),
                (products, hashed.digits - 1),
                (work, hashed.work),
                (slot, (np.arange(len(packet)) + number) // rooms.multipliers % rooms.slots),
            ):
                row.reshape(-1)[place] = values
            number += len(packet)
        return Fragments(at.tolist(), there, beats, behind, products, work, slot, there.sum(axis=1).tolist())


class Placing:
    """The recurrence over fragments. Multipliers take them in turn."""

    def __init__(self, rows: Rows, rooms: Rooms):
        self.fragments, self.rooms, self.never = Fragments.of(rows, rooms), rooms, rows.grid.never

    def begin(self, state: State, low: int, high: int) -> None:
        """The stretches `low` to `high` from `state`; `end` gives what it has become."""
        self.part, self.columns = slice(low, high), np.arange(low, high)
        own = [
            _Own(np.concatenate([np.atleast_2d(state[f"{name}{k}"]) for name in OWN]), self.rooms)
            for k in range(self.rooms.multipliers)
        ]
        self.lanes = _Lanes(self.rooms, self.never, state["entered"].copy(), state["made"].copy(), own)

    def end(self) -> State:
        """Ways have no names: they come sorted, so that equal states are the same.

        Raises TooLong where the last hash is so long ago that its way could be taken for NEVER.
        """
        lanes = self.lanes
        state: State = {"entered": lanes.entered, "made": lanes.made}
        for k, own in enumerate(lanes.own):
            if own.ways.min() < self.never // 4:
                raise TooLong
            # No hash or power asks for a way before that: times in front of it say no more than which cycles it has.
            asked = np.minimum(own.placed, lanes.entered) + 1
            for times in (own.ways, own.loads):
                late = times - asked
                late = np.maximum(late, late & self.rooms.power_step - 1)
                np.add(asked, late, out=times)
            order = np.argsort(own.ways, axis=0)
            for name in OWN:
                values = getattr(own, name)
                sort = name in ("ways", "loads")
                state[f"{name}{k}"] = np.take_along_axis(values, order, axis=0) if sort else values
        return state

    def step(self, step: int, reach: Times, v: Times) -> Times:
        """Packets of a step, whose last fragments leave the aligner at `reach`; when verdict is through with them."""
        f, part, lanes = self.fragments, self.part, self.lanes
        width = f.there.shape[1]
        for row in range(f.at[step], f.at[step + 1]):
            some = f.many[row]
            if some * SPARSE < width:
                of = np.flatnonzero(f.there[row, part])
                if not len(of):
                    continue
                few = lanes.some(of)
                v = v.copy()
                v[of] = few.take(f, row, self.columns[of], reach[of], v[of])
                lanes.put(of, few)
            elif some == width:
                v = lanes.take(f, row, part, reach, v)
            else:
                of = np.flatnonzero(~f.there[row, part])
                kept, judged = lanes.some(of), v[of]
                v = lanes.take(f, row, part, reach, v)
                lanes.put(of, kept)
                v[of] = judged
        return v

    @property
    def there(self) -> Times:
        """When the last fragment's placed hash is there."""
        return self.lanes.made + (self.rooms.place - 1)


class _Own:
    """A multiplier's state, of some stretches: rows of one array."""

    def __init__(self, block: Times, rooms: Rooms):
        ways, slots = rooms.power_step, rooms.slots
        self.block = block
        self.ways, self.loads = block[:ways], block[ways : 2 * ways]
        self.started, self.placed, self.waiting = block[2 * ways : 2 * ways + 3]
        self.ready, self.results = block[2 * ways + 3 :][:slots], block[2 * ways + 3 + slots :]


class _Lanes:
    """Some stretches. `own` is every multiplier's state; the first one takes the next fragment.

    What happens in some stretches only is a maximum with a time that is `never` in the others: a choice by flags takes
    many times as long.
    """

    def __init__(self, rooms: Rooms, never: int, entered: Times, made: Times, own: list[_Own]):
        self.rooms, self.never, self.entered, self.made, self.own = rooms, never, entered, made, own
        self.width = len(entered)
        self.columns = np.arange(self.width)
        kind = entered.dtype
        self.wait, self.waits, self.less = np.empty((3, rooms.power_step, self.width), kind)
        self.unit = np.ones(self.width, kind)

    def some(self, of: npt.NDArray[np.intp]) -> "_Lanes":
        """A copy of a few of them."""
        own = [_Own(one.block.take(of, axis=1), self.rooms) for one in self.own]
        return _Lanes(self.rooms, self.never, self.entered[of], self.made[of], own)

    def put(self, of: npt.NDArray[np.intp], few: "_Lanes") -> None:
        self.entered[of], self.made[of] = few.entered, few.made
        for one, other in zip(self.own, few.own, strict=True):
            one.block[:, of] = other.block

    def take(self, f: Fragments, row: int, part: slice | npt.NDArray[np.intp], reach: Times, v: Times) -> Times:
        """A fragment of each; `Placing.step` says the rest. It is the next multiplier's turn then."""
        r, n, own = self.rooms, self.width, self.own[0]
        most = np.maximum
        products, ring = f.products[row, part], f.slot[row, part]
        slot = ring * n + self.columns
        last = np.subtract(reach, f.behind[row, part])
        last += r.aligned + r.encrypted
        # The slot's fragment before must be placed.
        full = own.waiting >= r.slots
        if full.any():
            self._place(own, full, slot, None)
        beats = f.beats[row, part]
        first = last - beats
        most(first, self.entered, out=first)
        most(first, own.results.reshape(-1).take(slot), out=first)
        first += self.unit
        end = beats + first
        end -= self.unit
        most(last, end, out=last)
        # Hashes are placed before the power is begun.
        powered = products > 0
        wanted = most(first, own.started)
        wanted += self.unit
        begins = self._begins(own, wanted)
        due = powered & (own.waiting > 0)
        for _ in range(LOOKS):
            oldest = ring - own.waiting
            oldest %= r.slots
            oldest *= n
            due = self._place(own, due, oldest + self.columns, begins)
            if due is None:
                break
            begins = self._begins(own, wanted)
            due &= own.waiting > 0
        through = self._if(powered)
        through += begins
        most(own.started, through, out=own.started)
        through += products * r.power_step
        self._hold(self.wait, self.least)
        for way, load, held in zip(own.ways, own.loads, self.wait, strict=True):
            held += through
            most(way, held, out=way)
            most(load, held, out=load)
        most(first, through, out=first)
        made = most(last + r.hash, first)
        made += self.unit
        item = made * 2
        item += ~powered
        own.ready.reshape(-1)[slot] = item
        own.waiting += self.unit
        most(made, self.made + self.unit, out=made)
        self.made, self.entered = made, last
        self.own = self.own[1:] + self.own[:1]
        judged = v + f.work[row, part]
        return most(judged, made + (r.place - 1), out=judged)

    def _begins(self, own: _Own, wanted: Times) -> Times:
        """When a power can begin: a digit is loaded, and a cycle later a way is free. `wait` and `least` are those of
        the ways."""
        t = self._free(own.loads, wanted, self.waits)
        t += wanted
        t += self.unit
        self.least = self._free(own.ways, t, self.wait)
        t += self.least
        return t

    def _place(self, own: _Own, due: Flags, slot: npt.NDArray[np.intp], until: Times | None) -> Flags | None:
        """Where `due`, the hash of the fragment in `slot` is placed, if that is not later than `until`. Says where;
        None if nowhere."""
        if not due.any():
            return None
        ready, results = own.ready.reshape(-1), own.results.reshape(-1)
        item = ready.take(slot)
        t = item >> 1
        np.maximum(t, own.placed + self.unit, out=t)
        if until is not None:
            due &= t <= until
            if not due.any():
                return None
        least = self._free(own.ways, t, self.waits)
        t += least
        if until is not None:
            due &= t <= until
            if not due.any():
                return None
        own.waiting -= due
        t += self._if(due)
        np.maximum(own.placed, t, out=own.placed)
        results[slot] = np.maximum(results.take(slot), t)
        t += self.rooms.power_step
        loaded = self._if((item & 1) > 0)
        loaded += t
        self._hold(self.waits, least)
        for way, load, held in zip(own.ways, own.loads, self.waits, strict=True):
            np.maximum(way, held + t, out=way)
            np.maximum(load, held + loaded, out=load)
        return due

    def _if(self, flags: Flags) -> Times:
        """0, or `never` where not."""
        times = flags.astype(self.entered.dtype)
        times -= self.unit
        times *= -self.never
        return times

    def _hold(self, wait: Times, least: Times) -> None:
        """`wait` becomes 0 for the way that is free first, and `never` for the others."""
        for way in wait:
            way -= least
        np.minimum(wait, 1, out=wait)
        wait *= self.never

    def _free(self, ways: Times, t: Times, wait: Times) -> Times:
        """How long from `t` on every way is held; `wait` becomes that of each."""
        for way, held in zip(ways, wait, strict=True):
            np.subtract(way, t, out=held)
        np.bitwise_and(wait, self.rooms.power_step - 1, out=self.less)
        np.maximum(wait, self.less, out=wait)
        return np.minimum.reduce(wait, axis=0)
