"""A recorded schedule played into a simulated device in batches, every output compared with the golden model's."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hw.config import Config
from model.commands import Command, Delivery, Response
from sim.compare import Mismatch, compare_deliveries, compare_responses, compare_sent
from sim.schedule import Entry, Event, Schedule, TxFrame

Progress = Callable[[str, int, int], None]
"""Stage, done, total."""

FRAMES_PER_BATCH = {"compiled": 512, "pysim": 4}


class EngineLike(Protocol):
    """What a run needs of sim.engine.Engine and TxEngine. The result has `responses`, `cycles` and, by direction,
    `deliveries` or `sent`."""

    def run(
        self,
        events: Sequence[Any],
        idle: float = 0.0,
        backpressure: float = 0.0,
        seed: int = 0,
        ordered: bool = True,
        waveform: Any = None,
    ) -> Any: ...

    def reset(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Settings:
    """How to run. `engine` is "model", "pysim" or "compiled"."""

    engine: str = "model"
    config: Config = field(default_factory=Config)
    backpressure: float = 0.0
    idle: float = 0.0
    seed: int = 0
    waveforms: Path | None = None
    """Where the waveform of a failing stretch goes; None: none is written."""


@dataclass
class Replayed:
    """What the RTL half of a run found."""

    compared: int = 0
    """Packets compared between RTL and golden model."""
    mismatched: int = 0
    """Of those, packets with a difference."""
    mismatches: list[Mismatch] = field(default_factory=list[Mismatch])
    cycles: int = 0
    simulation_seconds: float = 0.0
    waveform: Path | None = None
    failing_batch_seed: int | None = None


@dataclass(frozen=True)
class Player:
    """Plays schedules of one direction.

    Parameters
    ----------
    direction : str
        "rx" or "tx".
    stem : str
        First part of a waveform's file name.
    """

    engine: EngineLike
    settings: Settings
    direction: str
    stem: str
    progress: Progress

    def play(self, schedule: Schedule, into: Replayed) -> list[Entry] | None:
        """The schedule with the RTL's outputs; None if it could not be played to its end."""
        settings = self.settings
        stage = f"RTL, {settings.engine}" + (", transmit" if self.direction == "tx" else "")
        batches = schedule.batches(FRAMES_PER_BATCH.get(settings.engine, 64))
        total = len({e.packet for e in schedule.entries if e.is_frame})
        outputs: list[Entry] = []
        failing: int | None = None
        bad_packets: set[int] = set()
        seen: set[int] = set()
        self.progress(stage, 0, total)
        for number, batch in enumerate(batches):
            start = time.perf_counter()
            try:
                result = self._run(batch, number)
            except Exception as e:
                if not _simulation_failed(e):
                    raise
                failure = _failure(batch, e)
                into.mismatches.append(failure)
                if failure.packet is not None:
                    bad_packets.add(failure.packet)
                failing = number if failing is None else failing
                break
            into.simulation_seconds += time.perf_counter() - start
            into.cycles += result.cycles
            got = self._paired(batch, result)
            differences = _differences(batch, got, bad_packets)
            into.mismatches += differences
            if differences and failing is None:
                failing = number
            outputs += got
            seen |= {e.packet for e in batch if e.is_frame}
            into.compared = len(seen)
            self.progress(stage, into.compared, total)
        into.mismatched = len(bad_packets)
        if failing is not None:
            into.failing_batch_seed = self._seed(failing)
            into.waveform = self._waveform(batches, failing)
        return outputs if len(outputs) == len(schedule.entries) else None

    def _seed(self, batch: int) -> int:
        return self.settings.seed * 1_000_003 + batch

    def _run(self, batch: list[Entry], number: int, waveform: Path | None = None) -> Any:
        return self.engine.run(
            [e.event for e in batch],
            idle=self.settings.idle,
            backpressure=self.settings.backpressure,
            seed=self._seed(number),
            waveform=waveform,
        )

    def _paired(self, batch: list[Entry], result: Any) -> list[Entry]:
        """The batch with the RTL's outputs in place of the golden ones."""
        frames = iter(result.deliveries if self.direction == "rx" else result.sent)
        responses = iter(result.responses)
        return [Entry(e.event, next(frames) if e.is_frame else next(responses), e.packet) for e in batch]

    def _waveform(self, batches: list[list[Entry]], failing: int) -> Path | None:
        """Play up to the failing batch again, and that one with a waveform."""
        folder = self.settings.waveforms
        if folder is None:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.stem}{'-tx' if self.direction == 'tx' else ''}-batch{failing}.vcd"
        self.progress("waveform of the failing stretch", 0, failing + 1)
        self.engine.reset()
        for number, batch in enumerate(batches[: failing + 1]):
            try:
                self._run(batch, number, path if number == failing else None)
            except Exception as e:
                if not _simulation_failed(e):
                    raise
            self.progress("waveform of the failing stretch", number + 1, failing + 1)
        return path


def _simulation_failed(error: Exception) -> bool:
    """Whether the design under simulation did wrong (nothing comes out, too much does), not the program."""
    return any(c.__name__ == "SimulationError" for c in type(error).__mro__)


def _failure(batch: list[Entry], error: Exception) -> Mismatch:
    frames = [e.packet for e in batch if e.is_frame]
    at = getattr(error, "frame", None)
    packet = frames[at] if at is not None and at < len(frames) else None
    return Mismatch(packet, "simulation", "run", "every frame and answer", str(error))


def _differences(batch: list[Entry], got: list[Entry], bad_packets: set[int]) -> list[Mismatch]:
    found: list[Mismatch] = []
    for ours, theirs in zip(batch, got, strict=True):
        if ours.output == theirs.output:
            continue
        found += _compare(ours.packet, ours.event, ours.output, theirs.output)
        if ours.is_frame:
            bad_packets.add(ours.packet)
    return found


def _compare(packet: int, event: Event | TxFrame, ours: Any, theirs: Any) -> list[Mismatch]:
    if isinstance(event, bytes):
        assert isinstance(ours, Delivery) and isinstance(theirs, Delivery)
        return compare_deliveries(packet, ours, theirs)
    if isinstance(event, TxFrame):
        return compare_sent(packet, event.request.kind.name, ours, theirs)
    command: Command = event
    assert isinstance(ours, Response) and isinstance(theirs, Response)
    return compare_responses(packet, command, ours, theirs)
