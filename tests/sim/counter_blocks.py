"""What an observer of the transmit device's wire knows of its keystream, and whether any of it was used twice.

Plaintext given XOR ciphertext sent is keystream. By where a byte stands in the host's records (key, record number,
offset) each has a counter block; by its value each piece of keystream has one too, wherever the device thought it was.
"""

from bisect import bisect_right
from dataclasses import dataclass, field

from model.commands import Add, Command, Response
from model.contract import Result, TxStatus
from model.segmentation import segments
from model.tx_commands import Sent
from sim.packets import parse_segment
from sim.schedule import TxFrame

GRID = 8
"""Bytes of keystream that are compared by value: too many to be equal by chance."""


@dataclass(frozen=True)
class Record:
    """As the host writes it. `start` counts from the first record, `prefix` the bytes in front of the body."""

    start: int
    number: int
    size: int
    prefix: int

    @property
    def tag(self) -> int:
        return self.size - 16


@dataclass
class _Used:
    """Of one record: bytes given and sent, and where there were any."""

    given: bytearray
    sent: bytearray
    known: bytearray


@dataclass
class CounterBlocks:
    """Watches connections by their keys.

    Members
    -------
    bytes : int
        Body and tag bytes seen on the wire.
    again : int
        Those of them that were there before.
    """

    bytes: int = 0
    again: int = 0
    _streams: dict[bytes, tuple[int, list[Record]]] = field(default_factory=dict)
    _keys: dict[int, bytes] = field(default_factory=dict)
    _used: dict[tuple[bytes, int], _Used] = field(default_factory=dict)
    _values: dict[bytes, bytes] = field(default_factory=dict)

    def stream(self, key: bytes, seq: int, records: list[Record]) -> None:
        """What is sent under a key, from sequence number `seq` on, without gaps."""
        assert self._streams.setdefault(key, (seq, records)) == (seq, records)

    def command(self, command: Command, response: Response) -> None:
        if isinstance(command, Add) and response.result is Result.OK:
            self._keys[response.handle] = command.key

    def frame(self, event: TxFrame, sent: list[Sent]) -> None:
        """A frame and what came of it; AssertionError if one counter block served two plaintexts."""
        for piece, one in zip(segments(event.frame, event.request.segment_size), sent, strict=True):
            if one.status is not TxStatus.ENCRYPTED:
                continue
            assert one.frame is not None
            segment = parse_segment(one.frame)
            assert segment is not None and len(piece) == len(one.frame)
            given, left = (f[segment.start : segment.end] for f in (piece, one.frame))
            self._payload(self._keys[one.handle], segment.seq, given, left)

    def _payload(self, key: bytes, seq: int, given: bytes, left: bytes) -> None:
        first, records = self._streams[key]
        start = at = (seq - first) % 2**32
        number = bisect_right(records, start, key=lambda r: r.start) - 1
        while at < start + len(given):
            record = records[number]
            end = min(record.start + record.size, start + len(given))
            assert record.start <= at < end, "bytes of no record left under a connection's keys"
            self._part(key, record, at - record.start, given[at - start : end - start], left[at - start : end - start])
            at, number = end, number + 1

    def _part(self, key: bytes, record: Record, first: int, given: bytes, left: bytes) -> None:
        """Bytes of a record from its byte `first` on."""
        end = first + len(given)
        where = f"record {record.number}, bytes {first} to {end}"
        size = record.size
        used = self._used.setdefault((key, record.number), _Used(bytearray(size), bytearray(size), bytearray(size)))
        low, high = max(first, record.prefix), min(end, record.tag)
        before = [at for at in range(low, end) if used.known[at]] if 1 in used.known[low:end] else []
        for at in before:
            same = at >= high or used.given[at] == given[at - first]
            assert same, f"two plaintexts for one counter block: {where}"
            assert used.sent[at] == left[at - first], f"two ciphertexts or tags of one record: {where}"
        self.bytes += max(end - low, 0)
        self.again += len(before)
        used.given[first:end], used.sent[first:end], used.known[first:end] = given, left, b"\1" * len(given)
        for at in range(low + (record.prefix - low) % GRID, high - GRID + 1, GRID):
            plain, cipher = given[at - first : at - first + GRID], left[at - first : at - first + GRID]
            value = (int.from_bytes(plain) ^ int.from_bytes(cipher)).to_bytes(GRID)
            assert self._values.setdefault(value, plain) == plain, f"keystream used twice: {where}"
