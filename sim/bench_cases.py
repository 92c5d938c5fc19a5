"""The cases of `ktls-nic bench`: what each measures on the RTL, and what the cycle model says of the same traffic."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from hw.config import OVERLOADS, Config
from model.cycles import Direction as ModelDirection
from model.cycles import packets_of, rooms_of, simulate
from sim.bench import (
    CONNECTIONS,
    GRID,
    RECEIVE,
    RECORDS,
    SEGMENTS,
    TINY,
    TRANSMIT,
    Traffic,
    connection,
    install,
    mixed,
    not_offloaded,
    overloaded,
    rate,
)
from sim.bench_duplex import duplex_measure
from sim.bench_model import compared
from sim.engine import make_duplex_engine

RECORD = 16384
"""Bytes of a record where the design names none."""
MANY = 1024
"""Connections of the design's round robin."""
BETWEEN = {"256B": 256, "4KB": 4096}
BESIDE = tuple(
    [Traffic(f"segment_{size}", f"segments of {size} B", 1, RECORD, size, 400) for size in (128, 536, 4096)]
    + [Traffic(f"records_{name}", f"records of {name}", 1, size, 1448, 400) for name, size in BETWEEN.items()]
    + [Traffic(f"round_robin_{n}", f"{n} connections in turn", n, RECORD, 1448, 400) for n in (4, 32)]
)  # fmt: skip
"""Points between those that the design asks for, for the plots."""
IN_TURN = Traffic(f"round_robin_{MANY}", f"{MANY} connections in turn", MANY, RECORD, 1448, 4 * MANY)
MOST = Traffic("round_robin_4096", "4,096 connections in turn", 4096, RECORD, 1448, 2 * 4096)
"""Only run if named: at W=64 its model takes minutes, and 4 GB, to build."""
BASE = "segment_1448"
"""The case whose rate shares are taken of."""
APART = 1000
"""Cycles from a frame's way out to the next one, in the cycle model's latency."""
OVERLOADED = tuple(f"overload_{name}_{overload}" for name in TINY for overload in OVERLOADS)
"""Only run if named: a model more to build."""
DIRECTIONS = {"rx": RECEIVE, "tx": TRANSMIT}
SHARES = ("rate", "installs", *(f"mixed_{name}" for name in TINY))
"""Kinds of cases with shares among their rows."""
OTHERS = {"rx": ("installs", "not_offloaded", *(f"mixed_{name}" for name in TINY)), "tx": ("cut",)}


@dataclass(frozen=True)
class Case:
    """One job.

    `kind` is `rate` (of `traffic`), `latency`, `install`, `installs` (beside traffic), `not_offloaded`,
    `mixed_<record>`, `overload_<record>_<Config.overload>`, `cut` or `duplex` (rates of both directions at once);
    `held` is how many connections the device is made for.
    """

    direction: str
    width: int
    kind: str
    traffic: Traffic | None = None
    held: int = CONNECTIONS

    @property
    def name(self) -> str:
        """`<rx, tx or duplex>/w<bytes a beat>/<what>`."""
        return f"{self.direction}/w{self.width}/{self.traffic.name if self.traffic else self.kind}"


@dataclass(frozen=True)
class Told:
    """How cases are run: engine (resolved), seed of the traffic, and the device but for widths and connections."""

    engine: str
    seed: int = 1
    shape: Config = field(default_factory=Config)


@dataclass
class Measured:
    """What came of a case.

    Attributes
    ----------
    rtl, model : dict of str to float
        Figures by name, in payload bytes a cycle or cycles; `model` has those the cycle model gives.
    model_error : float | None
        Of the cycle model's cycles, in percent of the RTL's.
    cycles, seconds
        Simulated, and spent in the simulator.
    failure : str
        Why there is nothing; empty if there is.
    """

    case: Case
    rtl: dict[str, float] = field(default_factory=dict[str, float])
    model: dict[str, float] = field(default_factory=dict[str, float])
    model_error: float | None = None
    cycles: int = 0
    seconds: float = 0.0
    failure: str = ""

    def json(self) -> dict[str, object]:
        speed = round(self.cycles / self.seconds) if self.seconds else None
        return {
            "name": self.case.name,
            "cycles": self.cycles,
            "seconds": round(self.seconds, 3),
            "cycles_per_second": speed,
            "failure": self.failure,
        }


class Timed:
    """An engine that counts cycles simulated and the seconds they took."""

    def __init__(self, device: Any):
        self._device = device
        self.cycles = 0
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        result = self._device.run(*args, **kwargs)
        self.seconds += time.perf_counter() - started
        self.cycles += max(one.cycles for one in result) if isinstance(result, tuple) else result.cycles
        return result


def _shorter(traffic: Traffic) -> Traffic:
    return replace(traffic, frames=max(2 * traffic.connections, traffic.frames // 4))


def cases(widths: Iterable[int], quick: bool = False, only: Sequence[str] = ()) -> list[Case]:
    """Every case but MOST and OVERLOADED, or those whose name has one of `only` in it (a file name pattern), and what
    shares are taken of.

    `quick`: a quarter of the frames, the design's own points, and one traffic for both directions at once.
    """
    traffics = [_shorter(t) for t in GRID] if quick else [*GRID, *BESIDE, IN_TURN]
    traffics += [MOST] if any(MOST.name in pattern for pattern in only) else []
    found: list[Case] = []
    for width in widths:
        for direction in ("rx", "tx"):
            found += [Case(direction, width, "rate", t, max(t.connections, CONNECTIONS)) for t in traffics]
            found += [Case(direction, width, kind) for kind in ("latency", "install", *OTHERS[direction])]
        if any("overload" in pattern for pattern in only):
            found += [Case("rx", width, kind) for kind in OVERLOADED]
        both = [_shorter(t) for t in GRID if t.name == BASE] if quick else GRID
        found += [Case("duplex", width, "duplex", t) for t in both]
    if not only:
        return found
    chosen = [c for c in found if any(fnmatchcase(c.name, f"*{pattern}*") for pattern in only)]
    bases = {f"{c.direction}/w{c.width}/{BASE}" for c in chosen if c.kind in SHARES}
    return [c for c in found if c in chosen or c.name in bases]


def measure_case(case: Case, told: Told) -> Measured:
    """Run one case. An error of whatever sort is the case's `failure`: the others go on."""
    try:
        config = replace(told.shape, width=case.width, connections=case.held)
        if case.kind in OVERLOADED:
            config = replace(config, overload=case.kind.rpartition("_")[2])
        make = make_duplex_engine if case.direction == "duplex" else DIRECTIONS[case.direction].make
        with make(told.engine, config) as device:
            timed = Timed(device)
            measured = _measure(case, timed, told)
            measured.cycles, measured.seconds = timed.cycles, timed.seconds
            return measured
    except Exception as e:  # noqa: BLE001
        return Measured(case, failure=f"{type(e).__name__}: {e}" if str(e) else type(e).__name__)


def _measure(case: Case, device: Any, told: Told) -> Measured:
    seed, traffic = told.seed, case.traffic
    if case.kind == "duplex":
        assert traffic
        rates = duplex_measure(device, traffic, seed).items()
        both = {f"{name}_both": beside.both for name, beside in rates}
        return Measured(case, both | {f"{name}_alone": beside.alone for name, beside in rates})
    direction = DIRECTIONS[case.direction]
    if case.kind == "rate":
        assert traffic
        return _rate(case, traffic, device, told)
    if case.kind == "latency":
        rtl: dict[str, float] = {str(size): direction.latency(device, seed, size, RECORD) for size in SEGMENTS}
        return Measured(case, rtl, {str(size): _model_latency(case, size, told.shape.sbox) for size in SEGMENTS})
    if case.kind == "install":
        return Measured(case, {"install": install(device, seed)})
    if case.kind == "installs":
        assert direction.installs
        beside = direction.installs(device, seed, 1.0)
        return Measured(case, {"longest": beside.longest, "interval": beside.interval, "rate": beside.rate})
    if case.kind == "not_offloaded":
        return Measured(case, {str(size): value for size, value in not_offloaded(device, seed).items()})
    if case.kind == "cut":
        assert direction.cut
        return Measured(
            case, {str(size): direction.cut(device, connection(0, seed), RECORD, size) for size in SEGMENTS}
        )
    if case.kind in OVERLOADED:
        value, worst, decrypted = overloaded(device, seed, TINY[case.kind.split("_")[1]])
        return Measured(case, {"rate": value, "latency": worst, "decrypted": decrypted})
    value, worst = mixed(device, seed, TINY[case.kind.removeprefix("mixed_")])
    return Measured(case, {"rate": value, "latency": worst})


def _rate(case: Case, traffic: Traffic, device: Any, told: Told) -> Measured:
    streams = traffic.streams(told.seed)
    result = DIRECTIONS[case.direction].run(device, streams, traffic.record, traffic.segment, traffic.frames)
    key = ModelDirection(case.direction), case.width, told.shape.sbox
    packets = packets_of(traffic.segment, traffic.record, len(result.first_in), connections=traffic.connections)
    timing = simulate(packets, rooms_of(*key))
    return Measured(
        case,
        {"rate": rate(result.last_out, traffic.segment)},
        {"rate": rate(timing.last_out[packets.sent], traffic.segment)},
        compared(case.name, result, packets, key).error,
    )


def _model_latency(case: Case, segment: int, sbox: str) -> int:
    """As the directions' latency: the worst of 12 frames, each alone."""
    packets = packets_of(segment, RECORD, 12)
    packets.pause[:] = APART
    timing = simulate(packets, rooms_of(ModelDirection(case.direction), case.width, sbox))
    return int((timing.first_out - timing.first_in).max()) - -(-int(packets.size[0]) // case.width)


def record_size(name: str) -> int:
    """Bytes of a record, of `records_<name>`."""
    return (RECORDS | BETWEEN)[name]
