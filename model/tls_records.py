"""The records of an offloaded socket that are not acknowledged: `struct tls_offload_context_tx` of Linux.

Names and rules are those of net/tls/tls_device.c.
"""

from collections import deque
from itertools import islice

from model.crypto_info import CryptoInfo

Buffer = bytes | memoryview
"""Record data is referred to, not copied: with zero copy, pages of a file that may change behind the socket."""

_SEQ = (1 << 32) - 1
_NUMBER = (1 << 64) - 1


def before(a: int, b: int) -> bool:
    """Sequence number a lies before b."""
    return (a - b) & _SEQ > 0x7FFFFFFF


class TlsRecordInfo:
    """`struct tls_record_info`: header, plaintext and the space for the tag, at its place in the stream.

    The start marker has no bytes: its `end_seq` is where offload starts.
    """

    def __init__(self, end_seq: int = 0, frags: tuple[Buffer, ...] = ()) -> None:
        self.end_seq = end_seq & _SEQ
        self.frags: list[Buffer] = list(frags)
        self.len = sum(len(frag) for frag in frags)

    @property
    def start_seq(self) -> int:
        """tls_record_start_seq."""
        return (self.end_seq - self.len) & _SEQ

    @property
    def is_start_marker(self) -> bool:
        """tls_record_is_start_marker."""
        return self.len == 0

    @property
    def data(self) -> bytes:
        return b"".join(self.frags)

    def append(self, frag: Buffer) -> None:
        """tls_append_frag."""
        self.frags.append(frag)
        self.len += len(frag)


class TlsOffloadContextTx:
    """List of records with its start marker.

    Parameters
    ----------
    info : CryptoInfo
    start_seq : int
        write_seq where offload starts: record `info.rec_seq` stands there.

    Members
    -------
    records_list : deque of TlsRecordInfo
    unacked_record_sn : int
        Number of the first record of the list; the start marker counts as the one before `info.rec_seq`.
    retransmit_hint : TlsRecordInfo or None
        Where the last lookup ended, `hint_record_sn` its number; moves forward only.
    """

    def __init__(self, info: CryptoInfo, start_seq: int) -> None:
        self.info = info
        self.records_list: deque[TlsRecordInfo] = deque([TlsRecordInfo(start_seq)])
        self.unacked_record_sn = (info.record_number - 1) & _NUMBER
        self.retransmit_hint: TlsRecordInfo | None = None
        self.hint_record_sn = 0

    def add(self, record: TlsRecordInfo) -> None:
        """A record is pushed: its place is behind all others."""
        self.records_list.append(record)

    def tls_get_record(self, seq: int) -> tuple[TlsRecordInfo, int] | None:
        """The record that holds `seq`, and its number.

        The start marker for every `seq` before it, while it is there. None: acknowledged, or not written yet.
        """
        record_sn = self.hint_record_sn
        start = self.retransmit_hint
        if start is None or before(seq, start.start_seq):
            if not self.records_list:
                return None
            start = self.records_list[0]
            if not start.is_start_marker:
                last = self.records_list[-1]
                if before(seq, start.start_seq) or before(last.end_seq, seq):
                    return None
            record_sn = self.unacked_record_sn
        at = self.records_list.index(start)
        for info in islice(self.records_list, at, None):
            if before(seq, info.end_seq):
                if self.retransmit_hint is None or before(self.retransmit_hint.end_seq, info.end_seq):
                    self.hint_record_sn = record_sn
                    self.retransmit_hint = info
                return info, record_sn
            record_sn = (record_sn + 1) & _NUMBER
        return None

    def tls_icsk_clean_acked(self, acked_seq: int) -> None:
        """The peer has everything before `acked_seq`: its records are released."""
        hint = self.retransmit_hint
        if hint and not before(acked_seq, hint.end_seq):
            self.retransmit_hint = None
        while self.records_list and not before(acked_seq, self.records_list[0].end_seq):
            self.records_list.popleft()
            self.unacked_record_sn = (self.unacked_record_sn + 1) & _NUMBER

    def delete_all_records(self) -> None:
        self.records_list.clear()
        self.retransmit_hint = None
