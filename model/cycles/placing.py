"""GHASH fragment by fragment: where short ones wait for one another's powers (hw/placing.py).

A multiplier takes a product a cycle, and a power's next product goes in when the one before comes out, `power_step`
cycles later: so it has as many *ways* as cycles in a step, each with its own cycles modulo the step, and a power holds
one of them from its first product to its last. Of the cycles that no power holds, those that place a hash come first;
then powers begin, which takes a cycle to load the first digit and a later one for the first product.
"""

from dataclasses import dataclass

import numpy as np

from model.cycles.costs import Hashed
from model.cycles.packets import Array
from model.cycles.rooms import Rooms

LOOKS = 3
"""Hashes placed between the begins of two powers, at most; more wait for the next one."""
State = dict[str, Array]

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


def empty(rooms: Rooms, count: int, never: int) -> State:
    """The room without a fragment, `count` times."""
    state: State = {name: np.full(count, never, np.int64) for name in SHARED}
    for k in range(rooms.multipliers):
        for name in ("started", "placed"):
            state[f"{name}{k}"] = np.full(count, never, np.int64)
        for name in ("ready", "results"):
            state[f"{name}{k}"] = np.full((rooms.slots, count), never, np.int64)
        for name in ("ways", "loads"):
            state[f"{name}{k}"] = np.repeat(np.arange(-rooms.power_step, 0)[:, np.newaxis], count, axis=1)
        state[f"waiting{k}"] = np.zeros(count, np.int64)
    return state


@dataclass
class Fragments:
    """Fragments of every step, a row for each that a packet of the step has, a column for each stretch.

    Attributes
    ----------
    at : Array
        Row of each step's first ones; one more behind the last.
    there : Array
        0: the packet has no such fragment.
    beats, behind : Array
        Aligned beats of it, and of those behind it in its packet.
    products : Array
        Of its power; 0: a single digit.
    work : Array
        Of the verdict's room.
    slot : Array
        Place in rows of `slots`, laid out flat.
    """

    at: Array
    there: Array
    beats: Array
    behind: Array
    products: Array
    work: Array
    slot: Array

    @staticmethod
    def of(hashed: Hashed, rooms: Rooms, steps: int, stretches: int) -> "Fragments":
        many = hashed.many
        whole = np.zeros(steps * stretches, np.int64)
        whole[: len(many)] = many
        most = whole.reshape(stretches, steps).max(axis=0)
        at = np.concatenate((np.zeros(1, np.int64), np.cumsum(most)))
        packet = np.repeat(np.arange(len(many)), many)
        first = np.cumsum(many) - many
        rank = np.arange(len(packet)) - first[packet]
        column, step = packet // steps, packet % steps
        shape = (int(at[-1]), stretches)
        place = (at[step] + rank) * stretches + column
        total = np.cumsum(hashed.beats)
        ends = np.concatenate((np.zeros(1, np.int64), total))[np.cumsum(many)]

        def rows(values: Array) -> Array:
            out = np.zeros(shape[0] * stretches, np.int64)
            out[place] = values
            return out.reshape(shape)

        slot = np.arange(len(packet)) // rooms.multipliers % rooms.slots * stretches
        return Fragments(
            at,
            rows(np.ones(len(packet), np.int64)),
            rows(hashed.beats),
            rows(ends[packet] - total),
            rows(hashed.digits - 1),
            rows(hashed.work),
            rows(slot) + np.arange(stretches),
        )


class Placing:
    """The recurrence over fragments. Multipliers take them in turn."""

    def __init__(self, fragments: Fragments, rooms: Rooms, stretches: int):
        self.fragments, self.rooms, self.count = fragments, rooms, stretches

    def begin(self, state: State) -> None:
        """From `state`; `end` gives what it has become."""
        self.entered, self.made = state["entered"], state["made"]
        # The first one takes the next fragment.
        self.multipliers = [{name: state[f"{name}{k}"].copy() for name in OWN} for k in range(self.rooms.multipliers)]

    def end(self) -> State:
        """Ways have no names: they come sorted, so that equal states are the same."""
        state: State = {"entered": self.entered, "made": self.made}
        for k, own in enumerate(self.multipliers):
            order = np.argsort(own["ways"], axis=0)
            for name, values in own.items():
                sort = name in ("ways", "loads")
                state[f"{name}{k}"] = np.take_along_axis(values, order, axis=0) if sort else values
        return state

    def step(self, step: int, reach: Array, v: Array) -> Array:
        """Packets of a step, whose last fragments leave the aligner at `reach`; when verdict is through with them."""
        f, units = self.fragments, self.multipliers
        for row in range(int(f.at[step]), int(f.at[step + 1])):
            v = self._fragment(row, reach, v)
            if len(units) > 1:
                taken = units.pop(0)
                units.append(taken)
                here = f.there[row] > 0
                if not here.all():
                    self._stay(~here)
        return v

    def _stay(self, stays: Array) -> None:
        """Where no fragment was taken it is the same multiplier's turn."""
        for name in OWN:
            values = [own[name] for own in self.multipliers]
            for own, value, other in zip(self.multipliers, values, values[-1:] + values[:-1], strict=True):
                own[name] = np.where(stays, other, value)

    @property
    def there(self) -> Array:
        """When the last fragment's placed hash is there."""
        return self.made + (self.rooms.place - 1)

    def _fragment(self, row: int, reach: Array, v: Array) -> Array:
        r, f, own, n = self.rooms, self.fragments, self.multipliers[0], self.count
        here, beats, products, slot = f.there[row] > 0, f.beats[row], f.products[row], f.slot[row]
        ready, results = own["ready"].reshape(-1), own["results"].reshape(-1)
        last = reach + (r.aligned + r.encrypted) - f.behind[row]
        # The slot's fragment before must be placed.
        self._place(own, here & (own["waiting"] >= r.slots), slot)
        first = np.maximum(np.maximum(last - beats, self.entered), results[slot]) + 1
        last = np.maximum(last, first + beats - 1)
        # Hashes are placed before the power is begun.
        powered = here & (products > 0)
        wanted = np.maximum(first, own["started"]) + 1
        for _ in range(LOOKS):
            oldest = slot - own["waiting"] * n
            oldest += np.where(oldest < 0, r.slots * n, 0)
            begins = _free(own["ways"], _free(own["loads"], wanted)[0] + 1)[0]
            self._place(own, powered & (own["waiting"] > 0), oldest, begins)
        begins, hit = _free(own["ways"], _free(own["loads"], wanted)[0] + 1)
        through = begins + r.power_step * products
        hit &= powered
        own["ways"] = np.where(hit, through, own["ways"])
        own["loads"] = np.where(hit, through, own["loads"])
        own["started"] = np.where(powered, begins, own["started"])
        made = np.maximum(last + r.hash, np.where(products > 0, through, first)) + 1
        ready[slot] = np.where(here, made * 2 + (products == 0), ready[slot])
        own["waiting"] = own["waiting"] + here
        made = np.maximum(made, self.made + 1)
        self.made = np.where(here, made, self.made)
        self.entered = np.where(here, last, self.entered)
        return np.where(here, np.maximum(v + f.work[row], made + (r.place - 1)), v)

    def _place(self, own: State, due: Array, slot: Array, until: Array | None = None) -> None:
        """Where `due`, the hash of the fragment in `slot` is placed, if that is not later than `until`."""
        if not due.any():
            return
        ready, results = own["ready"].reshape(-1), own["results"].reshape(-1)
        item = ready[slot]
        t, hit = _free(own["ways"], np.maximum(item >> 1, own["placed"] + 1))
        if until is not None:
            due = due & (t <= until)
        after = t + self.rooms.power_step
        hit &= due
        own["ways"] = np.where(hit, after, own["ways"])
        own["loads"] = np.where(hit & ((item & 1) > 0), after, own["loads"])
        own["placed"] = np.where(due, t, own["placed"])
        results[slot] = np.where(due, t, results[slot])
        own["waiting"] = own["waiting"] - due


def _free(ways: Array, t: Array) -> tuple[Array, Array]:
    """The first cycle from `t` on that no way holds, and which one's it is."""
    wait = ways - t
    wait = np.maximum(wait, wait & (len(ways) - 1))
    least = wait.min(axis=0)
    return t + least, wait == least
