"""The host's transmit side: sockets whose stack writes what the capture shows that it wrote, packet by packet.

TCP's part is the capture's: which bytes are in which packet, what is sent again, and when. kTLS's part is here: the
record list grows as the stream advances, the peer's acknowledgements release records, and the driver asks for both.
"""

import errno
import random
from collections import defaultdict
from dataclasses import dataclass, field

from driver.sock import Sock, TlsDevOps, TlsSocket
from driver.transmit import TransmitSide, Transmitted, Way
from model.commands import TrackerState
from model.contract import MAX_FRAME
from model.frame import parse
from model.segmentation import segments, with_tcp_checksum
from model.tls_fallback import TlsFallback
from model.tls_records import TlsOffloadContextTx, TlsRecordInfo
from sim.connections import Connection, Followed
from sim.packets import ACK, SYN, Segment
from sim.sent import SentStream, host_frame, sent_streams

DEFAULT_SEGMENT = 1448


class TlsTx(TlsSocket):
    """A socket's kTLS transmit side over a stream that is known."""

    def __init__(self, stream: SentStream, netdev: TlsDevOps):
        self.stream = stream
        self.context = TlsOffloadContextTx(stream.info, stream.start_seq)
        self._netdev = netdev
        self._fallback = TlsFallback(self.context)
        self._pushed = 0
        self._sync_sched = False

    def push(self, end: int) -> None:
        """The application has written every record that begins in front of place `end`."""
        records = self.stream.records
        while self._pushed < len(records) and records[self._pushed].place < end:
            record = records[self._pushed]
            self._pushed += 1
            seq = self.stream.seq(record.place)
            self.context.add(TlsRecordInfo(self.stream.seq(record.end), (record.plain,)))
            # The kernel makes the record begin a segment; here only some do.
            if self._sync_sched and record.place in self.stream.edges:
                self._sync_sched = bool(self._netdev.tls_dev_resync(seq, record.number))

    def clean_acked(self, seq: int) -> None:
        self.context.tls_icsk_clean_acked(seq)

    # --- driver.sock.TlsSocket
    def tls_get_record(self, seq: int) -> tuple[TlsRecordInfo, int] | None:
        return self.context.tls_get_record(seq)

    def tls_offload_tx_resync_request(self, got_seq: int, exp_seq: int) -> None:
        self._sync_sched = True

    def tls_offload_tx_resync_pending(self) -> bool:
        return self._sync_sched

    def tls_encrypt_skb(self, frame: bytes) -> bytes | None:
        return self._fallback.tls_sw_fallback(frame)

    def tls_validate_xmit_skb(self, netdev: TlsDevOps | None, frame: bytes) -> bytes | None:
        return frame if netdev is self._netdev else self.tls_encrypt_skb(frame)


@dataclass(eq=False)
class TxSocket:
    """A connection on this host, transmit direction."""

    connection: Connection
    stream: SentStream | None
    reason: str
    """Why software encrypts all it sends."""
    sk: Sock = field(init=False)
    tls: TlsTx | None = None
    offloaded: bool = False
    closed: bool = False
    packets: int = 0
    """Packets with payload sent since the keys are in (never offloaded: all with payload)."""
    ways: dict[Way, int] = field(default_factory=lambda: dict.fromkeys(Way, 0))
    out_of_order: int = 0
    replayed_bytes: int = 0
    final_state: TrackerState | None = None

    def __post_init__(self) -> None:
        self.sk = Sock(self.connection.peer, self.connection.host)

    @property
    def understood(self) -> bool:
        """Its keys fit, whether the device knows the cipher or not."""
        return self.stream is not None or (self.connection.transmission is not None and bool(self.connection.tx_reason))

    @property
    def packets_encrypted(self) -> int:
        """By the device."""
        return sum(self.ways[way] for way in (Way.STREAM, Way.REBUILT, Way.PREFIXED))


@dataclass(frozen=True, slots=True)
class Sending:
    """A packet of the host on its way out.

    `expected` is what must be on the wire. `place` counts from where offload begins; None: not of an offloaded stream.
    """

    transmitted: Transmitted
    expected: list[bytes]
    socket: TxSocket | None
    place: int | None
    size: int
    """Payload bytes."""
    counted: bool
    """It is one of the socket's `packets`."""


class TxHost:
    """All sockets of the host, and what else it sends.

    Parameters
    ----------
    followed : Followed
    netdev : TransmitSide
    seed : int
        Of what stands where tags and TCP checksums go.
    """

    def __init__(self, followed: Followed, netdev: TransmitSide, seed: int = 0):
        self._followed = followed
        self._netdev = netdev
        self._rng = random.Random(seed)
        streams, reasons = sent_streams(followed, seed)
        self.sockets = {c: TxSocket(c, streams.get(c), reasons.get(c, "")) for c in followed.connections}
        self.left_out: dict[int, str] = {}
        """Packets (by index) that were not sent, and why."""
        self.unfinished = 0
        """Packets captured before their checksum was made, or before they were cut into segments."""
        self._installs: dict[int, list[TxSocket]] = defaultdict(list)
        self._closes: dict[int, list[TxSocket]] = defaultdict(list)
        self._acks: dict[int, list[tuple[TxSocket, int]]] = defaultdict(list)
        self._segment_size: dict[Connection, int] = {}
        for socket in self.sockets.values():
            self._plan(socket)

    def _plan(self, socket: TxSocket) -> None:
        """When keys go in and out, and when acknowledgements take effect."""
        followed, connection, stream = self._followed, socket.connection, socket.stream
        own = [
            (index, segment)
            for index, (segment, owner) in enumerate(zip(followed.segments, followed.owners, strict=True))
            if segment is not None and owner is connection
        ]
        sizes = [s.size for i, s in own if followed.outgoing[i] and s.end <= MAX_FRAME]
        self._segment_size[connection] = max(sizes, default=0) or DEFAULT_SEGMENT
        if stream is None:
            return
        self.left_out |= stream.foreign
        bearing = sorted(index for index, place in stream.places.items() if place >= stream.start)
        self._installs[bearing[0]].append(socket)
        last = max(stream.places)
        closed = connection.closed - 1 if connection.closed is not None else len(followed.segments) - 1
        self._closes[max(last, closed)].append(socket)
        # TCP sends nothing again that it knows to be acknowledged: if a later packet bears it, the acknowledgement had
        # not been seen yet.
        later = stream.end + 1
        acked: list[tuple[int, int]] = []
        for index, segment in reversed(own):
            if index in stream.places:
                later = min(later, stream.places[index])
            elif followed.incoming[index] and segment.flags & (ACK | SYN) == ACK:
                if segment.checksum_good(followed.capture.packets[index].frame):
                    acked.append((index, later))
        for index, limit in reversed(acked):
            self._acks[index].append((socket, limit))

    def packet(self, index: int) -> Sending | None:
        """Packet `index` (from 0) of the capture happens; None if the host does not send it."""
        for socket in self._installs.get(index, ()):
            self._install(socket)
        sending = None
        if self._followed.outgoing[index] and index not in self.left_out:
            sending = self._send(index)
        for socket, limit in self._acks.get(index, ()):
            segment = self._followed.segments[index]
            assert segment is not None
            self._acknowledge(socket, segment.ack, limit)
        for socket in self._closes.get(index, ()):
            self._close(socket)
        return sending

    def finish(self) -> None:
        for socket in self.sockets.values():
            self._close(socket)

    # --- packets -----------------------------------------------------------------------------------
    def _send(self, index: int) -> Sending | None:
        followed, frame = self._followed, self._followed.capture.packets[index].frame
        segment, owner = followed.segments[index], followed.owners[index]
        if segment is None or owner is None:
            if len(frame) > MAX_FRAME:
                self.left_out[index] = f"is longer than {MAX_FRAME} bytes, and no TCP packet that could be cut"
                return None
            return Sending(self._netdev.xmit(frame), [frame], None, None, 0, False)
        socket = self.sockets[owner]
        size = self._segment_size[owner] if segment.end > MAX_FRAME else 0
        expected = frame
        stream = socket.stream
        place = stream.places.get(index) if stream is not None else None
        within = stream is not None and place is not None and place >= stream.start
        given = frame
        if within and socket.tls is not None:
            assert stream is not None and place is not None
            if not segment.checksum_good(frame):
                expected = segment.with_tcp_checksum(frame)
                self.unfinished += not size
            given = host_frame(stream, frame, segment, place, self._rng)
            socket.tls.push(place + segment.size)
        # what lies behind the offloaded stretch has been encrypted by software
        behind = segment.size > 0 and place is None
        transmitted = self._netdev.xmit(given, None if behind else socket.sk, size)
        wire = [expected] if not size else cut(expected, segment, size)
        self.unfinished += bool(size)
        counted = segment.size > 0 and (within or stream is None)
        if segment.size:
            self._count(socket, transmitted, counted)
        here = place - stream.start if within and stream is not None and place is not None else None
        return Sending(transmitted, wire, socket, here, segment.size, counted)

    def _count(self, socket: TxSocket, transmitted: Transmitted, counted: bool) -> None:
        socket.packets += counted
        socket.ways[transmitted.way] += 1
        socket.out_of_order += transmitted.out_of_order
        socket.replayed_bytes += transmitted.replayed_bytes

    # --- sockets -----------------------------------------------------------------------------------
    def _install(self, socket: TxSocket) -> None:
        """setsockopt(TLS_TX): try the device."""
        assert socket.stream is not None
        netdev = self._netdev.ops(socket.sk)
        error = netdev.tls_dev_add(socket.stream.info, socket.stream.start_seq)
        if error:
            socket.reason = _refusal(error)
            return
        socket.offloaded = True
        socket.tls = socket.sk.tls = TlsTx(socket.stream, netdev)

    def _acknowledge(self, socket: TxSocket, ack: int, limit: int) -> None:
        """`limit`: the place up to which the host has understood it."""
        stream = socket.stream
        if socket.tls is None or socket.closed or stream is None:
            return
        bound = stream.seq(limit)
        socket.tls.clean_acked(bound if (ack - bound) & 0xFFFFFFFF < 0x80000000 else ack)

    def _close(self, socket: TxSocket) -> None:
        if socket.closed:
            return
        socket.closed = True
        if socket.offloaded:
            socket.final_state = self._netdev.tracker_state(socket.sk)
            self._netdev.tls_dev_del(socket.sk)


def cut(frame: bytes, segment: Segment, size: int) -> list[bytes]:
    """What a captured frame that was not cut yet is on the wire."""
    out: list[bytes] = []
    for piece in segments(frame, size):
        packet = parse(piece)
        out.append(with_tcp_checksum(piece, packet) if packet else piece)
    return out


def _refusal(error: int) -> str:
    reasons = {-errno.ENOSPC: "table full", -errno.EOPNOTSUPP: "not supported by the device"}
    return reasons.get(error, f"the device refused it ({errno.errorcode.get(-error, error)})")
