"""The transmit half of a run over a capture: golden pass, comparison with the captured wire, RTL replay.

1. Golden: what the host sent, as it was before encryption, through driver and golden model. Every frame and command
   given to the device is written down with its output: the schedule.
2. RTL: the schedule is played into a simulated device; frames, completions, answers and counters are compared.
3. What left (from the RTL if there was one) must be what was captured, byte for byte, checksums included.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from driver.probe import device_counters
from driver.transmit import TransmitSide, TxResync
from model.contract import TX_COUNTERS
from model.tx_device import GoldenTxDevice
from sim.compare import Mismatch, compare_frames
from sim.connections import Connection, Followed
from sim.replay import EngineLike, Player, Progress, Replayed, Settings
from sim.schedule import Entry, TxRecorder
from sim.tx_host import Sending, TxHost, TxSocket


@dataclass(kw_only=True)
class TxOutcome(Replayed):
    """Everything the transmit half found."""

    resync: TxResync
    sockets: dict[Connection, TxSocket]
    sendings: list[Sending | None]
    """Parallel to the capture's packets."""
    wire: dict[int, list[bytes]] = field(default_factory=dict[int, list[bytes]])
    """By packet number, what left; from the RTL device if there was one."""
    counters: dict[str, int]
    device_counters: dict[str, int]
    resources: dict[str, dict[str, int]]
    packets: int
    """Packets the host sent."""
    payload_bytes: int
    """Bytes of the frames the device was given, those of replays too."""
    identical: dict[Connection | None, int] = field(default_factory=Counter[Connection | None])
    """Packets that left as they were captured: of a connection those with payload since the keys are in, and under
    None all."""
    different: dict[Connection | None, int] = field(default_factory=Counter[Connection | None])
    warnings: list[str] = field(default_factory=list[str])

    @property
    def offloaded(self) -> list[TxSocket]:
        return [s for s in self.sockets.values() if s.offloaded]


def run_tx(
    followed: Followed,
    settings: Settings,
    resync: TxResync = TxResync.PREFIX,
    make_engine: Callable[[], EngineLike] | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> TxOutcome:
    """Send what the host sent. `make_engine` makes the RTL device; it is not called for engine "model"."""
    packets = followed.capture.packets
    recorder = TxRecorder(GoldenTxDevice(settings.config.connections, settings.config.width))
    netdev = TransmitSide(recorder, resync)
    host = TxHost(followed, netdev, settings.seed)
    sendings: list[Sending | None] = []
    for index, packet in enumerate(packets):
        recorder.packet = packet.number
        sendings.append(host.packet(index))
        progress("golden model, transmit", index + 1, len(packets))
    host.finish()
    resources = netdev.devlink_resources()
    counters = device_counters(recorder, TX_COUNTERS)

    outcome = TxOutcome(
        resync=resync,
        sockets=host.sockets,
        sendings=sendings,
        counters=netdev.counters.ethtool(),
        device_counters=counters,
        resources=resources,
        packets=sum(s is not None for s in sendings),
        payload_bytes=sum(len(e.frame) for e in recorder.schedule.entries),
        warnings=_warnings(host),
    )
    outcome.wire = _wire(recorder.schedule.entries)
    if settings.engine != "model":
        assert make_engine is not None
        engine = make_engine()
        try:
            player = Player(engine, settings, "tx", followed.capture.path.stem, progress)
            outputs = player.play(recorder.schedule, outcome)
            if outputs is not None:
                outcome.wire = _wire(outputs)
        finally:
            engine.close()
    _check_wire(outcome, followed)
    return outcome


def _wire(entries: list[Entry]) -> dict[int, list[bytes]]:
    """What left, by packet."""
    out: dict[int, list[bytes]] = {}
    for entry in entries:
        if entry.is_frame:
            out.setdefault(entry.packet, []).extend(s.frame for s in entry.sent if s.frame is not None)
    return out


def _check_wire(outcome: TxOutcome, followed: Followed) -> None:
    """What left is what was captured."""
    for packet, sending in zip(followed.capture.packets, outcome.sendings, strict=True):
        if sending is None:
            continue
        left = outcome.wire.get(packet.number, [])
        same = left == sending.expected
        tally = outcome.identical if same else outcome.different
        tally[None] += 1
        if sending.socket is not None and sending.counted:
            tally[sending.socket.connection] += 1
        if same:
            continue
        if len(left) != len(sending.expected):
            way = sending.transmitted.way.value
            outcome.mismatches.append(
                Mismatch(packet.number, "wire", "frames", str(len(sending.expected)), f"{len(left)} ({way})")
            )
        for expected, got in zip(sending.expected, left, strict=False):
            outcome.mismatches += compare_frames(packet.number, "frame on the wire", expected, got)


def _warnings(host: TxHost) -> list[str]:
    out: list[str] = []
    for why, count in sorted(Counter(host.left_out.values()).items()):
        out.append(f"{count} packet{'s' if count != 1 else ''} of the host not sent: {why}")
    if host.unfinished:
        out.append(
            f"{host.unfinished} packets of the host were captured before their checksum was made or before they were "
            "cut into segments: compared with what the wire must have had"
        )
    return out
