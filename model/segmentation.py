"""Large frames cut into segments, and the checksums of what is sent: docs/contract-tx.md, sections 1 and 5."""

import struct

from model.contract import ETHERTYPE_IPV6, MAX_SEGMENTED, PROTOCOL_TCP
from model.frame import Frame, parse

FIN, PSH, CWR = 0x01, 0x08, 0x80

_IPV6_HEADER = 40
_TCP_FLAGS = 13
_TCP_CHECKSUM = 16


def _checksum(data: bytes, rest: int = 0) -> int:
    """The complement of the ones' complement sum of `data`, as a checksum field holds it (never 0xFFFF).

    2^16 is 1 modulo 2^16 - 1: the sum is the residue of the bytes read as one number, 0xFFFF standing for 0.
    """
    number = int.from_bytes(data, "big") << 8 * (len(data) & 1)
    return -(number + rest) % 0xFFFF


def with_tcp_checksum(frame: bytes, packet: Frame) -> bytes:
    """The frame, which holds its whole IP packet, with the TCP checksum that is right."""
    field = packet.tcp + _TCP_CHECKSUM
    segment = frame[packet.tcp : field] + b"\0\0" + frame[field + 2 : packet.end]
    addresses = packet.key[:-4]
    rest = len(segment) + PROTOCOL_TCP + int.from_bytes(addresses, "big")
    return frame[:field] + _checksum(segment, rest).to_bytes(2, "big") + frame[field + 2 :]


def holds_packet(frame: bytes) -> bool:
    """Whether a frame of any length holds its whole IP packet."""
    packet = parse(frame, limit=None)
    return packet is not None and packet.end <= len(frame)


def segments(frame: bytes, size: int) -> list[bytes]:
    """What a frame is cut into; the frame itself where it is not. TCP checksums are still the frame's."""
    packet = parse(frame, limit=None) if size else None
    if packet is None or packet.end - packet.ip > MAX_SEGMENTED or packet.length <= size:
        return [frame]
    out: list[bytes] = []
    # A frame that ends before its IP packet has the segments that begin in it.
    for at in range(0, max(min(packet.length, len(frame) - packet.payload), 1), size):
        last = at + size >= packet.length
        length = packet.length - at if last else size
        headers = _headers(frame[: packet.payload], packet, len(out), at, length, last)
        start = packet.payload + at
        out.append(headers + frame[start : start + length])
    return out


def _headers(headers: bytes, packet: Frame, count: int, at: int, length: int, last: bool) -> bytes:
    """The headers of segment number `count`, which bears payload bytes [at, at + length)."""
    out = bytearray(headers)
    ip, tcp = packet.ip, packet.tcp
    if headers[ip - 2 : ip] == ETHERTYPE_IPV6.to_bytes(2, "big"):
        struct.pack_into("!H", out, ip + 4, packet.payload - ip - _IPV6_HEADER + length)
    else:
        identification = int.from_bytes(headers[ip + 4 : ip + 6], "big")
        struct.pack_into("!HH", out, ip + 2, packet.payload - ip + length, (identification + count) % 2**16)
        out[ip + 10 : ip + 12] = b"\0\0"
        struct.pack_into("!H", out, ip + 10, _checksum(bytes(out[ip:tcp])))
    struct.pack_into("!I", out, tcp + 4, (packet.seq + at) % 2**32)
    if not last:
        out[tcp + _TCP_FLAGS] &= ~(FIN | PSH)
    if at:
        out[tcp + _TCP_FLAGS] &= ~CWR
    return bytes(out)
