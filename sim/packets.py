"""TCP segments out of raw frames: what a host's stack sees of a packet.

Light on purpose (a few slices and unpacks a packet): captures have hundreds of thousands. Independent of the
golden model's parser and wider: it takes what a kernel takes, whether the device handles it or not.
"""

import struct
from dataclasses import dataclass

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
ETHERTYPE_IPV4, ETHERTYPE_IPV6 = 0x0800, 0x86DD
VLAN_TAGS = (0x8100, 0x88A8, 0x9100)
EXTENSIONS = (0, 43, 60)

Endpoint = tuple[bytes, int]


@dataclass(frozen=True, slots=True)
class Segment:
    """A TCP segment in a frame. `payload` is [start, end) of the frame; `ip` where the IP header begins."""

    source: Endpoint
    destination: Endpoint
    seq: int
    ack: int
    flags: int
    ip: int
    tcp: int
    start: int
    end: int
    whole: bool
    """The frame holds the whole IP packet."""

    @property
    def size(self) -> int:
        return self.end - self.start

    @property
    def next_seq(self) -> int:
        """Sequence number behind the segment, SYN and FIN counted."""
        return self.seq + self.size + bool(self.flags & SYN) + bool(self.flags & FIN) & 0xFFFFFFFF

    def checksum_good(self, frame: bytes) -> bool:
        """IPv4 header and TCP checksum of a whole packet, computed over `frame`."""
        if not self.whole:
            return False
        ip, tcp, end = self.ip, self.tcp, self.end
        if frame[ip] >> 4 == 4:
            if _sum(frame[ip : ip + (frame[ip] & 15) * 4]) != 0:
                return False
        pseudo = self.source[0] + self.destination[0] + struct.pack("!II", end - tcp, 6)
        return _sum(pseudo + frame[tcp:end]) == 0

    def with_tcp_checksum(self, frame: bytes) -> bytes:
        """The whole packet's frame with the TCP checksum that is right."""
        field, end = self.tcp + 16, self.end
        blank = frame[:field] + b"\0\0" + frame[field + 2 :]
        pseudo = self.source[0] + self.destination[0] + struct.pack("!II", end - self.tcp, 6)
        right = 0xFFFF - (_sum(pseudo + blank[self.tcp : end]) or 0xFFFF)
        return frame[:field] + right.to_bytes(2, "big") + frame[field + 2 :]


def _sum(data: bytes) -> int:
    """Ones' complement sum of 16-bit words, 0xFFFF folded to 0."""
    if len(data) & 1:
        data += b"\0"
    return int.from_bytes(data, "big") % 0xFFFF


def ip_offset(frame: bytes) -> tuple[int, int]:
    """Ethertype and where its packet begins, behind any VLAN tags; (0, 0) if the frame is too short."""
    at = 12
    while at + 2 <= len(frame):
        (ethertype,) = struct.unpack_from("!H", frame, at)
        if ethertype not in VLAN_TAGS:
            return ethertype, at + 2
        at += 4
    return 0, 0


def addresses(frame: bytes) -> tuple[bytes, bytes] | None:
    """Source and destination address of an IP packet, None if it is none."""
    ethertype, ip = ip_offset(frame)
    if ethertype == ETHERTYPE_IPV4 and len(frame) >= ip + 20:
        return frame[ip + 12 : ip + 16], frame[ip + 16 : ip + 20]
    if ethertype == ETHERTYPE_IPV6 and len(frame) >= ip + 40:
        return frame[ip + 8 : ip + 24], frame[ip + 24 : ip + 40]
    return None


def parse_segment(frame: bytes) -> Segment | None:
    """The TCP segment of a frame; None if it is anything else, a fragment, or cut inside its headers."""
    ethertype, ip = ip_offset(frame)
    size = len(frame)
    if ethertype == ETHERTYPE_IPV4:
        if size < ip + 20 or frame[ip] >> 4 != 4 or frame[ip + 9] != 6:
            return None
        total, _, fragment = struct.unpack_from("!HHH", frame, ip + 2)
        header = (frame[ip] & 15) * 4
        if header < 20 or fragment & 0x3FFF:
            return None
        tcp = ip + header
        # a length of zero is a segment the capturing host's NIC was yet to cut up (TSO)
        end = ip + total if total else size
        source, destination = frame[ip + 12 : ip + 16], frame[ip + 16 : ip + 20]
    elif ethertype == ETHERTYPE_IPV6:
        if size < ip + 40 or frame[ip] >> 4 != 6:
            return None
        (length,) = struct.unpack_from("!H", frame, ip + 4)
        following, tcp = frame[ip + 6], ip + 40
        end = tcp + length if length else size
        while following in EXTENSIONS:
            if size < tcp + 2:
                return None
            following, tcp = frame[tcp], tcp + (frame[tcp + 1] + 1) * 8
        if following != 6:
            return None
        source, destination = frame[ip + 8 : ip + 24], frame[ip + 24 : ip + 40]
    else:
        return None
    if size < tcp + 20:
        return None
    source_port, destination_port, seq, ack, offset_flags = struct.unpack_from("!HHIIH", frame, tcp)
    start = tcp + (offset_flags >> 12) * 4
    if start < tcp + 20 or start > end:
        return None
    whole = end <= size
    if not whole:
        end = max(size, start)
    return Segment(
        (source, source_port),
        (destination, destination_port),
        seq,
        ack,
        offset_flags & 0x3F,
        ip,
        tcp,
        start,
        end,
        whole,
    )
