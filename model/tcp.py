"""The receive queue of a TCP socket, as far as kTLS looks at it."""

from bisect import bisect_right
from collections import deque
from typing import NamedTuple


class Piece(NamedTuple):
    """Bytes of the stream that came in one segment, and whether the device marked that segment."""

    data: bytes
    decrypted: bool


class TcpReceiver:
    """Puts segments in order. The first copy of a byte wins; segments are never coalesced.

    Parameters
    ----------
    start_seq : int
        Sequence number of the first byte wanted. What lies before it was read already.

    Members
    -------
    queued : int
        Bytes in order and not taken yet (the kernel's tcp_inq).
    read_seq : int
        Sequence number of the first of them (copied_seq).
    eof : bool
        All bytes in front of the FIN have come.
    """

    def __init__(self, start_seq: int) -> None:
        self._start_seq = start_seq
        self._read = 0  # stream offsets, not wrapped: of the first byte queued
        self._next = 0  # and of the next one wanted
        self._fin: int | None = None
        self._queue: deque[Piece] = deque()
        self._early: list[tuple[int, Piece]] = []  # beyond a gap: disjoint, sorted by offset

    @property
    def queued(self) -> int:
        return self._next - self._read

    @property
    def read_seq(self) -> int:
        return (self._start_seq + self._read) % 2**32

    @property
    def next_seq(self) -> int:
        return (self._start_seq + self._next) % 2**32

    @property
    def eof(self) -> bool:
        return self._fin is not None and self._next >= self._fin

    def segment(self, seq: int, payload: bytes, decrypted: bool = False, fin: bool = False) -> None:
        """A segment whose checksum is right."""
        distance = (seq - self._start_seq - self._next) % 2**32
        offset = self._next + distance - (2**32 if distance >= 2**31 else 0)
        if fin and self._fin is None:
            self._fin = offset + len(payload)
        if self._fin is not None:
            payload = payload[: max(self._fin - offset, 0)]
        if offset < self._next:
            payload = payload[self._next - offset :]
            offset = self._next
        if not payload:
            return
        if not self._early and offset == self._next:
            self._append(Piece(payload, decrypted))
            return
        self._insert(offset, payload, decrypted)
        while self._early and self._early[0][0] == self._next:
            self._append(self._early.pop(0)[1])

    def _append(self, piece: Piece) -> None:
        self._queue.append(piece)
        self._next += len(piece.data)

    def _insert(self, offset: int, payload: bytes, decrypted: bool) -> None:
        """Put what is new of a segment among the early pieces."""
        at = bisect_right(self._early, offset, key=lambda entry: entry[0])
        if at:
            before, piece = self._early[at - 1]
            overlap = max(before + len(piece.data) - offset, 0)
            offset, payload = offset + overlap, payload[overlap:]
        while payload:
            room = len(payload)
            if at < len(self._early):
                room = min(room, self._early[at][0] - offset)
            if room:
                self._early.insert(at, (offset, Piece(payload[:room], decrypted)))
                at += 1
            if at == len(self._early):
                break
            following = self._early[at]
            skip = following[0] + len(following[1].data) - offset
            offset, payload = offset + skip, payload[skip:]
            at += 1

    def peek(self, size: int) -> bytes:
        """The first `size` bytes queued, which must be there."""
        first = self._queue[0].data
        if len(first) >= size:
            return first[:size]
        out = b""
        for piece in self._queue:
            out += piece.data[: size - len(out)]
            if len(out) == size:
                break
        return out

    def take(self, size: int) -> list[Piece]:
        """Consume the first `size` bytes queued, which must be there."""
        out: list[Piece] = []
        self._read += size
        while size:
            piece = self._queue.popleft()
            if len(piece.data) > size:
                self._queue.appendleft(Piece(piece.data[size:], piece.decrypted))
                piece = Piece(piece.data[:size], piece.decrypted)
            out.append(piece)
            size -= len(piece.data)
        return out
