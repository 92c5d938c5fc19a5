"""Packet captures in: pcap and pcapng to raw Ethernet frames.

Formats: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng. The reader is our own because it must say which
packet and which byte of the file is wrong, and take a file that ends early for what it is; tests compare it
with scapy's.
"""

import gzip
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sim.errors import InputError

ETHERNET = 1
LINK_TYPES = {
    0: "BSD loopback (NULL)",
    1: "Ethernet",
    9: "PPP",
    12: "raw IP",
    101: "raw IP",
    105: "IEEE 802.11",
    108: "OpenBSD loopback",
    113: "Linux cooked capture (SLL)",
    127: "IEEE 802.11 radiotap",
    187: "Bluetooth HCI H4",
    189: "USB (Linux)",
    195: "IEEE 802.15.4",
    220: "USB (Linux, mmapped)",
    228: "raw IPv4",
    229: "raw IPv6",
    239: "NFLOG",
    249: "USBPcap",
    253: "Netlink",
    272: "Nordic BLE",
    276: "Linux cooked capture v2 (SLL2)",
}
COOKED = (113, 276)

PCAP_MAGICS = {
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\x3c\x4d": (">", 1),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
}
PCAPNG_MAGIC = b"\x0a\x0d\x0d\x0a"
GZIP_MAGIC = b"\x1f\x8b"
SECTION_HEADER, INTERFACE, OLD_PACKET, SIMPLE_PACKET, ENHANCED_PACKET, SECRETS = 0x0A0D0D0A, 1, 2, 3, 6, 10
TLS_KEY_LOG = 0x544C534B
MAX_CAPTURED = 1 << 24
"""A captured length beyond this is a damaged file, not a packet."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One captured frame; `number` counts from 1, as Wireshark does."""

    number: int
    time_ns: int
    frame: bytes
    wire_length: int

    @property
    def cut(self) -> bool:
        """The capture holds less of the packet than was on the wire (snaplen)."""
        return len(self.frame) < self.wire_length


@dataclass
class Capture:
    """What a capture file holds: whole packets, the key log it carries, and what is wrong with it."""

    path: Path
    packets: list[Packet] = field(default_factory=list)
    key_log: str = ""
    truncated: str = ""
    """Where the file ends early, empty if it does not."""
    warnings: list[str] = field(default_factory=list)

    @property
    def cut(self) -> list[int]:
        """Numbers of the packets the capture length (snaplen) has cut."""
        return [p.number for p in self.packets if p.cut]


class _Ended(Exception):
    """The file ends inside something."""


def read_capture(path: Path) -> Capture:
    """Read a pcap or pcapng file (gzip too); InputError if it is neither or holds no Ethernet."""
    try:
        data = path.read_bytes()
    except IsADirectoryError:
        raise InputError(f"{path}: is a directory, not a capture") from None
    except OSError as e:
        raise InputError(f"{path}: {e.strerror or e}") from None
    if not data:
        raise InputError(f"{path}: the file is empty")
    if data[:2] == GZIP_MAGIC:
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError) as e:
            raise InputError(f"{path}: damaged gzip file: {e}") from None
    capture = Capture(path)
    magic = data[:4]
    if magic in PCAP_MAGICS:
        read = _pcap(capture, data)
    elif magic == PCAPNG_MAGIC:
        read = _pcapng(capture, data)
    else:
        raise InputError(f"{path}: neither pcap nor pcapng (it begins with {magic.hex(' ')})")
    try:
        for time_ns, frame, wire_length in read:
            number = len(capture.packets) + 1
            capture.packets.append(Packet(number, time_ns, frame, wire_length))
    except _Ended as e:
        capture.truncated = f"{path}: the file ends inside {e}"
        capture.warnings.append(capture.truncated)
    cut = capture.cut
    if cut:
        first = capture.packets[cut[0] - 1]
        capture.warnings.append(
            f"{len(cut)} packets are cut by the capture length (snaplen), the first is packet "
            f"{first.number}: {len(first.frame)} of {first.wire_length} bytes; record with 'tcpdump -s 0'"
        )
    if not capture.packets:
        raise InputError(capture.truncated or f"{path}: no packets in the capture")
    return capture


def describe_link_type(link_type: int) -> str:
    return f"{link_type} ({LINK_TYPES.get(link_type, 'unknown')})"


def _refuse_link_type(path: Path, link_type: int) -> InputError:
    hint = "; record on the interface itself, not on 'any'" if link_type in COOKED else ""
    kind = describe_link_type(link_type)
    return InputError(f"{path}: link type {kind}: only Ethernet (1) is handled{hint}")


def _pcap(capture: Capture, data: bytes) -> Iterator[tuple[int, bytes, int]]:
    order, unit = PCAP_MAGICS[data[:4]]
    if len(data) < 24:
        raise _Ended(f"the file header (byte {len(data)} of 24)")
    (link_type,) = struct.unpack_from(order + "I", data, 20)
    link_type &= 0xFFFF  # the upper half says whether frames carry an FCS
    if link_type != ETHERNET:
        raise _refuse_link_type(capture.path, link_type)
    header = struct.Struct(order + "IIII")
    per_second = 1_000_000_000 // unit
    at, number = 24, 1
    while at < len(data):
        if at + 16 > len(data):
            there = len(data) - at
            raise _Ended(f"the header of packet {number} ({there} of 16 bytes, file byte {len(data)})")
        seconds, fraction, captured, wire = header.unpack_from(data, at)
        if captured > MAX_CAPTURED:
            raise InputError(
                f"{capture.path}: packet {number} (file byte {at}) claims {captured} bytes: the file is damaged"
            )
        at += 16
        if at + captured > len(data):
            raise _Ended(f"packet {number} ({len(data) - at} of {captured} bytes, file byte {len(data)})")
        yield (seconds * per_second + fraction) * unit, data[at : at + captured], max(wire, captured)
        at += captured
        number += 1


@dataclass
class _Interface:
    link_type: int
    snaplen: int
    ticks_per_second: int = 1_000_000
    offset_seconds: int = 0


def _pcapng(capture: Capture, data: bytes) -> Iterator[tuple[int, bytes, int]]:
    order = "<"
    interfaces: list[_Interface] = []
    skipped: dict[int, int] = {}
    number, at = 1, 0
    try:
        while at < len(data):
            where = f"a block before packet {number} (file byte {len(data)})"
            if at + 12 > len(data):
                raise _Ended(where)
            if data[at : at + 4] == PCAPNG_MAGIC:
                order = {b"\x1a\x2b\x3c\x4d": ">", b"\x4d\x3c\x2b\x1a": "<"}.get(data[at + 8 : at + 12], "")
                if not order:
                    raise InputError(f"{capture.path}: damaged section header at file byte {at}")
                interfaces = []
            kind, length = struct.unpack_from(order + "II", data, at)
            if length < 12 or length % 4:
                raise InputError(
                    f"{capture.path}: block at file byte {at}, before packet {number}: impossible length {length}"
                )
            body = data[at + 8 : at + length - 4]
            whole = at + length <= len(data)
            at += length
            if not whole:
                raise _Ended(f"packet {number} (file byte {len(data)})" if kind in _PACKET_BLOCKS else where)
            try:
                if kind == INTERFACE:
                    interfaces.append(_interface(body, order))
                elif kind == SECRETS:
                    _secrets(capture, body, order)
                elif kind in _PACKET_BLOCKS:
                    index, time_ns, frame, wire = _packet(kind, body, order, interfaces)
                    link_type = interfaces[index].link_type
                    if link_type != ETHERNET:
                        skipped[link_type] = skipped.get(link_type, 0) + 1
                        continue
                    yield time_ns, frame, wire
                    number += 1
            except (struct.error, IndexError, ValueError):
                raise InputError(
                    f"{capture.path}: damaged block of type {kind} before packet {number}, file byte {at - length}"
                ) from None
    finally:
        for link_type, count in skipped.items():
            capture.warnings.append(
                f"{count} packets left out: link type {describe_link_type(link_type)} is not Ethernet"
            )
    if number == 1 and skipped:
        raise _refuse_link_type(capture.path, next(iter(skipped)))


_PACKET_BLOCKS = (OLD_PACKET, SIMPLE_PACKET, ENHANCED_PACKET)


def _options(body: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(body):
        code, length = struct.unpack_from(order + "HH", body, at)
        if code == 0:
            return
        yield code, body[at + 4 : at + 4 + length]
        at += 4 + (length + 3 & ~3)


def _interface(body: bytes, order: str) -> _Interface:
    link_type, _, snaplen = struct.unpack_from(order + "HHI", body)
    interface = _Interface(link_type, snaplen)
    for code, value in _options(body[8:], order):
        if code == 9 and value:  # if_tsresol
            base, power = (2, value[0] & 0x7F) if value[0] & 0x80 else (10, value[0])
            interface.ticks_per_second = base**power
        elif code == 14 and len(value) == 8:  # if_tsoffset
            (interface.offset_seconds,) = struct.unpack(order + "q", value)
    return interface


def _secrets(capture: Capture, body: bytes, order: str) -> None:
    kind, length = struct.unpack_from(order + "II", body)
    if kind == TLS_KEY_LOG:
        capture.key_log += body[8 : 8 + length].decode("utf-8", "replace")
        if not capture.key_log.endswith("\n"):
            capture.key_log += "\n"


def _packet(kind: int, body: bytes, order: str, interfaces: list[_Interface]) -> tuple[int, int, bytes, int]:
    index, ticks = 0, 0
    if kind == SIMPLE_PACKET:
        (wire,) = struct.unpack_from(order + "I", body)
        snaplen = interfaces[0].snaplen
        captured = min(wire, snaplen) if snaplen else wire
        start = 4
    else:
        if kind == OLD_PACKET:
            index, _, high, low, captured, wire = struct.unpack_from(order + "HHIIII", body)
        else:
            index, high, low, captured, wire = struct.unpack_from(order + "IIIII", body)
        ticks = high << 32 | low
        start = 20
    interface = interfaces[index]
    if start + captured > len(body):
        raise ValueError
    time_ns = ticks * 1_000_000_000 // interface.ticks_per_second + interface.offset_seconds * 1_000_000_000
    return index, time_ns, body[start : start + captured], max(wire, captured)
