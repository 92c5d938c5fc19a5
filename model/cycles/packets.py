"""What the cycle model is told of packets: arrays, and how they are made from streams of records."""

from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

from model.contract import TAG_SIZE

Array = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

NO_PAUSE = -1
_CONNECTION = 1 << 44
"""More than the bytes of a stream."""


def _none() -> Array:
    return np.zeros(0, np.int64)


@dataclass
class Packets:
    """Packets of one direction, in their order on the wire, and what of records is in them.

    Attributes
    ----------
    size, payload, length : Array
        Bytes of each frame; where its TCP payload begins; bytes of that.
    ipv6 : Flags
    looked_up : Flags
        Receive: has payload, so that its connection is searched.
    matched : Flags
        Of an offloaded connection; the tracker passes the others by.
    sent : Flags
        Transmit: leaves the device.
    arrival : Array
        Cycle in which the first beat is there to be taken; 0: as soon as the device takes it.
    pause : Array
        NO_PAUSE; else the packet is not offered before the one in front of it has left, and so many cycles more: what
        the driver's commands in between take.
    gap : Array
        Transmit: cycles without a beat in front of it: the first segment of a frame that is cut.
    slow, emit : Array
        0 for a packet that simply goes on in its stream, or is of no offloaded connection; else the cycles that the
        tracker takes from its checksum on; `emit` is when in these the first fragment leaves it.
    connection : Array
        -1: none.
    follows : Flags
        Goes on where the packet in front of it ends, one of the same connection.
    refused : Flags
        The tracker sees before it looks at records that the packet is not handled.

    Pieces, in order of their frames: a record header's end, a fragment of the body and tag behind it, or both.

    frame : Array
        Frame of the piece.
    header_end : Array
        Byte of the frame behind the header's last one; 0: the piece has no header.
    whole : Flags
        The header ends in this frame.
    resumed : Flags
        The header began in an earlier frame.
    position, count : Array
        The fragment: place in the frame, bytes; 0: there is none.
    first, body : Array
        Extended position of its first byte (docs/architecture.md); bytes of the record without header and tag.
    """

    size: Array
    payload: Array
    length: Array
    ipv6: Flags
    looked_up: Flags
    matched: Flags
    sent: Flags
    arrival: Array
    pause: Array
    gap: Array
    slow: Array
    emit: Array
    refused: Flags
    connection: Array
    follows: Flags
    frame: Array = field(default_factory=_none)
    header_end: Array = field(default_factory=_none)
    whole: Flags = field(default_factory=lambda: np.zeros(0, np.bool_))
    resumed: Flags = field(default_factory=lambda: np.zeros(0, np.bool_))
    position: Array = field(default_factory=_none)
    count: Array = field(default_factory=_none)
    first: Array = field(default_factory=_none)
    body: Array = field(default_factory=_none)

    def __len__(self) -> int:
        return len(self.size)

    @staticmethod
    def plain(payload: npt.ArrayLike, length: npt.ArrayLike) -> "Packets":
        """Packets of no offloaded connection, back to back, without Ethernet padding."""
        start, size = np.broadcast_arrays(np.asarray(payload, np.int64), np.asarray(length, np.int64))
        n = len(size)
        return Packets(
            size=start + size,
            payload=start.copy(),
            length=size.copy(),
            ipv6=np.zeros(n, np.bool_),
            looked_up=size > 0,
            matched=np.zeros(n, np.bool_),
            sent=np.ones(n, np.bool_),
            arrival=np.zeros(n, np.int64),
            pause=np.full(n, NO_PAUSE, np.int64),
            gap=np.zeros(n, np.int64),
            slow=np.zeros(n, np.int64),
            emit=np.zeros(n, np.int64),
            refused=np.zeros(n, np.bool_),
            connection=np.full(n, -1),
            follows=np.zeros(n, np.bool_),
        )

    def part(self, begin: int, end: int) -> "Packets":
        """Packets `begin` to `end`, with their pieces; their arrays are views of these, but for `frame`."""
        low, high = np.searchsorted(self.frame, (begin, end))
        pieces = {name: getattr(self, name)[low:high] for name in PIECES}
        pieces["frame"] = pieces["frame"] - begin
        return Packets(**{name: getattr(self, name)[begin:end] for name in EACH}, **pieces)

    def hold(self, connection: Array, start: Array, records: "Records") -> None:
        """Say which records are in the packets.

        `connection` (-1: none) and `start`, the stream's byte at which the payload begins, of each packet. All packets
        with records become `matched`.
        """
        key, length = connection * _CONNECTION + start, self.length
        record_key = records.connection * _CONNECTION + records.start
        reach = records.header + records.body + TAG_SIZE
        after = np.searchsorted(record_key, key + length, side="left")
        before = np.searchsorted(record_key, key, side="right") - 1
        inside = before >= 0
        held = np.clip(before, 0, None)
        inside &= (record_key + reach)[held] > key if len(record_key) else False
        first = np.where(inside, held, before + 1)
        many = np.where(connection >= 0, np.maximum(after - first, 0), 0)
        frame = np.repeat(np.arange(len(key)), many)
        record = np.repeat(first, many) + np.arange(len(frame)) - np.repeat(np.cumsum(many) - many, many)
        low, high = key[frame], (key + length)[frame]
        body_at = record_key[record] + records.header[record]
        end = record_key[record] + reach[record]
        header_to = np.minimum(high, body_at)
        has_header = header_to > np.maximum(low, record_key[record])
        position = np.maximum(low, body_at)
        self.frame = frame
        self.header_end = np.where(has_header, header_to - low + self.payload[frame], 0)
        self.resumed = has_header & (low > record_key[record])
        self.whole = has_header & (body_at <= high)
        self.count = np.maximum(np.minimum(high, end) - position, 0)
        self.position = position - low + self.payload[frame]
        self.first = position - body_at + 16
        self.body = records.body[record]
        self.matched = self.matched | (many > 0)
        self.connection = connection
        self.follows = np.zeros(len(self), np.bool_)
        self.follows[1:] = (connection[1:] >= 0) & (connection[1:] == connection[:-1])
        self.follows[1:] &= (start + length)[:-1] == start[1:]


PIECES = ("frame", "header_end", "whole", "resumed", "position", "count", "first", "body")
EACH = tuple(one.name for one in fields(Packets) if one.name not in PIECES)


@dataclass
class Records:
    """Records of all streams, by connection and then by place.

    Attributes
    ----------
    connection, start : Array
        Connection, and the byte of its stream at which the header begins.
    header, body : Array
        Bytes of the header (explicit nonce included) and of the ciphertext without tag.
    """

    connection: Array
    start: Array
    header: Array
    body: Array


HEADERS = 66
"""Bytes in front of the payload of a usual frame: Ethernet, IPv4, TCP with timestamps."""


def packets_of(
    segment: int,
    record: int,
    count: int,
    *,
    connections: int = 1,
    headers: int = HEADERS,
    tls13: bool = True,
    offloaded: bool = True,
) -> Packets:
    """`count` packets of `segment` bytes from streams of records of `record` bytes, a packet of each stream in turn."""
    packets = Packets.plain(np.full(count, headers), np.full(count, segment))
    if not offloaded:
        return packets
    header, body = (5, record + 1) if tls13 else (13, record)
    wire = header + body + TAG_SIZE
    number = np.arange(count)
    each = -(-(-(count // -connections) * segment) // wire)
    owner = np.repeat(np.arange(connections), each)
    start = np.tile(np.arange(each) * wire, connections)
    same = np.ones(len(owner), np.int64)
    packets.hold(
        number % connections, number // connections * segment, Records(owner, start, header * same, body * same)
    )
    return packets
