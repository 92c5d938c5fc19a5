"""What packets take, laid out for the chain: a row for each step, a column for each stretch of the packets."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.cycles.costs import NAMES, NEVER, Hashed, cost_blocks
from model.cycles.packets import Array, Packets
from model.cycles.rooms import INSIDE, Rooms

BLOCK = 16384
"""Packets whose costs are found at one time: their arrays stay in a second-level cache."""
NARROW = -(1 << 29)
"""NEVER in 32 bits: four of them can be added."""
REACH = 1 << 27
"""Cycles that a stretch takes at most if its times have 32 bits: far from NARROW."""
OWN = 256
"""More than the cycles of all rooms that do not depend on the packet."""

Times = npt.NDArray[Any]
"""Cycles, of 32 bits, from the last beat in front of the stretch, or of 64."""


class TooLong(Exception):
    """Times do not fit into 32 bits."""


@dataclass
class Grid:
    """Packets in stretches of `steps`: the last one is filled up with packets that do nothing.

    Attributes
    ----------
    kind : type
        Of the times.
    never : int
        NEVER in that type.
    """

    count: int
    steps: int
    stretches: int
    kind: type[np.signedinteger[Any]]

    @property
    def never(self) -> int:
        return NARROW if self.kind is np.int32 else NEVER

    def rows(self, values: npt.NDArray[Any], rest: int) -> Times:
        """An array of all packets."""
        if values[0] == values[-1] and np.all(values == values[0]):
            return self.alike(int(values[0]))
        rows = self.empty(rest)
        each = self.block
        for begin in range(0, self.count, each):
            self.put(rows, begin, values[begin : begin + each])
        return rows

    @property
    def block(self) -> int:
        """Packets of some whole stretches."""
        return max(1, BLOCK // self.steps) * self.steps

    def alike(self, value: int) -> Times:
        """One row for all steps."""
        return np.broadcast_to(np.full(self.stretches, max(value, self.never), self.kind), (self.steps, self.stretches))

    def empty(self, rest: int) -> Times:
        rows = np.empty((self.steps, self.stretches), self.kind)
        rows[:, -1] = max(rest, self.never)
        return rows

    def put(self, rows: Times, begin: int, values: npt.NDArray[Any]) -> None:
        """Packets from `begin` on, which is a stretch's first."""
        column, whole = begin // self.steps, len(values) // self.steps
        if rows.dtype == np.int32:
            values = np.maximum(values, NARROW)
        cut = whole * self.steps
        rows[:, column : column + whole] = values[:cut].reshape(whole, self.steps).T
        if cut < len(values):
            rows[: len(values) - cut, column + whole] = values[cut:]

    def flat(self, rows: Times, begin: Array) -> Array:
        """Times of all packets, one after another, from those of each stretch since its `begin`."""
        out = np.empty((self.stretches, self.steps), np.int64)
        each = max(1, BLOCK // self.steps)
        for k in range(0, self.stretches, each):
            np.add(rows[:, k : k + each].T, begin[k : k + each, np.newaxis], out=out[k : k + each])
        return out.reshape(-1)[: self.count]


@dataclass
class Rows:
    """Attributes
    ----------
    of : dict of Times
        By name of `Costs`.
    chained, alone : Times or None
        Those of `Costs` as flags; None where no packet has one.
    holds : Holds
    hashed : list of Hashed
        Fragments one by one, of `grid.block` packets each; empty: they need not be asked.
    """

    grid: Grid
    of: dict[str, Times]
    chained: npt.NDArray[np.bool_] | None
    alone: npt.NDArray[np.bool_] | None
    holds: "Holds"
    hashed: list[Hashed]


def rows_of(p: Packets, r: Rooms, grid: Grid) -> Rows:
    """Raises TooLong."""
    of: dict[str, Times] = {}
    alike: dict[str, int] = {}
    most = dict.fromkeys(NAMES, 0)
    hashed: list[Hashed] = []
    crowded = False
    for block in cost_blocks(p, r, grid.block):
        for name in NAMES:
            values = getattr(block.costs, name)
            low, high = int(values.min()), int(values.max())
            most[name] = max(most[name], high)
            if name not in of:
                if low == high == alike.setdefault(name, low):
                    continue
                of[name] = grid.empty(1 if name == "beats" else 0)
                of[name][:, : block.begin // grid.steps] = max(alike.pop(name, 0), grid.never)
            grid.put(of[name], block.begin, values)
        hashed.append(block.hashed)
        crowded |= block.crowded
    each = sum(most.values()) + int(p.pause.max()) + int(p.gap.max()) + OWN
    if grid.kind is np.int32 and each * grid.steps > REACH:
        raise TooLong
    alike = {name: value for name, value in alike.items() if name not in of}
    of |= {name: grid.alike(value) for name, value in alike.items()}
    of |= {name: grid.alike(value) for name, value in alike.items()}
    # What the chain adds to them anyway.
    for name, more in (("beats", -1), ("flush", r.overlay)):
        of[name] = grid.alike(alike[name] + more) if name in alike else of[name] + more
    chained, alone = (of[name] > 0 if most[name] else None for name in ("chained", "alone"))
    return Rows(grid, of, chained, alone, holds_of(p, r, grid), hashed if crowded else [])


@dataclass
class Holds:
    """Whose beat makes room in the packet buffer for a packet's last one.

    Attributes
    ----------
    lag : int
        How many packets back, if that is the same for all; else 0.
    place : array or None
        Else that packet's place among the grid's rows with INSIDE more in front of them, from this one's row on; None:
        nobody waits.
    beat : Times
        From when that one's first beat leaves to when the last beat may come; NEVER: at any time.
    """

    lag: int
    place: npt.NDArray[np.intp] | None
    beat: Times


def holds_of(p: Packets, r: Rooms, grid: Grid) -> Holds:
    room = r.buffer_beats
    low, high = (-(-int(one) // r.width) for one in (p.size.min(), p.size.max()))
    if high * INSIDE <= room:
        return Holds(0, None, grid.alike(NEVER))
    if low == high:  # those that no packet in front makes room for find one that was never there
        lag = room // high
        return Holds(lag, None, grid.alike(high * (lag + 1) - room if lag else NEVER))
    place = np.empty((grid.steps, grid.stretches), np.intp)
    place[:, -1] = (INSIDE - 1) * grid.stretches + grid.stretches - 1
    beat = grid.empty(NEVER)
    for begin in range(0, len(p), grid.block):
        front = min(begin, INSIDE)
        beats = -(-p.size[begin - front : begin + grid.block] // r.width)
        total = np.cumsum(beats)
        wanted = total - room  # beats that must have left
        index = np.searchsorted(total, wanted, side="left")
        lag = np.arange(len(beats)) - index
        active = (wanted > 0) & (lag < INSIDE) & (lag > 0)
        lag = np.where(active, lag, 1)
        from_then = np.where(active, wanted - (total[index] - beats[index]), NEVER)
        grid.put(beat, begin, from_then[front:])
        column = np.arange(front, len(beats))
        column -= front
        column += begin
        column //= grid.steps
        grid.put(place, begin, (INSIDE - lag[front:]) * grid.stretches + column)
    return Holds(0, place, beat)
