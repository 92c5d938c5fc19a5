"""The write queue of a TCP socket, as far as kTLS and a device's driver look at it."""

from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

from model.tls_records import Buffer


class Segment(NamedTuple):
    """What TCP hands to the device. `push` and `fin` are TCP flags."""

    seq: int
    payload: bytes
    push: bool
    fin: bool


class TcpSender:
    """Bytes between the application and the network. What is acknowledged is gone.

    Parameters
    ----------
    start_seq : int
        Sequence number of the first byte written.
    mss : int
        Payload bytes of a segment; may be changed at any time.

    Members
    -------
    write_seq, snd_nxt, snd_una : int
        Sequence numbers of the next byte to be written, sent for the first time, acknowledged.
    acked : list of callable (seq)
        Called with every advance of snd_una (the kernel's clean_acked).
    """

    def __init__(self, start_seq: int, mss: int = 1448) -> None:
        self.mss = mss
        self.acked: list[Callable[[int], None]] = []
        self._start_seq = start_seq
        # Stream offsets, not wrapped.
        self._una = self._nxt = self._write = 0
        self._offsets: list[int] = []
        self._buffers: list[Buffer] = []
        self._fences: list[int] = []
        self._fin = False
        self._fin_sent = False

    @property
    def write_seq(self) -> int:
        return self._seq(self._write)

    @property
    def snd_nxt(self) -> int:
        return self._seq(self._nxt)

    @property
    def snd_una(self) -> int:
        return self._seq(self._una)

    def write(self, *buffers: Buffer) -> None:
        if self._fin:
            raise ValueError("written behind the FIN")
        for buffer in buffers:
            if len(buffer):
                self._offsets.append(self._write)
                self._buffers.append(buffer)
                self._write += len(buffer)

    def fence(self) -> None:
        """What is written next starts a segment, also when it is sent again (TCP_SKB_CB(tail)->eor)."""
        if self._write > self._una and self._write not in self._fences:
            self._fences.append(self._write)

    def shutdown(self) -> None:
        """FIN behind what is written."""
        self._fin = True

    def transmit(self, limit: int | None = None, more: bool = False) -> list[Segment]:
        """Segments of what was not sent yet, at most `limit` bytes; with `more` a short last one waits."""
        end = self._write if limit is None else min(self._write, self._nxt + limit)
        segments = self._cut(self._nxt, end)
        if more and segments and end == self._write and len(segments[-1].payload) < self.mss:
            end -= len(segments.pop().payload)
        self._nxt = end
        if self._fin and not self._fin_sent and end == self._write:
            self._fin_sent = True
            if not segments:
                segments.append(Segment(self._seq(end), b"", push=False, fin=True))
        return segments

    def retransmit(self, start_seq: int | None = None, end_seq: int | None = None) -> list[Segment]:
        """What was sent and is not acknowledged, once more: all of it, or the given range, cut anew."""
        start = self._una if start_seq is None else self._offset(start_seq)
        end = self._nxt if end_seq is None else self._offset(end_seq)
        if not self._una <= start <= end <= self._nxt:
            raise ValueError(f"[{start_seq}, {end_seq}) is not wholly in flight")
        return self._cut(start, end)

    def ack(self, seq: int) -> None:
        offset = self._offset(seq)
        if offset == self._write + 1 and self._fin_sent:
            offset -= 1
        if not self._una < offset <= self._nxt:
            return
        self._una = offset
        keep = bisect_right(self._offsets, offset) - 1
        if offset == self._write:
            keep = len(self._offsets)
        del self._offsets[:keep], self._buffers[:keep]
        self._fences = [fence for fence in self._fences if fence > offset]
        for callback in self.acked:
            callback(seq)

    def data(self, start_seq: int, size: int) -> bytes:
        """Bytes in the queue, as they are now."""
        start = self._offset(start_seq)
        return self._data(start, start + size)

    # --- offsets -----------------------------------------------------------------------------------
    def _seq(self, offset: int) -> int:
        return (self._start_seq + offset) % 2**32

    def _offset(self, seq: int) -> int:
        distance = (seq - self._start_seq - self._una) % 2**32
        return self._una + distance - (2**32 if distance >= 2**31 else 0)

    def _cut(self, start: int, end: int) -> list[Segment]:
        out: list[Segment] = []
        while start < end:
            stop = min([start + self.mss, end, *(fence for fence in self._fences if fence > start)])
            last = stop == self._write
            out.append(Segment(self._seq(start), self._data(start, stop), push=last, fin=last and self._fin))
            start = stop
        return out

    def _data(self, start: int, end: int) -> bytes:
        out: list[Buffer] = []
        at = bisect_right(self._offsets, start) - 1
        while start < end:
            offset = start - self._offsets[at]
            piece = self._buffers[at][offset : offset + end - start]
            out.append(piece)
            start += len(piece)
            at += 1
        return b"".join(out)
