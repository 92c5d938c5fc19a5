"""Recorded sessions changed in memory: packets left out, moved, renumbered; sequence numbers shifted."""

import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from sim.capture import Capture, Packet, read_capture
from sim.packets import addresses, parse_segment
from sim.secrets import KeyLog
from tests.sim.conftest import CAPTURES, key_log_of


def session(name: str) -> tuple[Capture, KeyLog]:
    return read_capture(CAPTURES / f"{name}.pcap"), key_log_of(name)


def key_log(name: str, keep: Callable[[str], bool]) -> KeyLog:
    """The session's key log with only the labels `keep` is true for."""
    log = KeyLog()
    lines = (CAPTURES / f"{name}.keys").read_text().splitlines()
    log.add("\n".join(line for line in lines if keep(line.split()[0])), "test")
    return log


def capture_of(frames: Iterable[bytes], wire: int = 0) -> Capture:
    packets = [Packet(n, n * 1000, f, max(wire, len(f))) for n, f in enumerate(frames, 1)]
    return Capture(Path("test.pcap"), packets)


def frames(capture: Capture) -> list[bytes]:
    return [p.frame for p in capture.packets]


def with_checksum(frame: bytes) -> bytes:
    """The frame with its TCP checksum made right."""
    segment = parse_segment(frame)
    pair = addresses(frame)
    assert segment is not None and pair is not None
    blank = frame[: segment.tcp + 16] + b"\0\0" + frame[segment.tcp + 18 :]
    data = pair[0] + pair[1] + struct.pack("!II", segment.end - segment.tcp, 6)
    data += blank[segment.tcp : segment.end]
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return blank[: segment.tcp + 16] + struct.pack("!H", ~total & 0xFFFF) + blank[segment.tcp + 18 :]


def shift_sequence(frame: bytes, server: bytes, by: int) -> bytes:
    """Move the sequence space of what `server` sends, checksum and all."""
    segment = parse_segment(frame)
    if segment is None or not segment.checksum_good(frame):
        return frame
    place, value = (4, segment.seq) if segment.source[0] == server else (8, segment.ack)
    at = segment.tcp + place
    moved = struct.pack("!I", value + by & 0xFFFFFFFF)
    return with_checksum(frame[:at] + moved + frame[at + 4 :])


def before_segmentation(kept: list[bytes], source: bytes, most: int = 40_000) -> list[bytes]:
    """What a capture on the sending host `source` has of runs of full segments: frames that are cut later."""
    out: list[bytes] = []
    run: tuple[bytes, int] | None = None
    for frame in kept:
        segment = parse_segment(frame)
        own = segment is not None and segment.source[0] == source and segment.size > 0
        if own and run is not None and segment.seq == run[1] and len(run[0]) + segment.size < most:
            run = (run[0] + frame[segment.start : segment.end], segment.next_seq)
            continue
        if run is not None:
            out.append(_with_length(run[0]))
            run = None
        if own and segment.size >= 1428:
            run = (frame[: segment.end], segment.next_seq)
        else:
            out.append(frame)
    assert run is None
    return out


def _with_length(frame: bytes) -> bytes:
    """An untagged frame whose IP packet ends with it."""
    at, size = (16, len(frame) - 14) if frame[14] >> 4 == 4 else (18, len(frame) - 54)
    return with_checksum(frame[:at] + struct.pack("!H", size) + frame[at + 2 :])
