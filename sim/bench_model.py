"""`bench model`: the cycle model beside the RTL, over a grid of traffic and over captures."""

import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from driver.netdev import NetDevice
from driver.transmit import TransmitSide
from hw.config import Config
from model.commands import Read
from model.contract import HASH_KEY_BITS, READ_IDENTIFICATION
from model.cycles import Direction, Packets, packets_of, rooms_of, simulate
from model.device import GoldenDevice
from model.tx_device import GoldenTxDevice
from sim.bench import CONNECTIONS, GRID, Traffic, interleaved, rate, segments_of, tx_add, tx_traffic
from sim.capture import read_capture
from sim.connections import Followed, follow
from sim.cycle_packets import rx_packets, tx_packets
from sim.engine import BatchResult, Engine, Event, TxBatchResult, TxEngine, make_engine, make_tx_engine
from sim.host import Host
from sim.schedule import Entry, Recorder, TxRecorder
from sim.secrets import KeyLog
from sim.tx_host import TxHost

TARGET = 2.0
"""Percent of the RTL's cycles (design section 7)."""
CROSS = tuple(
    Traffic(f"{segment}B_records_{record}_x{connections}", "", connections, record, segment, frames)
    for segment, frames in ((64, 400), (536, 300), (1448, 200), (9000, 80))
    for record in (64, 300, 1024, 16384)
    for connections in (1, 256)
    if connections == 1 or record != 300
)
CLEARED = 1200
"""Cycles after a reset in which the flow table may still be emptied."""
Result = BatchResult | TxBatchResult
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Compared:
    """One run, by RTL and model. `cycles` from the first beat in to the last one out; errors in percent of the RTL's.

    `rate_error` is that of the rate behind the first packets, None for a capture; `exit_error` the largest difference
    between the cycles in which a packet's last beat left.
    """

    name: str
    packets: int
    rtl: int
    model: int
    error: float
    rate_error: float | None
    exit_error: float

    def json(self) -> dict[str, object]:
        return asdict(self)


def compared(
    name: str, result: Result, packets: Packets, key: tuple[Direction, int, str], segment: int | None = None
) -> Compared:
    """The RTL's result beside the model's, with the rates if all packets are of `segment` bytes. Both count from the
    first beat in."""
    timing = simulate(packets, rooms_of(*key))
    begin = int(result.first_in[0])
    rtl = result.last_out - begin
    model = (timing.last_out - timing.first_in[0])[packets.sent]
    cycles, mine = int(rtl[-1]) + 1, int(model[-1]) + 1
    off = int(np.abs(rtl - model).max())
    ratio = rate(model, segment) / rate(rtl, segment) if segment else None
    return Compared(
        name,
        len(packets),
        cycles,
        mine,
        round(100 * (mine / cycles - 1), 3),
        None if ratio is None else round(100 * (ratio - 1), 3),
        round(100 * off / cycles, 3),
    )


def grid_case(engine: Engine | TxEngine, traffic: Traffic, seed: int = 1) -> Compared:
    """In-order traffic, back to back."""
    streams = traffic.streams(seed)
    each = -(-traffic.frames // traffic.connections)
    width = engine.config.width
    if isinstance(engine, Engine):
        engine.reset()
        engine.run([s.add() for s in streams])
        frames: list[Event] = list(
            interleaved([segments_of(s, traffic.record, traffic.segment, each) for s in streams])
        )
        result, direction = engine.run(frames), Direction.RX
    else:
        events, _ = tx_traffic(streams, tx_add(engine, streams), traffic.record, traffic.segment, traffic.frames)
        result, direction = engine.run(events), Direction.TX
    count = len(result.first_in)
    packets = packets_of(traffic.segment, traffic.record, count, connections=traffic.connections)
    key = direction, width, engine.config.sbox
    return compared(f"{direction}/w{width}/{traffic.name}", result, packets, key, traffic.segment)


def captures_in(paths: Iterable[Path]) -> list[Path]:
    """The captures named, and those of the folders named."""
    return [one for path in paths for one in (sorted(path.glob("*.pcap*")) if path.is_dir() else [path])]


def followed_capture(path: Path) -> Followed:
    log = KeyLog()
    keys = path.with_suffix(".keys")
    if keys.is_file():
        log.add(keys.read_text(encoding="utf-8", errors="replace"), str(keys))
    return follow(read_capture(path), log)


def rx_schedule(followed: Followed, config: Config, seed: int = 1) -> list[Entry]:
    """What the receive device is given of a capture, with what the golden one makes of it."""
    recorder = Recorder(GoldenDevice(config.connections, config.width, policy=config.rx_policy))
    host = Host(followed, NetDevice(recorder, random.Random(seed).getrandbits(HASH_KEY_BITS)))
    for index in range(len(followed.capture.packets)):
        host.packet(index)
    host.finish()
    return recorder.schedule.entries


def tx_schedule(followed: Followed, config: Config, seed: int = 1) -> list[Entry]:
    """The same of the transmit device."""
    recorder = TxRecorder(GoldenTxDevice(config.connections, config.width))
    host = TxHost(followed, TransmitSide(recorder), seed)
    for index in range(len(followed.capture.packets)):
        host.packet(index)
    host.finish()
    return recorder.schedule.entries


def capture_case(engine: Engine | TxEngine, path: Path) -> Compared:
    """A capture, with the driver's commands in between."""
    followed, width = followed_capture(path), engine.config.width
    engine.reset()
    engine.run([Read(READ_IDENTIFICATION)], settle=CLEARED)
    if isinstance(engine, Engine):
        entries, direction = rx_schedule(followed, engine.config), Direction.RX
        packets = rx_packets(entries, width)
    else:
        entries, direction = tx_schedule(followed, engine.config), Direction.TX
        packets = tx_packets(entries)
    events: list[object] = [e.event for e in entries]
    result: Result = engine.run(events)  # pyright: ignore[reportArgumentType]
    return compared(f"{direction}/w{width}/{path.stem}", result, packets, (direction, width, engine.config.sbox))


def bench_model(
    widths: Sequence[int],
    directions: Iterable[Direction],
    captures: Sequence[Path],
    engine: str = "compiled",
    seed: int = 1,
    progress: Progress | None = None,
    shape: Config = Config(),  # noqa: B008
    grid: Sequence[Traffic] = GRID + CROSS,
) -> list[Compared]:
    """Every case of the grid and every capture, at each width and in each direction."""
    tell = progress or (lambda text, share: None)
    rows: list[Compared] = []
    runs = [(direction, width) for direction in directions for width in widths]
    for n, (direction, width) in enumerate(runs):
        config = replace(shape, width=width, connections=CONNECTIONS)
        make = make_engine if direction is Direction.RX else make_tx_engine
        with make(engine, config, progress=progress) as device:
            for k, case in enumerate([*grid, *captures]):
                tell(f"{direction}, W={width}", (n + k / (len(grid) + len(captures))) / len(runs))
                rows.append(capture_case(device, case) if isinstance(case, Path) else grid_case(device, case, seed))
    return rows


Summary = dict[str, float | str | None]


def summary(rows: Sequence[Compared]) -> Summary:
    """Worst and mean of the absolute errors, of cycles and of rates (None if there is none)."""
    worst = max(rows, key=lambda row: abs(row.error))
    rated = [row for row in rows if row.rate_error is not None]
    worst_rate = max(rated, key=lambda row: abs(row.rate_error or 0.0), default=None)
    return {
        "worst": abs(worst.error),
        "worst_case": worst.name,
        "mean": round(float(np.mean([abs(row.error) for row in rows])), 3),
        "worst_rate": abs(worst_rate.rate_error or 0.0) if worst_rate else None,
        "worst_rate_case": worst_rate.name if worst_rate else None,
        "mean_rate": round(float(np.mean([abs(row.rate_error or 0.0) for row in rated])), 3) if rated else None,
        "worst_exit": max(row.exit_error for row in rows),
        "target": TARGET,
    }


def within(said: Summary) -> bool:
    """Whether no error of cycles or rates is beyond the target."""
    return all(float(said[name] or 0.0) <= TARGET for name in ("worst", "worst_rate"))


def groups(rows: Sequence[Compared]) -> dict[str, Summary]:
    """The summaries by direction, width, and whether traffic or captures were run: `rx/w16/grid`."""
    found: dict[str, list[Compared]] = {}
    for row in rows:
        where, _, _ = row.name.rpartition("/")
        found.setdefault(f"{where}/{'captures' if row.rate_error is None else 'grid'}", []).append(row)
    return {name: summary(some) | {"cases": len(some)} for name, some in found.items()}


TIMED = (
    (Direction.RX, 16, 1448, 16384),
    (Direction.RX, 64, 1448, 16384),
    (Direction.TX, 64, 1448, 16384),
    (Direction.RX, 64, 9000, 16384),
    (Direction.RX, 64, 64, 16384),
)
"""Direction, width, segment and record whose packets a second are measured."""


def model_speed(count: int = 1_000_000, tries: int = 3, progress: Progress | None = None) -> dict[str, float]:
    """Packets a second of processor time of the model on `count` packets made before; the best of some tries."""
    tell = progress or (lambda text, share: None)
    speeds: dict[str, float] = {}
    for n, (direction, width, segment, record) in enumerate(TIMED):
        packets, rooms, best = packets_of(segment, record, count), rooms_of(direction, width), float("inf")
        for k in range(tries):
            tell("packets a second", (n + k / tries) / len(TIMED))
            started = time.process_time()
            simulate(packets, rooms)
            best = min(best, time.process_time() - started)
        speeds[f"{direction}/w{width}/segment_{segment}"] = round(count / best)
    return speeds
