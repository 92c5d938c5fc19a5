"""One connection of the golden transmit device: the rules of docs/contract-tx.md, sections 3 and 4.

Tags come from AESGCM of `cryptography` on a record's assembled plaintext, ranges of ciphertext from AES-CTR.
"""

from dataclasses import dataclass, field

from model.commands import Add, Resync, TrackerState
from model.contract import EXPLICIT_NONCE_SIZE, HEADER_SIZE, TAG_RING, TAG_SIZE, TxKind, TxStatus
from model.record import Opened, RecordCipher
from model.tx_commands import TxRequest

_SEQ = (1 << 32) - 1
_NUMBER = (1 << 64) - 1


class Dropped(Exception):
    """The frame must not leave; nothing has changed."""

    def __init__(self, status: TxStatus) -> None:
        super().__init__(status.name)
        self.status = status


@dataclass(slots=True)
class _Record:
    """A record whose header has been taken. `taken` counts body and tag; `plain` is the body so far unless `blind`."""

    opened: Opened
    taken: int = 0
    blind: bool = False
    plain: tuple[bytes, ...] = ()

    @property
    def body_size(self) -> int:
        return self.opened.size - TAG_SIZE

    @property
    def remaining(self) -> int:
        return self.opened.size - self.taken


@dataclass(slots=True)
class _Position:
    """A place in the stream; `number` is that of the record in progress, or the next one's."""

    expected: int
    number: int
    header: bytes = b""
    record: _Record | None = None

    def copy(self) -> "_Position":
        """By the constructors: this is done for every frame, and `dataclasses.replace` is slow."""
        one = self.record
        record = _Record(one.opened, one.taken, one.blind, one.plain) if one else None
        return _Position(self.expected, self.number, self.header, record)


@dataclass(slots=True)
class _Taken:
    """What taking a frame's payload comes to."""

    payload: bytearray
    tags: list[bytes] = field(default_factory=list[bytes])
    """Of the records that ended in it."""


class TxConnection:
    """Keys and positions of one connection.

    Members
    -------
    take(kind, seq, payload, request) -> bytes
        The payload encrypted, tags in place. Raises `Dropped`.
    """

    def __init__(self, add: Add) -> None:
        self._cipher = RecordCipher(add.version, add.key, add.salt, add.iv)
        self._stream = _Position(add.start_seq & _SEQ, add.record_number)
        self._replay = self._stream.copy()
        self._ring: list[bytes] = []
        """Tags of the last complete records of `stream`, the latest one last."""

    # --- commands ----------------------------------------------------------------------------------
    def state(self) -> TrackerState:
        stream = self._stream
        record = stream.record
        return TrackerState(
            expected_seq=stream.expected,
            seen_seq=self._replay.expected,
            record_number=stream.number,
            remaining=record.remaining if record else 0,
            header_count=len(stream.header),
            out_of_sync=False,
            skipping=record is not None and record.blind,
        )

    def resync(self, command: Resync) -> None:
        self._stream = _Position(command.seq & _SEQ, command.record_number)
        self._ring = []

    # --- frames ------------------------------------------------------------------------------------
    def take(self, kind: TxKind, seq: int, payload: bytes, request: TxRequest) -> bytes:
        if kind is TxKind.STREAM:
            position = self._stream.copy()
        elif kind is TxKind.PREFIX:
            position = self._prefix(seq, request)
        elif kind is TxKind.REPLAY and seq == request.record_seq:
            position = _Position(seq, request.record_number)
        else:
            position = self._replay.copy()
        if seq != position.expected:
            raise Dropped(TxStatus.DROPPED_SEQUENCE)

        taken = self._walk(position, payload, on_stream=kind is TxKind.STREAM)
        position.expected = (seq + len(payload)) & _SEQ
        if kind is TxKind.STREAM:
            self._stream = position
            self._ring = (self._ring + taken.tags)[-TAG_RING:]
        else:
            self._replay = position
            if request.adopt and kind in (TxKind.RETRANSMIT, TxKind.PREFIX):
                self._stream = position.copy()
                self._ring = []
        return bytes(taken.payload)

    def _prefix(self, seq: int, request: TxRequest) -> _Position:
        size = self._cipher.header_size
        header = request.header.ljust(HEADER_SIZE + EXPLICIT_NONCE_SIZE, b"\0")[:size]
        opened = self._cipher.open(header, request.record_number)
        if opened is None:
            raise Dropped(TxStatus.DROPPED_HEADER)
        offset = (seq - request.record_seq) & _SEQ
        if offset < size:
            return _Position(seq, request.record_number, header[:offset])
        taken = offset - size
        if taken >= opened.size:
            raise Dropped(TxStatus.DROPPED_SEQUENCE)
        return _Position(seq, request.record_number, record=_Record(opened, taken, blind=taken > 0))

    def _walk(self, position: _Position, payload: bytes, on_stream: bool) -> _Taken:
        """Take the bytes on `position`, which changes, `expected` excepted."""
        cipher = self._cipher
        out = _Taken(bytearray(payload))
        at = 0
        while at < len(payload):
            record = position.record
            if record is None:
                piece = payload[at : at + cipher.header_size - len(position.header)]
                position.header += piece
                at += len(piece)
                if not cipher.plausible(position.header):
                    raise Dropped(TxStatus.DROPPED_HEADER)
                if len(position.header) == cipher.header_size:
                    opened = cipher.open(position.header, position.number)
                    if opened is None:
                        raise Dropped(TxStatus.DROPPED_HEADER)
                    position.record = _Record(opened)
                    position.header = b""
                continue

            body = payload[at : at + min(record.remaining, max(record.body_size - record.taken, 0))]
            if body:
                out.payload[at : at + len(body)] = cipher.xor(record.opened.nonce, record.taken, body)
                if not record.blind:
                    record.plain += (body,)
                record.taken += len(body)
                at += len(body)
                continue

            count = min(record.remaining, len(payload) - at)
            tag = self._tag(position, record, on_stream)
            if tag is None:
                raise Dropped(TxStatus.DROPPED_TAG)
            start = record.taken - record.body_size
            out.payload[at : at + count] = tag[start : start + count]
            record.taken += count
            at += count
            if record.remaining == 0:
                out.tags.append(tag)
                position.record = None
                position.number = (position.number + 1) & _NUMBER
        return out

    # --- tags --------------------------------------------------------------------------------------
    def _tag(self, position: _Position, record: _Record, on_stream: bool) -> bytes | None:
        if not record.blind:
            return self._computed(record)
        if on_stream:
            return None
        stream = self._stream
        back = (stream.number - position.number) & _NUMBER
        if 1 <= back <= len(self._ring):
            return self._ring[-back]
        current = stream.record
        if back == 0 and current and not current.blind and current.remaining < TAG_SIZE:
            return self._computed(current)
        return None

    def _computed(self, record: _Record) -> bytes:
        opened = record.opened
        return self._cipher.aead.encrypt(opened.nonce, b"".join(record.plain), opened.aad)[-TAG_SIZE:]
