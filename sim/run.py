"""One run over a capture: golden pass, software pass, RTL replay, and the comparison of all three.

1. Golden: the capture's packets in order through driver and golden model into the host's sockets. Every frame and
   command given to the device is written down with its output: the schedule.
2. Software: the same sockets without a device (TLS_SW). Applications must see the same.
3. RTL: the schedule is played into a simulated device in batches; every delivery and answer is compared. Then a
   host reads what the RTL delivered, and its applications must see the same as well.
4. Every packet delivered decrypted is encrypted again from the stack's records: that must be the wire's bytes.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from driver.netdev import NetDevice, Received
from driver.probe import device_counters
from hw.config import Config
from model.commands import Delivery, Response
from model.contract import HASH_KEY_BITS, MAX_FRAME
from model.crypto_info import CryptoInfo
from model.device import GoldenDevice
from model.ktls import Handling
from model.reencrypt import Reencryptor
from sim.compare import Mismatch, compare_deliveries, compare_responses
from sim.connections import Followed
from sim.host import Host, Socket
from sim.schedule import Diverged, Entry, Event, Recorder, Replay, Schedule

Progress = Callable[[str, int, int], None]
"""Stage, done, total."""

FRAMES_PER_BATCH = {"compiled": 512, "pysim": 4}
SHOWN_MISMATCHES = 20


class BatchOutput(Protocol):
    @property
    def deliveries(self) -> list[Delivery]: ...
    @property
    def responses(self) -> list[Response]: ...
    @property
    def cycles(self) -> int: ...


class EngineLike(Protocol):
    """What a run needs of sim.engine.Engine."""

    def run(
        self,
        events: Sequence[Event],
        idle: float = 0.0,
        backpressure: float = 0.0,
        seed: int = 0,
        ordered: bool = True,
        waveform: Any = None,
    ) -> BatchOutput: ...

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
class Outcome:
    """Everything a run found; the reports are made from it."""

    followed: Followed
    settings: Settings
    sockets: list[Socket]
    received: list[Received | None]
    """Parallel to the capture's packets: what came up, from the RTL device if there was one."""
    counters: dict[str, int]
    device_counters: dict[str, int]
    resources: dict[str, dict[str, int]]
    packets: int
    """Packets that passed the device."""
    compared: int = 0
    mismatched: int = 0
    """Packets with a difference between RTL and golden model."""
    mismatches: list[Mismatch] = field(default_factory=list)
    reencrypted: int = 0
    unchecked: int = 0
    """Decrypted packets of records the capture never completes."""
    cycles: int = 0
    simulation_seconds: float = 0.0
    golden_seconds: float = 0.0
    payload_bytes: int = 0
    """Bytes of the frames that passed the device."""
    waveform: Path | None = None
    failing_batch_seed: int | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return not self.mismatches

    @property
    def cycles_per_second(self) -> float:
        return self.cycles / self.simulation_seconds if self.simulation_seconds else 0.0

    @property
    def records(self) -> dict[Handling, int]:
        return {h: sum(s.records(h) for s in self.sockets) for h in Handling}


def run(
    followed: Followed,
    settings: Settings,
    make_engine: Callable[[], EngineLike] | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Outcome:
    """Run the capture. `make_engine` makes the RTL device; it is not called for engine "model"."""
    packets = followed.capture.packets
    hash_key = random.Random(settings.seed).getrandbits(HASH_KEY_BITS)

    start = time.perf_counter()
    recorder = Recorder(GoldenDevice(settings.config.connections, settings.config.width))
    netdev = NetDevice(recorder, hash_key)
    golden = Host(followed, netdev)
    received = []
    for index, packet in enumerate(packets):
        recorder.packet = packet.number
        received.append(golden.packet(index))
        progress("golden model", index + 1, len(packets))
    golden.finish()
    resources = netdev.devlink_resources()
    counters = device_counters(recorder)
    golden_seconds = time.perf_counter() - start

    software = Host(followed, None)
    for index in range(len(packets)):
        software.packet(index)
        progress("software path", index + 1, len(packets))

    passed = [e.event for e in recorder.schedule.entries if isinstance(e.event, bytes)]
    outcome = Outcome(
        followed,
        settings,
        list(golden.sockets.values()),
        received,
        netdev.counters.ethtool(),
        counters,
        resources,
        packets=len(passed),
        payload_bytes=sum(map(len, passed)),
        golden_seconds=golden_seconds,
    )
    long = sum(i and len(p.frame) > MAX_FRAME for i, p in zip(followed.incoming, packets, strict=True))
    if long:
        outcome.warnings.append(
            f"{long} packets are longer than {MAX_FRAME} bytes and did not pass the device: merged by receive "
            "offload where they were captured; record with 'ethtool -K IFACE gro off lro off'"
        )
    _compare_answers(outcome, golden, software, "with offload", "in software")
    if settings.engine != "model":
        assert make_engine is not None
        engine = make_engine()
        try:
            _replay(outcome, recorder.schedule, engine, hash_key, golden, progress)
        finally:
            engine.close()
    _check_wire(outcome, software)
    return outcome


def _compare_answers(outcome: Outcome, one: Host, other: Host, one_name: str, other_name: str) -> None:
    """Applications must read the same in both passes."""
    names = ("application bytes", "application SHA-256", "control records", "error", "place of the error")
    for connection, socket in one.sockets.items():
        pairs = zip(names, other.sockets[connection].answer, socket.answer, strict=False)
        for name, expected, got in pairs:
            if expected != got:
                outcome.mismatches.append(
                    Mismatch(
                        None,
                        f"connection {connection.name}",
                        name,
                        f"{_brief(expected)} {other_name}",
                        f"{_brief(got)} {one_name}",
                    )
                )


def _brief(value: object) -> str:
    return f"{len(value)} records" if isinstance(value, list) else str(value or "none")


def _replay(
    outcome: Outcome,
    schedule: Schedule,
    engine: EngineLike,
    hash_key: int,
    golden: Host,
    progress: Progress,
) -> None:
    settings = outcome.settings
    batches = schedule.batches(FRAMES_PER_BATCH.get(settings.engine, 64))
    outputs: list[Entry] = []
    failing: int | None = None
    bad_packets: set[int] = set()
    progress(f"RTL, {settings.engine}", 0, outcome.packets)
    for number, batch in enumerate(batches):
        start = time.perf_counter()
        try:
            result = _run(engine, batch, settings, number)
        except Exception as e:
            if not _simulation_failed(e):
                raise
            failure = _failure(batch, e)
            outcome.mismatches.append(failure)
            if failure.packet is not None:
                bad_packets.add(failure.packet)
            failing = number if failing is None else failing
            break
        outcome.simulation_seconds += time.perf_counter() - start
        outcome.cycles += result.cycles
        got = _paired(batch, result)
        differences = _differences(batch, got, bad_packets)
        outcome.mismatches += differences
        if differences and failing is None:
            failing = number
        outputs += got
        outcome.compared += len(result.deliveries)
        progress(f"RTL, {settings.engine}", outcome.compared, outcome.packets)
    outcome.mismatched = len(bad_packets)
    if failing is not None:
        outcome.failing_batch_seed = _seed(settings, failing)
        outcome.waveform = _waveform(outcome, engine, batches, failing, progress)
    if len(outputs) == len(schedule.entries):
        _read_again(outcome, outputs, hash_key, golden)


def _seed(settings: Settings, batch: int) -> int:
    return settings.seed * 1_000_003 + batch


def _run(
    engine: EngineLike, batch: list[Entry], settings: Settings, number: int, waveform: Path | None = None
) -> BatchOutput:
    return engine.run(
        [e.event for e in batch],
        idle=settings.idle,
        backpressure=settings.backpressure,
        seed=_seed(settings, number),
        waveform=waveform,
    )


def _simulation_failed(error: Exception) -> bool:
    """Whether the design under simulation did wrong (nothing comes out, too much does), not the program."""
    return any(c.__name__ == "SimulationError" for c in type(error).__mro__)


def _failure(batch: list[Entry], error: Exception) -> Mismatch:
    frames = [e.packet for e in batch if isinstance(e.event, bytes)]
    at = getattr(error, "frame", None)
    packet = frames[at] if at is not None and at < len(frames) else None
    return Mismatch(packet, "simulation", "run", "every frame and answer", str(error))


def _paired(batch: list[Entry], result: BatchOutput) -> list[Entry]:
    """The batch with the RTL's outputs in place of the golden ones."""
    deliveries, responses = iter(result.deliveries), iter(result.responses)
    return [
        Entry(e.event, next(deliveries) if isinstance(e.event, bytes) else next(responses), e.packet) for e in batch
    ]


def _differences(batch: list[Entry], got: list[Entry], bad_packets: set[int]) -> list[Mismatch]:
    found: list[Mismatch] = []
    for ours, theirs in zip(batch, got, strict=True):
        if ours.output == theirs.output:
            continue
        if isinstance(ours.event, bytes):
            assert isinstance(ours.output, Delivery) and isinstance(theirs.output, Delivery)
            found += compare_deliveries(ours.packet, ours.output, theirs.output)
            bad_packets.add(ours.packet)
        else:
            assert isinstance(ours.output, Response) and isinstance(theirs.output, Response)
            found += compare_responses(ours.packet, ours.event, ours.output, theirs.output)
    return found


def _waveform(
    outcome: Outcome, engine: EngineLike, batches: list[list[Entry]], failing: int, progress: Progress
) -> Path | None:
    """Play up to the failing batch again, and that one with a waveform."""
    settings = outcome.settings
    if settings.waveforms is None:
        return None
    settings.waveforms.mkdir(parents=True, exist_ok=True)
    path = settings.waveforms / f"{outcome.followed.capture.path.stem}-batch{failing}.vcd"
    progress("waveform of the failing stretch", 0, failing + 1)
    engine.reset()
    for number, batch in enumerate(batches[: failing + 1]):
        try:
            _run(engine, batch, settings, number, path if number == failing else None)
        except Exception as e:
            if not _simulation_failed(e):
                raise
        progress("waveform of the failing stretch", number + 1, failing + 1)
    return path


def _read_again(outcome: Outcome, outputs: list[Entry], hash_key: int, golden: Host) -> None:
    """A host on top of what the RTL delivered; its deliveries are what the reports show."""
    followed = outcome.followed
    replay = Replay(outputs)
    received = []
    try:
        netdev = NetDevice(replay, hash_key)
        host = Host(followed, netdev)
        for index in range(len(followed.capture.packets)):
            received.append(host.packet(index))
        host.finish()
        resources = netdev.devlink_resources()
        counters = device_counters(replay)
    except Diverged as e:
        outcome.mismatches.append(Mismatch(None, "host above the RTL", "stack", "the same requests", str(e)))
        return
    _compare_answers(outcome, host, golden, "above the RTL", "above the golden model")
    outcome.sockets = list(host.sockets.values())
    outcome.received = received
    outcome.counters, outcome.device_counters = netdev.counters.ethtool(), counters
    outcome.resources = resources


def _check_wire(outcome: Outcome, software: Host) -> None:
    """Re-encrypting what was delivered decrypted gives the wire."""
    followed = outcome.followed
    reencryptors: dict[Any, Reencryptor] = {}
    rows = zip(followed.capture.packets, outcome.received, followed.owners, strict=True)
    for packet, received, owner in rows:
        if received is None or not received.decrypted or owner is None:
            continue
        if owner not in reencryptors:
            receiver = software.sockets[owner].receiver
            assert receiver is not None and isinstance(receiver.info, CryptoInfo)
            reencryptors[owner] = Reencryptor(receiver.info, receiver.records)
        try:
            wire = reencryptors[owner].frame(received.frame)
        except LookupError:
            outcome.unchecked += 1
            continue
        outcome.reencrypted += 1
        if wire != packet.frame:
            at = next(i for i, (a, b) in enumerate(zip(wire, packet.frame, strict=True)) if a != b)
            outcome.mismatches.append(
                Mismatch(
                    packet.number,
                    "delivered packet encrypted again",
                    "data",
                    packet.frame[at : at + 8].hex(" "),
                    wire[at : at + 8].hex(" "),
                    at,
                )
            )
