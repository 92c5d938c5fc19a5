"""One run over a capture: golden pass, software pass, RTL replay, and the comparison of all three.

1. Golden: the capture's packets in order through driver and golden model into the host's sockets. Every frame and
   command given to the device is written down with its output: the schedule.
2. Software: the same sockets without a device (TLS_SW). Applications must see the same.
3. RTL: the schedule is played into a simulated device (sim/replay.py); every delivery and answer is compared. Then a
   host reads what the RTL delivered, and its applications must see the same as well.
4. Every packet delivered decrypted is encrypted again from the stack's records: that must be the wire's bytes.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from driver.netdev import NetDevice, Received
from driver.probe import device_counters
from model.contract import HASH_KEY_BITS, MAX_FRAME
from model.crypto_info import CryptoInfo
from model.device import GoldenDevice
from model.ktls import Handling
from model.reencrypt import Reencryptor
from sim.compare import Mismatch
from sim.connections import Followed
from sim.host import Host, Socket
from sim.replay import EngineLike, Player, Progress, Replayed, Settings
from sim.schedule import Diverged, Entry, Recorder, Replay
from sim.tx_run import TxOutcome

SHOWN_MISMATCHES = 20


@dataclass(kw_only=True)
class Outcome(Replayed):
    """Everything a run found; the reports are made from it. `tx`: of the transmit direction, if it was run."""

    followed: Followed
    settings: Settings
    sockets: list[Socket]
    received: list[Received | None]
    """Parallel to the capture's packets: what came up, from the RTL device if there was one."""
    counters: dict[str, int] = field(default_factory=dict[str, int])
    device_counters: dict[str, int] = field(default_factory=dict[str, int])
    resources: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    packets: int = 0
    """Packets that passed the device."""
    reencrypted: int = 0
    unchecked: int = 0
    """Decrypted packets of records the capture never completes."""
    golden_seconds: float = 0.0
    payload_bytes: int = 0
    """Bytes of the frames that passed the device."""
    warnings: list[str] = field(default_factory=list[str])
    receives: bool = True
    """The receive direction was run."""
    tx: TxOutcome | None = None

    @property
    def equal(self) -> bool:
        return not self.all_mismatches

    @property
    def all_mismatches(self) -> list[Mismatch]:
        return self.mismatches + (self.tx.mismatches if self.tx else [])

    @property
    def direction(self) -> str:
        """ "rx", "tx" or "both"."""
        if self.tx is None:
            return "rx"
        return "both" if self.receives else "tx"

    @property
    def all_cycles(self) -> int:
        return self.cycles + (self.tx.cycles if self.tx else 0)

    @property
    def cycles_per_second(self) -> float:
        seconds = self.simulation_seconds + (self.tx.simulation_seconds if self.tx else 0)
        return self.all_cycles / seconds if seconds else 0.0

    @property
    def any_waveform(self) -> Path | None:
        return self.waveform or (self.tx.waveform if self.tx else None)

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
    config = settings.config
    recorder = Recorder(GoldenDevice(config.connections, config.width, policy=config.rx_policy))
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
        followed=followed,
        settings=settings,
        sockets=list(golden.sockets.values()),
        received=received,
        counters=netdev.counters.ethtool(),
        device_counters=counters,
        resources=resources,
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
            player = Player(engine, settings, "rx", followed.capture.path.stem, progress)
            outputs = player.play(recorder.schedule, outcome)
            if outputs is not None:
                _read_again(outcome, outputs, hash_key, golden)
        finally:
            engine.close()
    _check_wire(outcome, software)
    return outcome


def not_received(followed: Followed, settings: Settings) -> Outcome:
    """The outcome where the receive direction is not run."""
    sockets = [Socket(connection) for connection in followed.connections]
    received: list[Received | None] = [None] * len(followed.capture.packets)
    return Outcome(followed=followed, settings=settings, sockets=sockets, received=received, receives=False)


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
