"""The parser of docs/contract.md, section 1, by hand on bytes.

Judged against scapy in tests/model/test_frame.py.
"""

import struct
from typing import NamedTuple

from model.commands import Tuple4
from model.contract import (
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    EXTENSION_HEADERS,
    HEADER_WINDOW,
    MAX_EXTENSION_HEADERS,
    MAX_FRAME,
    MAX_VLAN_TAGS,
    PROTOCOL_TCP,
    VLAN_ETHERTYPES,
    Checksum,
)

FIN = 0x01
SYN = 0x02
RST = 0x04

_ETHERNET = 14
_TCP = 20
_SEQ_TO_FLAGS = struct.Struct("!IIBB")


class Frame(NamedTuple):
    """A parsed TCP packet. Offsets count from the frame's first byte.

    `key` is what the table compares: source address, destination address, source port, destination port, as
    they stand in the packet; its length tells IPv4 from IPv6. `end` is the end of the IP packet and may lie
    behind the frame's; then `checksum` is BAD.
    """

    key: bytes
    ip: int
    tcp: int
    payload: int
    end: int
    seq: int
    flags: int
    checksum: Checksum

    @property
    def length(self) -> int:
        """Payload bytes."""
        return self.end - self.payload

    @property
    def candidate(self) -> bool:
        """Looked up in the table: with payload, neither SYN nor RST."""
        return self.end > self.payload and not self.flags & (SYN | RST)

    @property
    def fin(self) -> bool:
        return bool(self.flags & FIN)

    @property
    def tuple4(self) -> Tuple4:
        size = (len(self.key) - 4) // 2
        ports = struct.unpack("!HH", self.key[-4:])
        return Tuple4(self.key[:size], ports[0], self.key[size : 2 * size], ports[1])


def tuple_key(tuple4: Tuple4) -> bytes:
    """`Frame.key` of packets that `remote` sends to `local`."""
    return tuple4.remote_address + tuple4.local_address + struct.pack("!HH", tuple4.remote_port, tuple4.local_port)


def _sums_to_ones(data: bytes, rest: int = 0) -> bool:
    """Whether the ones' complement sum of 16-bit words is 0xFFFF.

    2^16 is 1 modulo 2^16 - 1, so the sum's residue is that of the bytes read as one number. The sum of a
    pseudo header or an IPv4 header is never zero, so residue 0 is 0xFFFF.
    """
    number = int.from_bytes(data, "big") << 8 * (len(data) & 1)
    return (number + rest) % 0xFFFF == 0


def parse(frame: bytes, limit: int | None = MAX_FRAME) -> Frame | None:
    """The packet's fields, or None where the contract says "not parsed".

    `limit`: where in the frame the IP packet may end; None: anywhere.
    """
    size = len(frame)
    if size < _ETHERNET:
        return None
    ip = _ETHERNET
    ethertype = frame[12] << 8 | frame[13]
    for _ in range(MAX_VLAN_TAGS):
        if ethertype not in VLAN_ETHERTYPES or size < ip + 4:
            break
        ethertype = frame[ip + 2] << 8 | frame[ip + 3]
        ip += 4

    if ethertype == ETHERTYPE_IPV4:
        if size < ip + 20 or frame[ip] >> 4 != 4 or frame[ip + 9] != PROTOCOL_TCP:
            return None
        header = (frame[ip] & 15) * 4
        total = frame[ip + 2] << 8 | frame[ip + 3]
        fragment = (frame[ip + 6] << 8 | frame[ip + 7]) & 0x3FFF
        if header < 20 or fragment or total < header + _TCP:
            return None
        tcp = ip + header
        end = ip + total
        addresses = frame[ip + 12 : ip + 20]
    elif ethertype == ETHERTYPE_IPV6:
        if size < ip + 40 or frame[ip] >> 4 != 6:
            return None
        end = ip + 40 + (frame[ip + 4] << 8 | frame[ip + 5])
        kind = frame[ip + 6]
        tcp = ip + 40
        for _ in range(MAX_EXTENSION_HEADERS):
            if kind not in EXTENSION_HEADERS or size < tcp + 2:
                break
            kind, tcp = frame[tcp], tcp + (frame[tcp + 1] + 1) * 8
        if kind != PROTOCOL_TCP:
            return None
        addresses = frame[ip + 8 : ip + 40]
    else:
        return None

    if tcp + _TCP > min(size, HEADER_WINDOW):
        return None
    seq, _, offset, flags = _SEQ_TO_FLAGS.unpack_from(frame, tcp + 4)
    payload = tcp + (offset >> 4) * 4
    if offset >> 4 < 5 or payload > end or (limit is not None and end > limit):
        return None

    good = end <= size and (ethertype == ETHERTYPE_IPV6 or _sums_to_ones(frame[ip:tcp]))
    if good:
        rest = end - tcp + PROTOCOL_TCP + int.from_bytes(addresses, "big")
        good = _sums_to_ones(frame[tcp:end], rest)
    key = addresses + frame[tcp : tcp + 4]
    return Frame(key, ip, tcp, payload, end, seq, flags, Checksum.GOOD if good else Checksum.BAD)
