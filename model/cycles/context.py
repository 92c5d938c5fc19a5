"""A context cache: connections' state, keys and powers in an external memory, the busy ones on the chip.

The cache is set-associative and evicts the least recently used line of a set. The handle's low bits choose the set:
handles are dense, so sets hold equally many connections, and no connection misses twice if all of them fit. Least
recently used in a few ways is what memories beside the pipeline can do in a cycle; `ways` equal to `entries` is the
fully associative one, to compare with.

A frame looks for its context when its connection is found, and asks the memory for it if it is not there; the frames
behind it do the same meanwhile. The tracker takes frames in order, each when its context is there. The memory serves
requests in order.
"""

from dataclasses import dataclass

import numpy as np

from model.cycles.packets import Array, Flags, Packets
from model.cycles.rooms import INSIDE

PARTS = 64
"""Transfers are counted in parts of a cycle."""

STATE_BYTES = {"published": 48, "kernel": 1106, "full": 1106}
"""State of a connection that frames change, by receive policy (docs/architecture.md)."""
KEY_BYTES = 45
"""Key, IV and which AES (hw/keystream.py)."""
POWER_BYTES = {16: 320, 32: 336, 64: 368}
"""Powers of H by width: 16 to place fragments, 4 of the loop, one for each lane but the last (hw/powers.py)."""


@dataclass(frozen=True)
class Memory:
    """What contexts that are not in the cache are in.

    Parameters
    ----------
    latency : float
        From a request to its first byte, ns.
    bandwidth : float
        Peak of all channels, GB/s; a context is spread over all of them.
    efficiency : float
        Share of the peak that rows at random, reads and writes mixed, get.
    burst : int
        Bytes; transfers are whole bursts.
    """

    latency: float
    bandwidth: float
    efficiency: float
    burst: int

    def moved(self, size: int) -> int:
        """Bytes on the bus for `size` bytes."""
        return -(-size // self.burst) * self.burst


MEMORIES = {
    "ddr4": Memory(latency=120, bandwidth=38.4, efficiency=0.8, burst=64),
    "hbm2": Memory(latency=160, bandwidth=460, efficiency=0.8, burst=32),
}
"""Two channels of DDR4-2400 (19.2 GB/s each) and two stacks of HBM2 (32 pseudo channels of 14.375 GB/s), as on an Alveo
U280 (AMD UG1393). Latency, the FPGA's controller included, and efficiency are assumptions."""


@dataclass(frozen=True)
class ContextCache:
    """A cache of `entries` contexts over a memory.

    Parameters
    ----------
    read, written : int
        Bytes that a miss reads; those of its victim that are written back. Every frame changes its connection's state,
        so a victim always is.
    cycle : float
        The device's, in ns.
    misses : int
        In flight at most.
    waiting : int
        Frames between flow table and tracker at most, with their contexts or waiting for them.
    """

    entries: int
    memory: Memory
    read: int
    written: int
    cycle: float
    ways: int = 8
    misses: int = 16
    waiting: int = INSIDE

    def __post_init__(self) -> None:
        if min(self.entries, self.ways, self.misses, self.waiting) < 1 or self.entries % self.ways:
            raise ValueError("entries are a multiple of ways, and nothing is 0")

    @property
    def latency(self) -> int:
        """Cycles."""
        return -int(-self.memory.latency // self.cycle)

    def parts(self, size: int) -> int:
        """Of a cycle, on the memory's bus."""
        speed = self.memory.bandwidth * self.memory.efficiency  # bytes a ns
        return round(self.memory.moved(size) / speed / self.cycle * PARTS)

    def uses(self, packets: Packets, before: Array | None = None) -> "Uses":
        """What packets of offloaded connections find in it, behind those of the connections `before`."""
        of = np.flatnonzero(packets.matched)
        earlier = np.zeros(0, np.int64) if before is None else before
        found = lru(np.concatenate((earlier, packets.connection[of])), self.entries // self.ways, self.ways)
        uses = Uses.none(self, len(packets))
        at = slice(len(earlier), None)
        uses.used[of] = True
        uses.miss[of], uses.evicts[of], distance = ~found.hit[at], found.evicts[at], found.victim[at]
        # the victim's last frame, in packets: those of other connections lie between as well
        last = np.arange(len(earlier), len(earlier) + len(of)) - distance - len(earlier)
        known = (distance > 0) & (last >= 0)
        uses.victim[of[known]] = of[known] - of[last[known]]
        missed = np.flatnonzero(uses.miss)
        uses.free[missed[self.misses :]] = missed[self.misses :] - missed[: -self.misses]
        return uses


@dataclass
class Uses:
    """Of each packet.

    Attributes
    ----------
    used, miss, evicts : Flags
        Wants a context; it is not in the cache; another one has to leave for it.
    victim : Array
        How many packets back the victim was last used, if less than INSIDE; else 0.
    free : Array
        How many packets back the miss began that must be there before this one may begin; 0: there is none.
    """

    cache: ContextCache
    used: Flags
    miss: Flags
    evicts: Flags
    victim: Array
    free: Array

    @staticmethod
    def none(cache: ContextCache, count: int) -> "Uses":
        no = np.zeros((3, count), np.bool_)
        return Uses(cache, no[0], no[1], no[2], np.zeros(count, np.int64), np.zeros(count, np.int64))

    @property
    def hit_rate(self) -> float:
        return 1 - float(self.miss.sum()) / max(int(self.used.sum()), 1)

    @property
    def read_bytes(self) -> int:
        return int(self.miss.sum()) * self.cache.memory.moved(self.cache.read)

    @property
    def written_bytes(self) -> int:
        return int(self.evicts.sum()) * self.cache.memory.moved(self.cache.written)


@dataclass
class Found:
    """Of each access: whether it hit, whether a line had to leave, and how many accesses back that line was used, if
    less than INSIDE (else 0)."""

    hit: Flags
    evicts: Flags
    victim: Array


def lru(connection: Array, sets: int, ways: int) -> Found:
    """Accesses to an empty cache.

    An access hits if fewer than `ways` other connections of its set came since its connection did: those whose access
    before lies in front of that one, so they are counted without stepping.
    """
    n = len(connection)
    time = np.argsort(connection % sets, kind="stable")  # by set, then in order
    line = connection[time]
    same = np.argsort(line, kind="stable")
    again = line[same[1:]] == line[same[:-1]]
    before, behind = np.full(n, -1), np.full(n, n)
    before[same[1:][again]] = same[:-1][again]
    behind[same[:-1][again]] = same[1:][again]
    rank = np.empty(n, np.int64)
    rank[np.argsort(before, kind="stable")] = np.arange(n)
    distinct = _smaller_in_front(rank) - before - 1
    hit = (before >= 0) & (distinct < ways)

    group = line % sets
    opens = np.concatenate((np.ones(min(n, 1), np.bool_), group[1:] != group[:-1]))
    begin = np.maximum.accumulate(np.where(opens, np.arange(n), 0))
    fresh = np.cumsum(before < 0) - (before < 0)
    evicts = ~hit & (fresh - fresh[begin] >= ways)
    victim = np.zeros(n, np.int64)
    left = np.flatnonzero(evicts)
    seen = np.zeros(len(left), np.int64)
    for back in range(1, INSIDE):
        candidate = left - back
        near = candidate >= begin[left]
        near &= time[left] - time[candidate] < INSIDE
        left, candidate, seen = left[near], candidate[near], seen[near]
        seen += behind[candidate] > left
        is_it = seen == ways
        victim[left[is_it]] = (time[left] - time[candidate])[is_it]
        left, seen = left[~is_it], seen[~is_it]
        if not len(left):
            break
    out = Found(np.empty(n, np.bool_), np.empty(n, np.bool_), np.empty(n, np.int64))
    out.hit[time], out.evicts[time], out.victim[time] = hit, evicts, victim
    return out


def _smaller_in_front(rank: Array) -> Array:
    """Of each number of a permutation of 0..n-1: how many in front of it are smaller. Bit by bit from the top: among
    those that agree so far, the ones with a 0 are smaller than the ones with a 1."""
    n = len(rank)
    count, order, place = np.zeros(n, np.int64), np.arange(n), np.arange(n)
    for bit in reversed(range(n.bit_length())):
        value = rank[order]
        one = (value >> bit & 1).astype(np.bool_)
        begin = value >> (bit + 1) << (bit + 1)  # a group of ranks begins at its least one
        zeros = np.cumsum(~one) - ~one
        zeros = zeros - zeros[begin]
        count[order[one]] += zeros[one]
        to = np.where(one, place + (1 << bit) - zeros, begin + zeros)
        moved = np.empty(n, np.int64)
        moved[to] = order
        order = moved
    return count
