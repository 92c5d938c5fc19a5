"""The bench of both directions at once, on one component."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hw.config import Config
from model.contract import Result
from sim.bench import (
    CONNECTIONS,
    DEFAULT,
    GRID,
    Progress,
    Row,
    Traffic,
    all_decrypted,
    as_software,
    interleaved,
    segments_of,
    tx_traffic,
)
from sim.engine import BatchResult, DuplexEngine, Event, TxBatchResult, make_duplex_engine
from sim.schedule import TxEvent


@dataclass(frozen=True)
class Beside:
    """Rates of the same frames in payload bytes a cycle: while both directions run, and with the other silent."""

    both: float
    alone: float


def _beside(
    both: BatchResult | TxBatchResult, alone: BatchResult | TxBatchResult, segment: int, start: int, end: int
) -> Beside:
    """Of the frames that left from cycle `start` to `end` of the run of both."""
    among = np.flatnonzero((both.last_out >= start) & (both.last_out <= end))
    first, last = among[0], among[-1]
    size = segment * int(last - first)
    one, other = (size / int(r.last_out[last] - r.last_out[first]) for r in (both, alone))
    return Beside(one, other)


def duplex_measure(engine: DuplexEngine, traffic: Traffic, seed: int) -> dict[str, Beside]:
    """Rates of "rx" and "tx". Every frame must come decrypted, or leave as software would have sent it."""
    receive, send = traffic.streams(seed), traffic.streams(seed + CONNECTIONS)
    shape = traffic.record, traffic.segment, traffic.frames
    each = -(-traffic.frames // traffic.connections)
    frames: list[Event] = list(interleaved([segments_of(s, *shape[:2], each) for s in receive]))
    adds: list[Event] = [s.add() for s in receive]
    tx_adds: list[TxEvent] = [s.add() for s in send]

    def opened() -> list[int]:
        engine.reset()
        installed, tx_installed = (result.responses for result in engine.run(adds, tx_adds))
        for response in (*installed, *tx_installed):
            assert response.result is Result.OK, response
        return [response.handle for response in tx_installed]

    events, wire = tx_traffic(send, opened(), *shape)
    both, tx_both = engine.run(frames, events)
    opened()
    alone, _ = engine.run(frames, [])
    opened()
    _, tx_alone = engine.run([], events)
    for result in (both, alone):
        all_decrypted(result)
    assert both.deliveries == alone.deliveries, "what is received depends on what is sent"
    for result in (tx_both, tx_alone):
        as_software(result, wire)
    skip = min(40, len(frames) // 4)
    start = max(int(both.last_out[skip]), int(tx_both.last_out[skip]))
    end = min(int(both.last_out[-1]), int(tx_both.last_out[-1]))
    return {
        "rx": _beside(both, alone, traffic.segment, start, end),
        "tx": _beside(tx_both, tx_alone, traffic.segment, start, end),
    }


def bench_duplex(
    widths: Sequence[int] = (16, 64),
    engine: str = "compiled",
    seed: int = 1,
    progress: Progress | None = None,
    grid: Sequence[Traffic] = GRID,
    make: Callable[..., DuplexEngine] = make_duplex_engine,
    shape: Config = DEFAULT,
) -> list[Row]:
    """Rates of each direction while both run, beside those of the same frames alone, for each width."""
    rows: list[Row] = []
    tell = progress or (lambda text, share: None)
    for w, width in enumerate(widths):
        config = replace(shape, width=width, connections=CONNECTIONS)
        with make(engine, config, progress=progress) as device:
            for k, traffic in enumerate(grid):
                tell(f"W={width}: {traffic.label}", (w + k / len(grid)) / len(widths))
                for direction, rates in duplex_measure(device, traffic, seed).items():
                    name = f"duplex/w{width}/{direction}_{traffic.name}"
                    rows += [
                        Row(name, round(rates.both, 2), "payload B/cycle", None),
                        Row(f"{name}_alone", round(rates.alone, 2), "payload B/cycle", None),
                        Row(f"{name}_ratio", round(rates.both / rates.alone, 3), "of the rate alone", 1.0),
                    ]
    return rows
