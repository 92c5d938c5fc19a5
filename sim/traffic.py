"""TLS records, TCP segments and frames of known plaintext, every knob a wire can turn: for benches and tests.

    stream = Stream(version=0x0304, seed=1)
    wire = stream.record(b"hello") + stream.record(bytes(100), padding=3)
    for frame in stream.frames(wire, mss=50):
        device.receive(frame)

Records are sealed with AESGCM of `cryptography`. Nothing here is shared with what the tests judge but the
dataclasses of `model.commands`.
"""

import random
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from model.commands import Add, Tuple4

TLS12 = 0x0303
TLS13 = 0x0304

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
IDENTIFICATION = 7
"""Of an IPv4 frame where none is given."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A record as the sender made it. `seq` is the sequence number of its header's first byte."""

    number: int
    seq: int
    wire: bytes
    nonce: bytes  # the 12 bytes given to AES-GCM
    content_type: int  # the inner one in TLS 1.3
    payload: bytes


class Stream:
    """The sending side of one connection: seals records in order and cuts the wire into frames.

    Parameters
    ----------
    version : int
        TLS12 or TLS13.
    key, salt, iv : bytes
        Drawn from `seed` where not given; `key_size` (16 or 32) is then the length of the key.
    record_number, start_seq : int
        Of the first record. Both wrap (64 and 32 bits).
    tuple4 : Tuple4
        `remote` sends. Drawn from `seed` where not given, IPv6 if `ipv6`.

    Members
    -------
    records : list of Sealed
        What `record` made, in order.
    next_seq, next_number : int
        Of the record that `record` will make next.
    """

    def __init__(
        self,
        version: int = TLS13,
        key: bytes | None = None,
        salt: bytes | None = None,
        iv: bytes | None = None,
        record_number: int = 0,
        start_seq: int = 1000,
        tuple4: Tuple4 | None = None,
        *,
        seed: int = 0,
        key_size: int = 16,
        ipv6: bool = False,
    ) -> None:
        self.rng = random.Random(seed)
        size = 16 if ipv6 else 4
        drawn = (
            self.rng.randbytes(key_size),
            self.rng.randbytes(4),
            self.rng.randbytes(8),
            Tuple4(
                self.rng.randbytes(size),
                self.rng.randrange(1, 65536),
                self.rng.randbytes(size),
                self.rng.randrange(1, 65536),
            ),
        )
        self.version = version
        self.key = drawn[0] if key is None else key
        self.salt = drawn[1] if salt is None else salt
        self.iv = drawn[2] if iv is None else iv
        self.tuple4 = drawn[3] if tuple4 is None else tuple4
        self.record_number = record_number
        self.start_seq = start_seq
        self.records: list[Sealed] = []
        self.next_seq = start_seq
        self.next_number = record_number
        self._aead = AESGCM(self.key)

    def add(self) -> Add:
        """The command that installs this connection at its first record."""
        return Add(self.tuple4, self.version, self.key, self.salt, self.iv, self.record_number, self.start_seq)

    # --- records -----------------------------------------------------------------------------------
    def record(
        self,
        payload: bytes,
        content_type: int = 23,
        padding: int = 0,
        explicit_nonce: bytes | None = None,
        *,
        outer_type: int | None = None,
        version_bytes: bytes = b"\x03\x03",
        inner: bytes | None = None,
    ) -> bytes:
        """Seal the next record; return its wire bytes.

        `explicit_nonce` (TLS 1.2) is random unless given: it need not be the record number. `padding` zeros,
        `outer_type` (23) and `inner` (in place of payload, type and padding, to leave out the type) are for
        TLS 1.3.
        """
        if self.version == TLS12:
            explicit = self.rng.randbytes(8) if explicit_nonce is None else explicit_nonce
            nonce = self.salt + explicit
            plain = payload
            header = bytes([content_type]) + version_bytes + struct.pack("!H", len(plain) + 24)
            aad = struct.pack("!Q", self.next_number) + bytes([content_type]) + version_bytes
            aad += struct.pack("!H", len(plain))
            wire = header + explicit + self._aead.encrypt(nonce, plain, aad)
        else:
            mask = bytes(4) + struct.pack("!Q", self.next_number)
            nonce = bytes(a ^ b for a, b in zip(self.salt + self.iv, mask, strict=True))
            plain = payload + bytes([content_type]) + bytes(padding) if inner is None else inner
            header = bytes([23 if outer_type is None else outer_type]) + version_bytes
            header += struct.pack("!H", len(plain) + 16)
            wire = header + self._aead.encrypt(nonce, plain, header)
        self.records.append(Sealed(self.next_number, self.next_seq, wire, nonce, content_type, payload))
        self.next_number = (self.next_number + 1) % 2**64
        self.next_seq = (self.next_seq + len(wire)) % 2**32
        return wire

    def bulk(self, sizes: Iterable[int], content_type: int = 23, padding: int = 0) -> bytes:
        """One record of random payload for each size."""
        return b"".join(self.record(self.rng.randbytes(size), content_type, padding) for size in sizes)

    @property
    def wire(self) -> bytes:
        """All records so far."""
        return b"".join(r.wire for r in self.records)

    @property
    def application(self) -> bytes:
        """The application bytes of all records so far."""
        return b"".join(r.payload for r in self.records if r.content_type == 23)

    # --- frames ------------------------------------------------------------------------------------
    def segments(
        self,
        wire: bytes,
        cuts: Iterable[int] | None = None,
        mss: int | None = None,
        start_seq: int | None = None,
    ) -> list[tuple[int, bytes]]:
        """(sequence number, payload) pairs: `wire` cut at `cuts`, else every `mss` (1448) bytes."""
        seq = self.start_seq if start_seq is None else start_seq
        if cuts is None:
            cuts = range(mss or 1448, len(wire), mss or 1448)
        edges = [0, *sorted({c for c in cuts if 0 < c < len(wire)}), len(wire)]
        return [((seq + a) % 2**32, wire[a:b]) for a, b in zip(edges, edges[1:], strict=False) if b > a]

    def frames(
        self,
        wire: bytes,
        cuts: Iterable[int] | None = None,
        mss: int | None = None,
        start_seq: int | None = None,
        **options: Any,
    ) -> list[bytes]:
        """The frames of `segments`, the first one at `start_seq` (the stream's). Options: `tcp_frame`."""
        return [self.frame(seq, payload, **options) for seq, payload in self.segments(wire, cuts, mss, start_seq)]

    def frame(self, seq: int, payload: bytes, **options: Any) -> bytes:
        """One frame of this connection. Options: `tcp_frame`."""
        return tcp_frame(self.tuple4, seq, payload, **options)


def ones_complement_sum(data: bytes) -> int:
    """16-bit ones' complement sum of `data`, padded with a zero byte."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def tcp_frame(
    tuple4: Tuple4,
    seq: int,
    payload: bytes,
    *,
    flags: int = ACK,
    ack: int = 1,
    vlans: Sequence[tuple[int, int]] = (),
    ip_options: bytes = b"",
    extension_headers: Sequence[tuple[int, bytes]] = (),
    tcp_options: bytes = b"\x01\x01\x08\x0a" + bytes(8),
    identification: int = IDENTIFICATION,
    fragment: int = 0,
    trailer: bytes = b"",
    bad_tcp: bool = False,
    bad_ip: bool = False,
) -> bytes:
    """An Ethernet frame with one TCP segment, from `remote` to `local`, checksums right unless `bad_*`.

    `vlans` are (TPID, VLAN id) pairs, outermost first. `ip_options` and `tcp_options` are words of 4 bytes.
    `extension_headers` are (type, whole header; its first byte is set here) pairs of IPv6. `identification` (modulo
    2^16) and `fragment`, the word of flags and offset, are IPv4's. `trailer` stands behind the IP packet. A frame has
    no minimal length here.
    """
    source, destination = tuple4.remote_address, tuple4.local_address
    ports = struct.pack("!HH", tuple4.remote_port, tuple4.local_port)
    offset = (20 + len(tcp_options)) // 4 << 12
    tcp = bytearray(
        ports + struct.pack("!IIHHHH", seq % 2**32, ack % 2**32, offset | flags, 501, 0, 0) + tcp_options + payload
    )
    pseudo = source + destination + struct.pack("!II", 6, len(tcp))
    struct.pack_into("!H", tcp, 16, ones_complement_sum(pseudo + bytes(tcp)) ^ 0xFFFF ^ (1 if bad_tcp else 0))
    if len(source) == 4:
        size = 20 + len(ip_options)
        ip = bytearray(
            struct.pack("!BBHHHBBH", 0x40 | size // 4, 0, size + len(tcp), identification % 2**16, fragment, 64, 6, 0)
            + source
            + destination
            + ip_options
        )
        struct.pack_into("!H", ip, 10, ones_complement_sum(bytes(ip)) ^ 0xFFFF ^ (1 if bad_ip else 0))
        ethertype = 0x0800
    else:
        types = [kind for kind, _ in extension_headers] + [6]
        chain = b"".join(bytes([t]) + h[1:] for t, (_, h) in zip(types[1:], extension_headers, strict=True))
        ip = bytearray(
            struct.pack("!IHBB", 6 << 28, len(chain) + len(tcp), types[0], 64) + source + destination + chain
        )
        ethertype = 0x86DD
    tags = b"".join(struct.pack("!HH", tpid, vlan) for tpid, vlan in vlans)
    return b"\x02\0\0\0\0\1\x02\0\0\0\0\2" + tags + struct.pack("!H", ethertype) + ip + tcp + trailer
