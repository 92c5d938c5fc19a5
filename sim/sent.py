"""What the host's stack wrote before anything encrypted it, found from what it sent.

A connection's sent bytes are put together from the capture and decrypted in software, record by record. Offload begins
at the first record that a segment begins with, as behind the kernel's fence, and ends where records can no longer be
read (the capture lacks bytes, the keys were changed): what is sent from there on is software's.

Places count bytes of the sent stream from the first record under the application keys.
"""

import random
import struct
from bisect import bisect_left
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from model.contract import EXPLICIT_NONCE_SIZE, HEADER_SIZE, MAX_LENGTH, MIN_LENGTH, TAG_SIZE, TLS_VERSION_BYTES
from model.crypto_info import CryptoInfo
from sim.connections import Connection, Followed
from sim.packets import RST, SYN, Segment
from sim.secrets import TrafficKeys

_TLS12 = 0x0303
_NUMBER = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class SentRecord:
    """`plain` is the record as the host's stack has it: header, plaintext, and random bytes where the tag goes."""

    place: int
    number: int
    plain: bytes

    @property
    def end(self) -> int:
        return self.place + len(self.plain)


@dataclass(eq=False)
class SentStream:
    """One connection's offloaded stretch of what the host sent.

    Members
    -------
    start, end : int
        Places between which records are offloaded.
    records : list of SentRecord
        Those of that stretch.
    places : dict of int to int
        Place of the payload of each packet (by index) that bears bytes of the stretch or from in front of it.
    foreign : dict of int to str
        Packets whose payload is not what the stream has there, and why they are left out.
    edges : set of int
        Places where a packet's payload begins.
    """

    connection: Connection
    info: CryptoInfo
    start: int = 0
    end: int = 0
    records: list[SentRecord] = field(default_factory=list[SentRecord])
    places: dict[int, int] = field(default_factory=dict[int, int])
    foreign: dict[int, str] = field(default_factory=dict[int, str])
    edges: set[int] = field(default_factory=set[int])
    plain: bytes = b""

    def seq(self, place: int) -> int:
        transmission = self.connection.transmission
        assert transmission is not None
        return (transmission.start_seq + place) & 0xFFFFFFFF

    @property
    def start_seq(self) -> int:
        return self.seq(self.start)

    def plaintext(self, place: int, size: int) -> bytes:
        """Bytes of the offloaded stretch as the host's stack has them."""
        return self.plain[place - self.start : place - self.start + size]


@dataclass(frozen=True, slots=True)
class _Piece:
    index: int
    place: int
    data: bytes
    good: bool
    """Its checksum is right."""
    unusable: str = ""
    """Why the packet cannot be sent like that, though its bytes are the stream's."""

    @property
    def end(self) -> int:
        return self.place + len(self.data)


def sent_streams(followed: Followed, seed: int) -> tuple[dict[Connection, SentStream], dict[Connection, str]]:
    """The offloadable stretch of every connection, or why it has none."""
    pieces: dict[Connection, list[_Piece]] = {c: [] for c in followed.connections}
    near: dict[Connection, int] = {}
    for index, (packet, segment, owner) in enumerate(
        zip(followed.capture.packets, followed.segments, followed.owners, strict=True)
    ):
        if not followed.outgoing[index] or segment is None or owner is None or owner.transmission is None:
            continue
        if segment.size == 0 or segment.flags & (SYN | RST):
            continue
        last = near.get(owner, 0)
        delta = segment.seq - owner.transmission.start_seq - last + 0x80000000 & 0xFFFFFFFF
        place = near[owner] = last + delta - 0x80000000
        data = packet.frame[segment.start : segment.end]
        good = segment.checksum_good(packet.frame)
        pieces[owner].append(_Piece(index, place, data, good, _unusable(packet.frame, segment)))

    streams: dict[Connection, SentStream] = {}
    reasons: dict[Connection, str] = {}
    for number, (connection, own) in enumerate(pieces.items()):
        if connection.tx_reason:
            reasons[connection] = connection.tx_reason
            continue
        found = _offloadable(connection, own, random.Random(seed * 65537 + number))
        if isinstance(found, str):
            reasons[connection] = found
        else:
            streams[connection] = found
    return streams, reasons


def _offloadable(connection: Connection, pieces: list[_Piece], rng: random.Random) -> SentStream | str:
    transmission = connection.transmission
    assert transmission is not None
    keys = transmission.keys
    wire = _assemble(pieces)
    if not wire:
        return "the host sends nothing under its application keys"
    records = _read(wire, keys, transmission.record_number, rng)
    if not records:
        return "no record of what the host sends decrypts"

    foreign = {p.index: p.unusable or _why_foreign(p) for p in pieces if p.unusable or not _is_part(p, wire)}
    own = [p for p in pieces if p.index not in foreign]
    edges = {p.place for p in own}
    inside = _Insides(own)
    start = next((r.place for r in records if r.place in edges and not inside.holds(r.place)), None)
    if start is None:
        return "no record of what the host sends begins a segment"
    end = next((r.end for r in reversed(records) if not inside.holds(r.end)), start)
    if end <= start:
        return "no record of what the host sends ends a segment"
    kept = [r for r in records if start <= r.place < end]
    number = kept[0].number.to_bytes(8, "big")
    # what TLS 1.2 has in `iv` is the first explicit nonce; the device takes it from the record
    iv = kept[0].plain[HEADER_SIZE : HEADER_SIZE + EXPLICIT_NONCE_SIZE] if keys.version == _TLS12 else keys.iv
    return SentStream(
        connection,
        CryptoInfo(keys.version, keys.key, keys.salt, iv, number),
        start,
        end,
        kept,
        {p.index: p.place for p in own if p.end <= end},
        foreign,
        edges,
        b"".join(r.plain for r in kept),
    )


def _assemble(pieces: list[_Piece]) -> bytes:
    """Bytes from place 0 up to the first hole; what has a right checksum goes before what has not."""
    wire = bytearray()
    for wanted in (True, False):
        for piece in sorted(pieces, key=lambda p: (p.place, not p.good)):
            if (piece.good or not wanted) and piece.place <= len(wire) < piece.end:
                wire += piece.data[len(wire) - piece.place :]
    return bytes(wire)


def _is_part(piece: _Piece, wire: bytes) -> bool:
    """Whether a piece bears the stream's bytes, as far as they are known."""
    first = max(piece.place, 0)
    last = min(piece.end, len(wire))
    return last <= first or piece.data[first - piece.place : last - piece.place] == wire[first:last]


def _unusable(frame: bytes, segment: Segment) -> str:
    if not segment.whole:
        return "is cut short in the capture"
    length = 2 if frame[segment.ip] >> 4 == 4 else 4
    if frame[segment.ip + length : segment.ip + length + 2] == b"\0\0":
        return "has no length: captured before it was cut into segments"
    return ""


def _why_foreign(piece: _Piece) -> str:
    return "bears other bytes than were sent there" if piece.good else "is damaged in the capture"


class _Insides:
    """Places that lie inside a packet, not at its edge."""

    def __init__(self, pieces: list[_Piece]):
        self._starts: list[int] = []
        self._ends: list[int] = []
        for piece in sorted(pieces, key=lambda p: p.place):
            if self._ends and piece.place < self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], piece.end)
            else:
                self._starts.append(piece.place)
                self._ends.append(piece.end)
        self._edges = {p.place for p in pieces} | {p.end for p in pieces}
        self._pieces = sorted(pieces, key=lambda p: p.place)
        self._longest = max((len(p.data) for p in pieces), default=0)

    def holds(self, place: int) -> bool:
        at = bisect_left(self._starts, place) - 1
        if at < 0 or place >= self._ends[at]:
            return False
        if place not in self._edges:
            return True
        # at an edge of one packet and perhaps inside another
        low = bisect_left(self._pieces, place - self._longest, key=lambda p: p.place)
        high = bisect_left(self._pieces, place, key=lambda p: p.place)
        return any(p.end > place for p in self._pieces[low:high])


def _read(wire: bytes, keys: TrafficKeys, number: int, rng: random.Random) -> list[SentRecord]:
    """Records up to the first that is not whole, not authentic, or not one kTLS would write."""
    records: list[SentRecord] = []
    at = 0
    while at + HEADER_SIZE <= len(wire):
        header = wire[at : at + HEADER_SIZE]
        version, length = struct.unpack_from("!HH", header, 1)
        limits = MIN_LENGTH[keys.version], MAX_LENGTH[keys.version]
        if version != TLS_VERSION_BYTES or not limits[0] <= length <= limits[1]:
            break
        body = wire[at + HEADER_SIZE : at + HEADER_SIZE + length]
        plain = _open(keys, number, header, body) if len(body) == length else None
        if plain is None:
            break
        records.append(SentRecord(at, number, header + plain + rng.randbytes(TAG_SIZE)))
        at += HEADER_SIZE + length
        number = (number + 1) & _NUMBER
    return records


def _open(keys: TrafficKeys, number: int, header: bytes, body: bytes) -> bytes | None:
    """What stands behind the header before the tag: explicit nonce, plaintext with all TLS 1.3 puts behind it."""
    if keys.version == _TLS12:
        explicit, body = body[:EXPLICIT_NONCE_SIZE], body[EXPLICIT_NONCE_SIZE:]
        nonce = keys.salt + explicit
        aad = struct.pack("!Q", number) + header[:3] + struct.pack("!H", len(body) - TAG_SIZE)
    else:
        explicit, aad = b"", header
        nonce = (int.from_bytes(keys.salt + keys.iv, "big") ^ number).to_bytes(12, "big")
    try:
        return explicit + AESGCM(keys.key).decrypt(nonce, body, aad)
    except (InvalidTag, ValueError):
        return None


def host_frame(stream: SentStream, frame: bytes, segment: Segment, place: int, rng: random.Random) -> bytes:
    """A captured frame of the offloaded stretch as the host gives it to its NIC: plaintext, any TCP checksum."""
    out = bytearray(frame)
    out[segment.start : segment.end] = stream.plaintext(place, segment.size)
    out[segment.tcp + 16 : segment.tcp + 18] = rng.randbytes(2)
    return bytes(out)
