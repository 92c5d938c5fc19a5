"""One connection of the golden device: the rules of docs/contract.md, section 3.

Records are decided with AESGCM of `cryptography` on their assembled ciphertext, ranges of them decrypted with
AES-CTR: the hardware's sums are checked by other means than its own.
"""

from typing import NamedTuple

from cryptography.exceptions import InvalidTag

from model.commands import Add, Resync, TrackerState
from model.contract import MAX_RECORD, TAG_SIZE, Status
from model.record import RecordCipher

_SEQ = (1 << 32) - 1
_NUMBER = (1 << 64) - 1


def seq_diff(a: int, b: int) -> int:
    """a - b as a signed number of 32 bits: negative if a is before b, positive if past it."""
    return ((a - b + 0x80000000) & _SEQ) - 0x80000000


class Taken(NamedTuple):
    """What becomes of a packet: `payload` if it is DECRYPTED; `request`: place of a header to ask the host about;
    `proven`: a chain of headers has proved itself. `given_up_at`: see `model.commands.Descriptor`."""

    status: Status
    payload: bytes | None = None
    request: int | None = None
    proven: bool = False
    given_up_at: int | None = None


class _Record:
    """A record whose header has been taken: its ciphertext and tag, as they are taken."""

    __slots__ = ("aad", "body_size", "nonce", "number", "parts", "size", "taken")

    def __init__(self, number: int, nonce: bytes, aad: bytes, size: int) -> None:
        self.number = number
        self.nonce = nonce
        self.aad = aad
        self.size = size  # body and tag
        self.body_size = size - TAG_SIZE
        self.taken = 0
        self.parts: list[bytes] = []


class _Portion(NamedTuple):
    """Body bytes of a record in a packet: `length` at payload offset `at`, from body offset `start` on."""

    nonce: bytes
    start: int
    at: int
    length: int


class _Search:
    """What of a stream out of sync has been found that looks like record headers.

    Members
    -------
    guess : int or None
        Where the chain of headers begins that is tracked; `count` records of it have ended, of the one in progress
        `remaining` bytes are to come, or `header` has come.
    touched : bool
        There was a chain: the rest counts for it.
    """

    def __init__(self, cipher: RecordCipher) -> None:
        self._cipher = cipher
        self._tail = b""
        self.guess: int | None = None
        self.touched = False
        self.count = 0
        self.header = b""
        self.remaining = 0

    def pass_by(self) -> None:
        """Bytes pass that nobody looks at."""
        self._chain(None)
        self._tail = b""

    def _chain(self, guess: int | None, header: bytes = b"") -> None:
        self.touched |= guess is not None
        self.guess = guess
        self.header = header
        self.count = self.remaining = 0

    def take_in(self, place: int, payload: bytes, leap: int) -> int | None:
        """The bytes from `place` on are new, `leap` bytes past those before; the place to ask the host about."""
        if leap:
            self._tail = b""
            if leap < self.remaining:
                self.remaining -= leap
            else:
                self._chain(None)
        at = self._search(place, payload, 0) if self.guess is None else 0
        request: int | None = None
        first: int | None = None
        while at < len(payload):
            if self.remaining:
                step = min(self.remaining, len(payload) - at)
                at += step
                self.remaining -= step
                if not self.remaining:
                    self.count += 1
                    self.header = b""
                continue
            if not self.header:
                first = at
            piece = payload[at : at + self._cipher.header_size - len(self.header)]
            self.header += piece
            at += len(piece)
            if len(self.header) < self._cipher.header_size:
                break
            opened = self._cipher.open(self.header, 0)
            if opened:
                self.remaining = opened.size
                request = request if self.count else self.guess
                continue
            self.pass_by()
            request = None
            at = self._search(place, payload, 0 if first is None else first + 1)
        self._tail = payload[-4:] if self.guess is None and len(payload) >= 4 else b""
        return request

    def _search(self, place: int, payload: bytes, first: int) -> int:
        """Begin a chain at the first thing that looks like a header; where in the payload to go on."""
        tail = self._tail
        n = self._cipher.find(tail + payload, first)
        if n is None:
            return len(payload)
        self._chain((place - len(tail) + n) & _SEQ, tail[n:])
        return max(n - len(tail), 0)


class _Walk:
    """What taking a packet's bytes comes to, before it is known whether the state may change."""

    __slots__ = ("complete", "header", "number", "portions", "record", "tail")

    def __init__(self, number: int, header: bytes, record: _Record | None) -> None:
        self.number = number
        self.header = header
        self.record = record
        self.portions: list[_Portion] = []
        self.complete: list[tuple[_Record, bytes]] = []
        """Records that end here, and their bytes in this packet."""
        self.tail = b""
        """Bytes in this packet of `record`, which goes on."""


def part_of(seq: int, payload: bytes, given_up_at: int) -> bytes:
    """What the device looked at of a packet that it gave up.

    Raises
    ------
    ValueError
        The packet does not have that place.
    """
    size = (given_up_at - seq) & _SEQ
    if size >= len(payload):
        raise ValueError(f"given up at {given_up_at}, not in the packet at {seq} of {len(payload)} bytes")
    return payload[:size]


class Connection:
    """Keys and tracker of one connection.

    Members
    -------
    take_in(seq, payload, given_up_at=None) -> Taken
        A packet with a good checksum: its status and, if DECRYPTED, the payload the host gets. `given_up_at`: from
        there on, in sequence, the device did not look at it if it is in order, or news out of sync.
    """

    def __init__(self, add: Add) -> None:
        self._cipher = RecordCipher(add.version, add.key, add.salt, add.iv)
        self._prefix = self._cipher.header_size

        self.expected = add.start_seq & _SEQ
        self.seen = self.expected
        self.number = add.record_number
        self.skipping = True
        self.out_of_sync = False
        self._header = b""
        self._record: _Record | None = None
        self._search = _Search(self._cipher)

    # --- commands ----------------------------------------------------------------------------------
    @property
    def remaining(self) -> int:
        record = self._record
        return record.size - record.taken if record else 0

    def state(self) -> TrackerState:
        search = self._search
        number, remaining, header = self.number, self.remaining, self._header
        if search.touched:
            number, remaining, header = search.count, search.remaining, b"" if search.remaining else search.header
        return TrackerState(
            expected_seq=self.expected,
            seen_seq=self.seen,
            record_number=number,
            remaining=remaining,
            header_count=len(header),
            out_of_sync=self.out_of_sync,
            skipping=self.skipping,
        )

    def resync(self, command: Resync) -> bool:
        """Whether the command was obeyed; False: IGNORED."""
        search = self._search
        if self.out_of_sync and search.guess == command.seq & _SEQ:
            inside = search.remaining > 0
            number = command.record_number + search.count + inside
            self._stand_before((self.seen + search.remaining) & _SEQ, number & _NUMBER)
            self._header = b"" if inside else search.header
            self.out_of_sync = False
            return True
        behind = self.out_of_sync or seq_diff(self.seen, self.expected) > 0
        if not behind or seq_diff(command.seq, self.seen) < 0:
            return False
        self._stand_before(command.seq & _SEQ, command.record_number)
        self.out_of_sync = False
        return True

    def acknowledge(self, ack: int) -> None:
        raise NotImplementedError("the published rules do not look at acknowledgements")

    def _stand_before(self, seq: int, number: int) -> None:
        """Look for the header of record `number` at `seq`."""
        self.expected = seq
        self.number = number
        self.skipping = True
        self._header = b""
        self._record = None
        self._search = _Search(self._cipher)

    # --- packets -----------------------------------------------------------------------------------
    def take_in(self, seq: int, payload: bytes, given_up_at: int | None = None) -> Taken:
        end = (seq + len(payload)) & _SEQ
        leap = seq_diff(seq, self.seen)
        news = seq_diff(end, self.seen) > 0
        if news:
            self.seen = end
        if self.out_of_sync:
            request: int | None = None
            if news and given_up_at is not None:
                self._search.pass_by()
                return Taken(Status.OVERLOAD, given_up_at=seq)
            if news:
                skipped = max(-leap, 0)
                request = self._search.take_in((seq + skipped) & _SEQ, payload[skipped:], max(leap, 0))
            return Taken(Status.OUT_OF_SYNC, request=request)
        ahead = seq_diff(seq, self.expected)
        if ahead == 0:
            return self._take_whole(seq, payload, end, given_up_at)
        if ahead < 0:
            if not self.skipping:
                return Taken(Status.RETRANSMISSION)
            if seq_diff(end, self.expected) > 0:
                return self._take(payload, -ahead, end)
            return Taken(Status.GAP)
        if self._record:
            next_header = (self.expected + self.remaining) & _SEQ
            ahead = seq_diff(seq, next_header)
            if ahead <= 0:
                self._stand_before(next_header, (self.number + 1) & _NUMBER)
                if ahead == 0:
                    return self._take_whole(seq, payload, end, given_up_at)
                if seq_diff(end, next_header) > 0:
                    return self._take(payload, -ahead, end)
                return Taken(Status.GAP)
        if (end - self.expected) & _SEQ > MAX_RECORD:
            self.out_of_sync = True
            return Taken(Status.OUT_OF_SYNC)
        return Taken(Status.WAIT)

    def _take_whole(self, seq: int, payload: bytes, end: int, given_up_at: int | None) -> Taken:
        """Take all bytes, or those in front of the place where the packet was given up."""
        if given_up_at is None:
            return self._take(payload, 0, end)
        self._take(part_of(seq, payload, given_up_at), 0, given_up_at)
        if self.out_of_sync or self._record or self._header:
            raise ValueError(f"given up at {given_up_at}, where no record begins")
        return Taken(Status.OVERLOAD, given_up_at=given_up_at)

    def _take(self, payload: bytes, start: int, end: int) -> Taken:
        """Take the bytes from `start` on; a start other than 0 makes the packet partial."""
        walk = self._walk(payload, start)
        if walk is None:
            self.out_of_sync = True
            return Taken(Status.BAD_HEADER)
        self.skipping = False
        self.expected = end
        self.number = walk.number
        self._header = walk.header
        failed = False
        for record, last in walk.complete:
            failed |= not self._authentic(record, last)
        self._record = walk.record
        if walk.record and walk.tail:
            walk.record.parts.append(walk.tail)
            walk.record.taken += len(walk.tail)
        if failed:
            return Taken(Status.AUTH_FAILED)
        if start:
            return Taken(Status.GAP)
        return Taken(Status.DECRYPTED, self._decrypted(payload, walk.portions))

    def _walk(self, payload: bytes, position: int) -> _Walk | None:
        """Delineate the records from payload offset `position` on; None at a bad header. Changes nothing."""
        walk = _Walk(self.number, self._header, self._record)
        size = len(payload)
        while position < size:
            if walk.record is None:
                piece = payload[position : position + self._prefix - len(walk.header)]
                walk.header += piece
                position += len(piece)
                if len(walk.header) < self._prefix:
                    break
                walk.record = self._open(walk.header, walk.number)
                if walk.record is None:
                    return None
                walk.header = b""
                continue
            record = walk.record
            piece = payload[position : position + record.size - record.taken]
            body = min(len(piece), record.body_size - record.taken)
            if body > 0:
                walk.portions.append(_Portion(record.nonce, record.taken, position, body))
            position += len(piece)
            if record.taken + len(piece) < record.size:
                walk.tail = piece
                break
            walk.complete.append((record, piece))
            walk.record = None
            walk.number = (walk.number + 1) & _NUMBER
        return walk

    def _open(self, header: bytes, number: int) -> _Record | None:
        """The record of a complete header; None if the header is bad."""
        opened = self._cipher.open(header, number)
        return _Record(number, *opened) if opened else None

    def _authentic(self, record: _Record, last: bytes) -> bool:
        try:
            self._cipher.aead.decrypt(record.nonce, b"".join(record.parts) + last, record.aad)
        except InvalidTag:
            return False
        return True

    def _decrypted(self, payload: bytes, portions: list[_Portion]) -> bytes:
        out: list[bytes] = []
        done = 0
        for nonce, start, at, length in portions:
            out.append(payload[done:at])
            out.append(self._cipher.xor(nonce, start, payload[at : at + length]))
            done = at + length
        out.append(payload[done:])
        return b"".join(out)
