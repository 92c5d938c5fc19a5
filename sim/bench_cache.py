"""`bench cache`: what a context cache costs in rate, by connections and entries, and what it moves over its memory.

On the cycle model: the RTL keeps the contexts of all its connections on the chip and has no such cache.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from hw.config import Config
from model.contract import RxPolicy
from model.cycles import ContextCache, Direction, Packets, Timing, rooms_of, simulate
from model.cycles.context import KEY_BYTES, POWER_BYTES, STATE_BYTES, Memory
from model.cycles.packets import HEADERS, Array
from model.cycles.population import population, zipf

CONNECTIONS = tuple(4**n for n in range(11))
ENTRIES = (4096, 8192, 16384, 32768, 65536)
PACKETS = 100_000
FRAMING = 24
"""Preamble, FCS and gap of an Ethernet frame, bytes."""
HEADROOM = 1.024
"""Beats over link, where no clock is given: 800 MHz of 64 bytes for 400 Gb/s."""
WARM = 4
"""Packets for each entry that a cache has seen before those that count."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Settings:
    """What does not change over the sweep.

    Parameters
    ----------
    link : float
        Gb/s, framing included; packets arrive evenly, at all of it.
    clock : float
        MHz.
    width, segment, record : int
        Bytes: of a beat, a packet's payload, a record's plaintext.
    exponent : float
        Of Zipf's law: connection k has a share proportional to k ** -exponent; 0: all alike.
    train : int
        Packets of a connection that follow one another.
    state : int
        Bytes of a connection that frames change: read on a miss with keys and powers, and written back.
    """

    memory: Memory
    link: float = 400
    clock: float = 800
    width: int = 64
    segment: int = 1448
    record: int = 16384
    exponent: float = 1.0
    train: int = 1
    state: int = STATE_BYTES[RxPolicy.FULL.value]
    ways: int = 8
    misses: int = 16
    sbox: str = Config.sbox
    packets: int = PACKETS
    seed: int = 1

    @property
    def cycle(self) -> float:
        """ns."""
        return 1000 / self.clock

    @property
    def read(self) -> int:
        """Bytes of a whole context."""
        return self.state + KEY_BYTES + POWER_BYTES[self.width]

    @property
    def reach(self) -> float:
        """Gb/s that the memory moves at most."""
        return 8 * self.memory.bandwidth * self.memory.efficiency

    def cache(self, entries: int) -> ContextCache:
        """Raises ValueError if there is none of so many entries."""
        return ContextCache(entries, self.memory, self.read, self.state, self.cycle, ways=self.ways, misses=self.misses)


@dataclass(frozen=True)
class Cached:
    """One cache under the traffic of so many connections.

    Parameters
    ----------
    rate, alone : float
        Gb/s of TCP payload at the way out, with the cache and with all contexts on the chip.
    hit_rate : float
        Of packets, 0 to 1.
    read, written : float
        Gb/s over the memory's bus, in whole bursts.
    """

    connections: int
    entries: int
    rate: float
    alone: float
    hit_rate: float
    read: float
    written: float

    @property
    def share(self) -> float:
        """Of the rate without a cache."""
        return self.rate / self.alone

    @property
    def traffic(self) -> float:
        return self.read + self.written

    def json(self) -> dict[str, object]:
        values = asdict(self) | {"share": self.share, "traffic": self.traffic, "doubt": 0}
        return {name: round(value, 5) for name, value in values.items()}


def clock_for(link: float, width: int) -> float:
    """MHz at which beats carry somewhat more than the link, Gb/s."""
    return 1000 * link * HEADROOM / (8 * width)


def bench_cache(
    settings: Settings,
    connections: Sequence[int] = CONNECTIONS,
    entries: Sequence[int] = ENTRIES,
    progress: Progress | None = None,
) -> list[Cached]:
    """Every cache under the traffic of every number of connections; the caches of a number see the same packets."""
    tell = progress or (lambda text, done, total: None)
    caches = [settings.cache(each) for each in entries]
    rooms = rooms_of(Direction.RX, settings.width, settings.sbox)
    rows: list[Cached] = []
    total = len(connections) * (len(caches) + 1)
    for number, many in enumerate(connections):
        done = number * (len(caches) + 1)
        tell("simulating", done, total)
        traffic = _Traffic(settings, many)
        alone = _rate(simulate(traffic.packets, rooms), settings)
        for n, cache in enumerate(caches):
            tell("simulating", done + n + 1, total)
            uses = cache.uses(traffic.packets, traffic.before(cache.entries))
            timing = simulate(traffic.packets, rooms, uses)
            rate = _rate(timing, settings)
            scale = rate / (settings.segment * settings.packets)
            read, written = uses.read_bytes * scale, uses.written_bytes * scale
            rows.append(Cached(many, cache.entries, rate, alone, uses.hit_rate, read, written))
    tell("simulating", total, total)
    return rows


class _Traffic:
    def __init__(self, settings: Settings, connections: int):
        self.settings, self.connections = settings, connections
        rng = np.random.default_rng([settings.seed, connections])
        # handles say nothing of how busy a connection is
        self.handle = rng.permutation(connections)
        self.packets = self._packets(rng)

    def _packets(self, rng: np.random.Generator) -> Packets:
        s = self.settings
        chosen = self.handle[zipf(self.connections, s.exponent, s.packets, rng, s.train)]
        packets = population(chosen, s.segment, s.record, rng, HEADERS)
        spacing = 8 * (s.segment + HEADERS + FRAMING) / s.link / s.cycle
        packets.arrival = (np.arange(s.packets) * spacing).astype(np.int64)
        return packets

    def before(self, entries: int) -> Array:
        """What a cache has seen: each connection that may be in it, the busiest last, and then traffic like that which
        counts."""
        s = self.settings
        rng = np.random.default_rng([s.seed, self.connections, entries])
        drawn = zipf(self.connections, s.exponent, WARM * entries, rng, s.train)
        return self.handle[np.concatenate((np.arange(min(self.connections, 2 * entries))[::-1], drawn))]


def _rate(timing: Timing, settings: Settings) -> float:
    """Behind the first tenth: what is inside has filled by then."""
    begin = settings.packets // 10
    cycles = int(timing.last_out[-1] - timing.last_out[begin])
    return 8 * settings.segment * (settings.packets - 1 - begin) / (cycles * settings.cycle)
