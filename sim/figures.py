"""The two figures of the kernel document about reordering, out of golden device, driver and stack.

Source: Documentation/networking/tls-offload.rst, section RX of "Resync handling". In both, segment 2 comes late, behind
segment 5: in the first it lies inside a record, in the second the header of a record is in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from driver.netdev import Direction, NetDevice, Sock
from model.contract import RxPolicy
from model.crypto_info import CryptoInfo
from model.device import GoldenDevice
from model.ktls import KtlsReceiver
from sim.annotate import MEANING
from sim.boxes import HANDLING_CLASS
from sim.picture import Box, Strip, Strips, figure
from sim.traffic import Stream

MSS = 1000
SEGMENTS = 14
ORDER = (1, 3, 4, 5, 2, *range(6, SEGMENTS + 1))
POLICIES = (RxPolicy.KERNEL, RxPolicy.FULL)

FIGURE_STYLE = """
.figure { background: #fff; } .figure .paper { fill: #fff; }
.figure text { font: 9px system-ui, sans-serif; fill: #fff; text-anchor: middle; }
.figure text.title { font-size: 14px; fill: #1d2329; text-anchor: start; }
.figure .dec { fill: #3fa34d; } .figure .raw { fill: #4b7fd1; } .figure .start { stroke: #d3262f; stroke-width: 2; }
.figure .rec-offloaded { fill: #3fa34d; } .figure .rec-mixed { fill: #e39b2d; } .figure .rec-software { fill: #4b7fd1; }
"""


@dataclass(frozen=True)
class Figure:
    """`records`: bytes of each record on the wire, TLS 1.3."""

    name: str
    title: str
    records: tuple[int, ...]


FIGURES = (
    Figure("reorder-good", "Reorder of a non-header segment", (2600, 2650, 2950, 3000, 2800)),
    Figure("reorder-bad", "Reorder of a segment with a TLS header", (1300, 1950, 1950, 2150, 2300, 2600, 1750)),
)


@dataclass(frozen=True)
class Drawn:
    """What came of a figure's stream under one policy. `decrypted`: of each segment, in order of the stream."""

    policy: RxPolicy
    boxes: list[Box]
    records: Strips
    decrypted: list[bool]
    application: bool
    """The application read what was sent."""


def play(wanted: Figure, policy: RxPolicy) -> Drawn:
    stream = Stream(seed=1)
    stream.bulk(size - 22 for size in wanted.records)
    segments = stream.segments(stream.wire, mss=MSS)
    netdev = NetDevice(GoldenDevice(8, policy=policy))
    info = CryptoInfo(stream.version, stream.key, stream.salt, stream.iv, stream.record_number.to_bytes(8, "big"))
    receiver = KtlsReceiver(info, stream.start_seq, keep=True)
    t = stream.tuple4
    sk = Sock((t.remote_address, t.remote_port), (t.local_address, t.local_port), rx=receiver)
    netdev.tls_dev_add(sk, Direction.RX, info, stream.start_seq)
    receiver.set_device(lambda seq, number: netdev.tls_dev_resync(sk, seq, number, Direction.RX))
    boxes: list[Box] = []
    for number in ORDER:
        seq, payload = segments[number - 1]
        frame = stream.frame(seq, payload)
        up = netdev.receive(frame)
        assert up.descriptor
        receiver.segment(seq, up.frame[-len(payload) :], up.decrypted)
        netdev.acknowledge(sk, receiver.ack_seq)
        at = (number - 1) * MSS
        title = f"segment {number}\n{up.descriptor.status.name}: {MEANING[up.descriptor.status]}"
        boxes.append(Box(number, at, at + len(payload), "dec" if up.decrypted else "raw", up.decrypted, title))
    strips: list[Strip] = []
    at = 0
    for record in receiver.records:
        kind = f"rec-{HANDLING_CLASS[record.handling]}"
        strips.append(Strip(at, at + record.length, kind, f"record {record.number}: {record.handling}"))
        at += record.length
    marks = [box.kind == "dec" for box in sorted(boxes, key=lambda box: box.packet)]
    return Drawn(policy, boxes, Strips(strips), marks, receiver.application.data == stream.application)


def draw(wanted: Figure, policies: Sequence[RxPolicy] = POLICIES) -> str:
    """The stream under each policy, one below the other."""
    rows: list[tuple[str, list[Box], Strips]] = []
    for policy in policies:
        drawn = play(wanted, policy)
        rows.append((f"{wanted.title}: {policy.value}", drawn.boxes, drawn.records))
    return figure(rows, FIGURE_STYLE)


def write_figures(folder: Path) -> list[Path]:
    """NAME.svg for each figure."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for wanted in FIGURES:
        path = folder / f"{wanted.name}.svg"
        path.write_text(draw(wanted) + "\n", encoding="utf-8")
        paths.append(path)
    return paths
