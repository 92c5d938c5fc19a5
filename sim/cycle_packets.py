"""Recorded schedules as the cycle model's packets."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from model.commands import Ack, Add, Delete, Delivery, Query, Read, Response, Resync, Seed
from model.contract import HEADER_SIZE, TAG_SIZE, Checksum, Result, Status, TxStatus
from model.cycles.packets import NO_PAUSE, Packets, Records
from model.frame import parse
from model.segmentation import segments
from sim.schedule import Entry, TxFrame

COMMANDS: dict[type, int] = {Delete: 34, Query: 12, Read: 8, Seed: 8, Resync: 13, Ack: 14}
"""Cycles that a command takes on its own (hw/control.py)."""
TX_DELETE = 30
"""On transmit, where no flow is forgotten."""
ADD = {32: 41, 16: 38}
"""An ADD, by bytes of the key: H of AES-128 is there sooner (hw/subkey.py)."""
ACK_RECORD = 2
"""An ACK's way past each record that is kept."""
BETWEEN = 1
"""Cycles from the last frame in front of a command to it."""

CUT = 7
"""Cycles without a beat in front of a frame that is cut (hw/cutter.py)."""

EMIT = 5
ADVANCE = 20
FINISH = 24
RECORD, HOLE = 3, 2
"""What hw/loss_track.py takes for a packet that does not simply go on, from its checksum: until the first fragment of a
record that is known or begins here, in all, and more for each record and hole that is kept."""
SEARCH = 1
"""Beyond the beats that are searched for a header."""
TRACKED, TRACKED_RECORD = 27, 5
"""Until the first fragment of a packet in a chain of headers; more for each record that is kept."""
CONTRADICTION = 5
"""For each header that a packet with old bytes is compared with."""
BEHIND = 5
"""Such a packet's end, behind its first fragment."""
NEW = 25
"""A new chain."""
OLD = 12
"""FINISH of a packet with old bytes."""
PROOF = 40
"""A record counted on the quiet is through GHASH and verdict."""


@dataclass
class _Connection:
    """What has passed of one connection, told from what its packets led to."""

    tls13: bool
    start_seq: int
    data: bytearray = field(default_factory=bytearray)
    starts: list[int] = field(default_factory=list[int])
    ends: list[int] = field(default_factory=list[int])
    bodies: list[int] = field(default_factory=list[int])
    seen: int = 0
    holes: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    floor: int = 0
    """Acknowledged."""
    chain: int | None = None
    """Beyond a header that is missing: the next header of the chain that is followed."""

    @property
    def header(self) -> int:
        return HEADER_SIZE if self.tls13 else HEADER_SIZE + 8

    def cut(self) -> None:
        """Records of the stream, from its bytes."""
        at = 0
        while at + HEADER_SIZE <= len(self.data):
            size = HEADER_SIZE + (self.data[at + 3] << 8 | self.data[at + 4])
            self.starts.append(at)
            self.ends.append(at + size)
            self.bodies.append(size - self.header - TAG_SIZE)
            at += size

    @property
    def kept(self) -> int:
        """Records with bytes missing."""
        return len({self.record(a) for a, _ in self.holes})

    def record(self, at: int) -> int:
        return bisect_right(self.starts, at) - 1

    def missing(self, start: int, end: int) -> bool:
        """Bytes of [start, end) that lie below `seen` have not passed."""
        return any(a < end and b > start for a, b in self.holes)

    def follow(self, place: int, end: int) -> None:
        """From the header at `place` to the first one that is not in front of `end`."""
        number = self.record(place)
        while number < len(self.starts) and self.starts[number] + self.header <= end:
            number += 1
        self.chain = self.starts[number] if number < len(self.starts) else len(self.data)

    def take(self, start: int, end: int) -> None:
        if start > self.seen:
            self.holes.append((self.seen, start))
        left: list[tuple[int, int]] = []
        for a, b in self.holes:
            left += [(x, y) for x, y in ((a, min(b, start)), (max(a, end), b)) if x < y]
        self.holes = left
        self.seen = max(self.seen, end)


def rx_packets(entries: Sequence[Entry], width: int) -> Packets:
    """The frames of a receive schedule."""
    frames = [e for e in entries if e.is_frame]
    connections, owner, start = _streams(entries)
    parsed = [parse(e.frame) for e in frames]
    payload = np.array([p.payload if p else 0 for p in parsed], np.int64)
    length = np.array([p.length if p else 0 for p in parsed], np.int64)
    packets = Packets.plain(payload, length)
    packets.size = np.array([len(e.frame) for e in frames], np.int64)
    packets.ipv6 = np.array([bool(p) and len(p.key) > 12 for p in parsed], np.bool_)
    packets.looked_up = np.array([bool(p) and p.candidate for p in parsed], np.bool_)
    packets.pause = np.array(_pauses(entries, COMMANDS), np.int64)
    where, at = np.array(owner, np.int64), np.array(start, np.int64)
    held = where.copy()
    n, handles, more = -1, _handles(entries), 0
    for e in entries:
        if isinstance(e.event, Ack) and e.event.handle in handles:
            one = connections[handles[e.event.handle]]
            more += ACK_RECORD * one.kept
            one.floor = max(one.floor, (e.event.seq - one.start_seq + (1 << 31)) % (1 << 32) - (1 << 31))
        if not e.is_frame:
            continue
        n += 1
        packets.pause[n] += more if packets.pause[n] != NO_PAUSE else 0
        more = 0
        if where[n] < 0:
            continue
        assert isinstance(e.output, Delivery)
        packets.matched[n] = True
        slow, emit, fragments = _way(connections[owner[n]], start[n], int(length[n]), e.output, width)
        packets.slow[n], packets.emit[n] = slow, emit
        if not fragments:
            held[n] = -1
            packets.refused[n] = slow == 0
    matched = packets.matched.copy()
    packets.hold(held, at, _records(connections))
    packets.matched = matched
    return packets


def _handles(entries: Sequence[Entry]) -> dict[int, int]:
    """Connection of each handle, in order of the ADDs."""
    added = (e.output for e in entries if isinstance(e.event, Add))
    adds = [o.handle for o in added if isinstance(o, Response) and o.result is Result.OK]
    return {handle: n for n, handle in enumerate(adds)}


def _streams(entries: Sequence[Entry]) -> tuple[list[_Connection], list[int], list[int]]:
    """Connections in order of their ADDs; of each frame its connection (-1: none) and place in the stream."""
    connections: list[_Connection] = []
    by_handle: dict[int, int] = {}
    owner: list[int] = []
    start: list[int] = []
    for e in entries:
        if isinstance(e.event, Add) and isinstance(e.output, Response) and e.output.result is Result.OK:
            by_handle[e.output.handle] = len(connections)
            connections.append(_Connection(e.event.version != 0x0303, e.event.start_seq))
        if not e.is_frame:
            continue
        assert isinstance(e.output, Delivery)
        packet, number, at = parse(e.frame), -1, 0
        if e.output.descriptor.matched and packet:
            number = by_handle[e.output.descriptor.handle]
            one = connections[number]
            at = (packet.seq - one.start_seq + (1 << 31)) % (1 << 32) - (1 << 31)
            if packet.checksum is Checksum.GOOD and at >= 0:
                end = at + packet.length
                one.data.extend(bytes(max(end - len(one.data), 0)))
                one.data[at:end] = e.frame[packet.payload : packet.end]
        owner.append(number)
        start.append(at)
    for one in connections:
        one.cut()
    return connections, owner, start


def _records(connections: Sequence[_Connection]) -> Records:
    rows = [
        (number, at, one.header, body)
        for number, one in enumerate(connections)
        for at, body in zip(one.starts, one.bodies, strict=True)
    ]
    columns = np.array(rows, np.int64).reshape(-1, 4).T
    return Records(*columns)


def _pauses(entries: Sequence[Entry], cycles: dict[type, int]) -> list[int]:
    out: list[int] = []
    pause, frames = NO_PAUSE, 0
    for e in entries:
        if e.is_frame:
            out.append(pause if frames else NO_PAUSE)
            pause, frames = NO_PAUSE, frames + 1
        else:
            took = ADD[len(e.event.key)] if isinstance(e.event, Add) else cycles[type(e.event)]
            pause = (BETWEEN if pause == NO_PAUSE else pause) + took
    return out


def _way(one: _Connection, start: int, length: int, delivery: Delivery, width: int) -> tuple[int, int, bool]:
    """Cycles from the checksum to the tracker's end and to its first fragment (0, 0: in passing); has it fragments?"""
    end, seen, status = start + length, one.seen, delivery.descriptor.status
    record = one.record(start)
    if status is Status.BAD_CHECKSUM or end <= one.floor:
        return 0, 0, False
    kept, holes = one.kept, len(one.holes)
    work = RECORD * kept + HOLE * holes
    old = start < seen and not one.missing(start, end)
    frontier = next((s for s in one.starts if one.missing(s, s + one.header) or seen < s + one.header), len(one.data))
    simple = start == seen <= frontier + one.header and record >= 0
    if simple and not one.missing(one.starts[record], start):
        one.take(start, end)
        return 0, 0, True
    one.take(start, end)
    if old or status is Status.RETRANSMISSION:
        return OLD + work + CONTRADICTION * (kept + 1), 0, False
    if delivery.descriptor.proven:
        one.chain, one.holes = None, []
        return FINISH + work + PROOF, TRACKED, True
    if status is not Status.WAIT:
        begins = record >= 0 and start - one.starts[record] < one.header
        return FINISH + work, (ADVANCE if begins else EMIT) + RECORD * kept, True
    if start < seen:
        return FINISH + work + (SEARCH + -(-length // width) if one.chain is not None else 0), 0, False
    if one.chain is not None and start <= one.chain:
        one.follow(one.chain, end)
        emit = TRACKED + TRACKED_RECORD * kept + HOLE * holes
        return emit + BEHIND, emit, True
    one.chain = None
    following = one.record(end - one.header)
    if following >= 0 and start <= one.starts[following]:
        one.follow(one.starts[following], end)
    return FINISH + work + SEARCH + -(-length // width) + (NEW if one.chain is not None else 0), 0, False


# --- transmit --------------------------------------------------------------------------------------
def tx_packets(entries: Sequence[Entry]) -> Packets:
    """The segments of a transmit schedule, cut or not."""
    pieces = [
        (e.event, piece, sent, place)
        for e in entries
        if isinstance(e.event, TxFrame)
        for place, (piece, sent) in enumerate(
            zip(segments(e.event.frame, e.event.request.segment_size), e.sent, strict=True)
        )
    ]
    adds = [(e.event, e.output) for e in entries if isinstance(e.event, Add)]
    numbers: dict[int, int] = {}
    connections: list[_Connection] = []
    for add, response in adds:
        if isinstance(response, Response) and response.result is Result.OK:
            numbers[response.handle] = len(connections)
            connections.append(_Connection(add.version != 0x0303, add.start_seq))
    parsed = [parse(piece) for _, piece, _, _ in pieces]
    owner = np.full(len(pieces), -1)
    start = np.zeros(len(pieces), np.int64)
    for n, ((event, piece, sent, _), packet) in enumerate(zip(pieces, parsed, strict=True)):
        if sent.status not in (TxStatus.ENCRYPTED, TxStatus.REPLAYED) or packet is None:
            continue
        owner[n] = numbers[event.request.handle]
        one = connections[owner[n]]
        start[n] = (packet.seq - one.start_seq + (1 << 31)) % (1 << 32) - (1 << 31)
        end = int(start[n]) + packet.length
        one.data.extend(bytes(max(end - len(one.data), 0)))
        one.data[end - packet.length : end] = piece[packet.payload : packet.end]
    for one in connections:
        one.cut()
    payload = np.array([p.payload if p else 0 for p in parsed], np.int64)
    packets = Packets.plain(payload, np.array([p.length if p else 0 for p in parsed], np.int64))
    packets.size = np.array([len(piece) for _, piece, _, _ in pieces], np.int64)
    packets.ipv6 = np.array([bool(p) and len(p.key) > 12 for p in parsed], np.bool_)
    packets.sent = np.array([sent.frame is not None for _, _, sent, _ in pieces], np.bool_)
    # A command's pause goes with a frame's first segment.
    pauses = iter(_pauses(entries, COMMANDS | {Delete: TX_DELETE}))
    packets.pause = np.array([next(pauses) if place == 0 else NO_PAUSE for *_, place in pieces], np.int64)
    cut = np.array([place == 0 and event.request.segment_size > 0 for event, _, _, place in pieces], np.bool_)
    following = np.append(np.array([place for *_, place in pieces], np.int64)[1:], 0)
    packets.gap = np.where(cut & (following > 0), CUT, 0)
    packets.hold(owner, start, _records(connections))
    return packets
