"""What the driver knows of one connection's transmit direction: where the device stands, and which tags it holds.

The mirror of docs/contract-tx.md, sections 3 and 4: by it the driver never asks for what the device must drop. The
numbers of records come from the stack's record list, and only when a packet is out of order.
"""

from dataclasses import dataclass
from enum import Enum

from driver.sock import TlsSocket
from model.contract import EXPLICIT_NONCE_SIZE, HEADER_SIZE, TAG_RING, TAG_SIZE
from model.crypto_info import TLS_1_3_VERSION
from model.tls_records import TlsRecordInfo, before

_SEQ = (1 << 32) - 1
_NUMBER = (1 << 64) - 1


class TxResync(Enum):
    """How a packet out of order is encrypted (design, section 6)."""

    REBUILD = "rebuild"
    """The record's preceding bytes go to the device again."""
    NEXT_RECORD = "next-record"
    """Software encrypts it; the device takes up a record that begins later."""
    PREFIX = "prefix"
    """The device starts in the middle of the record; rebuild where it would need a tag it does not hold."""


@dataclass(frozen=True, slots=True)
class Place:
    """Sequence number in a record: `offset` bytes of it lie in front."""

    record: TlsRecordInfo
    number: int
    seq: int

    @property
    def offset(self) -> int:
        return (self.seq - self.record.start_seq) & _SEQ

    @property
    def remaining(self) -> int:
        return (self.record.end_seq - self.seq) & _SEQ


@dataclass
class TxContext:
    """One connection on the device.

    Members
    -------
    expected_seq : int
        Where the device's `stream` stands. It is never blind here.
    tags_from : int
        Number of the first record whose tag went into the ring since it was last emptied; with none yet, the number of
        the record at `expected_seq`.
    replay_seq : int or None
        Where the device's `replay` stands; None: not known.
    replay_blind : bool
        The device has seen the record at `replay_seq` from its middle on only.
    """

    handle: int
    version: int
    resync: TxResync
    expected_seq: int
    tags_from: int
    replay_seq: int | None = None
    replay_blind: bool = False

    @property
    def prepend_size(self) -> int:
        return HEADER_SIZE + (0 if self.version == TLS_1_3_VERSION else EXPLICIT_NONCE_SIZE)

    # --- what the device can do --------------------------------------------------------------------
    def blind(self, place: Place) -> bool:
        """Whether a PREFIX there leaves the device without the beginning of the record's body."""
        return place.offset > self.prepend_size

    def continues(self, place: Place, end_seq: int, tls: TlsSocket) -> bool:
        """Whether RETRANSMIT up to `end_seq` goes on where the last one ended."""
        if place.seq != self.replay_seq:
            return False
        return not self.replay_blind or self._holds(place, end_seq, tls)

    def prefix_suffices(self, place: Place, end_seq: int, tls: TlsSocket) -> bool:
        """Whether a PREFIX there can go up to `end_seq`."""
        return not self.blind(place) or self._holds(place, end_seq, tls)

    def _holds(self, place: Place, end_seq: int, tls: TlsSocket) -> bool:
        """Whether no tag byte of the record at `place` comes before `end_seq`, or the device holds the tag."""
        return not before(place.record.end_seq - TAG_SIZE & _SEQ, end_seq) or self._in_ring(place.number, tls)

    def _in_ring(self, number: int, tls: TlsSocket) -> bool:
        stream = number_before(self.expected_seq, tls)
        if stream is None:
            return False
        at, remaining = stream
        back = (at - number) & _NUMBER
        if back == 0:
            return 0 < remaining < TAG_SIZE
        return back <= min(TAG_RING, (at - self.tags_from) & _NUMBER)

    # --- what it has done --------------------------------------------------------------------------
    def streamed(self, end_seq: int) -> None:
        self.expected_seq = end_seq

    def retransmitted(self, end_seq: int, blind: bool) -> None:
        self.replay_seq, self.replay_blind = end_seq, blind

    def adopted(self, end_seq: int, tls: TlsSocket) -> None:
        """`stream` was set to where the retransmission ended, and the ring is empty."""
        self.expected_seq = end_seq
        at = number_before(end_seq, tls)
        assert at is not None
        self.tags_from = at[0]

    def resynchronised(self, seq: int, number: int) -> None:
        self.expected_seq, self.tags_from = seq, number


def number_before(seq: int, tls: TlsSocket) -> tuple[int, int] | None:
    """Number of the record in progress or next at `seq`, and its bytes still to come (0: next).

    Found by the byte in front of `seq`: what stands at `seq` may not be written yet.
    """
    found = tls.tls_get_record((seq - 1) & _SEQ)
    if found is None:
        return None
    record, number = found
    remaining = (record.end_seq - seq) & _SEQ
    return (number, remaining) if remaining else ((number + 1) & _NUMBER, 0)
