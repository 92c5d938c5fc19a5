"""A golden transmit device, and what the host gives it for a stream of `sim.traffic`."""

from typing import Any

from model.commands import Query, Read, Resync, TrackerState
from model.contract import READ_COUNTERS, TX_COUNTERS, Result, TxKind, TxStatus
from model.tx_commands import Sent, TxRequest
from model.tx_device import GoldenTxDevice
from sim.traffic import TLS12, Sealed, Stream

FILLER = b"\xde\xadTAG SPACE\0\0\0\xbe\xef"
KINDS = [(version, key_size) for version in (0x0303, 0x0304) for key_size in (16, 32)]


def prefix_size(stream: Stream) -> int:
    """Bytes of a record in front of its body."""
    return 13 if stream.version == TLS12 else 5


def plain_record(stream: Stream, record: Sealed) -> bytes:
    """The record as the host writes it: plaintext, and anything where the tag goes."""
    prefix = prefix_size(stream)
    body = len(record.wire) - prefix - 16
    plain = record.payload + (b"" if stream.version == TLS12 else bytes([record.content_type]))
    return record.wire[:prefix] + plain.ljust(body, b"\0") + FILLER


class TxRig:
    """One connection, installed at the stream's first record.

    Members
    -------
    wire, plain : bytes
        The stream as it must leave, and as the host writes it.
    """

    def __init__(self, stream: Stream, device: GoldenTxDevice | None = None) -> None:
        self.stream = stream
        self.device = device or GoldenTxDevice(connections=4)
        response = self.device.command(stream.add())
        assert response.result is Result.OK
        self.handle = response.handle
        self.wire = stream.wire
        self.plain = b"".join(plain_record(stream, record) for record in stream.records)
        self.starts = [(record.seq - stream.start_seq) % 2**32 for record in stream.records]

    @property
    def state(self) -> TrackerState:
        state = self.device.command(Query(self.handle)).state
        assert state is not None
        return state

    def counters(self) -> dict[str, int]:
        """The counters that are not zero, as READ gives them."""
        values = {n: self.device.command(Read(READ_COUNTERS + i)).value for i, n in enumerate(TX_COUNTERS)}
        assert values == self.device.counters
        return {name: value for name, value in values.items() if value}

    def at(self, offset: int) -> int:
        """Sequence number of a stream offset."""
        return (self.stream.start_seq + offset) % 2**32

    def record_of(self, offset: int) -> int:
        """Index of the record that holds a stream offset."""
        return max(i for i, start in enumerate(self.starts) if start <= offset)

    # --- requests ----------------------------------------------------------------------------------
    def request(self, kind: TxKind, record: int = 0, **options: Any) -> TxRequest:
        """`record`: index of the one that REPLAY and PREFIX name."""
        sealed = self.stream.records[record]
        values = dict(
            kind=kind,
            handle=self.handle,
            record_seq=sealed.seq,
            record_number=sealed.number,
            header=sealed.wire[: prefix_size(self.stream)],
        )
        return TxRequest(**(values | options))

    def frame(self, start: int, end: int, **options: Any) -> bytes:
        """Stream bytes [start, end) as the host writes them, without a right TCP checksum."""
        return self.stream.frame(self.at(start), self.plain[start:end], **({"bad_tcp": True} | options))

    def send(
        self, start: int, end: int, kind: TxKind = TxKind.STREAM, record: int | None = None, **options: Any
    ) -> Sent:
        """One frame; `record` is the one at `start` unless given."""
        record = self.record_of(start) if record is None else record
        (sent,) = self.device.transmit(self.frame(start, end), self.request(kind, record, **options))
        assert sent.handle == self.handle
        return sent

    def encrypts(self, start: int, end: int, kind: TxKind = TxKind.STREAM, record: int | None = None, **options: Any):
        """`send`, and what leaves is what TLS_SW would have sent, right to the checksum."""
        sent = self.send(start, end, kind, record, **options)
        assert sent.status is TxStatus.ENCRYPTED, (sent.status, start, end)
        assert sent.frame == self.stream.frame(self.at(start), self.wire[start:end]), (start, end)

    def drops(self, status: TxStatus, start: int, end: int, kind: TxKind = TxKind.STREAM, **options: Any) -> None:
        """`send`, and nothing leaves and nothing changes."""
        state = self.state
        sent = self.send(start, end, kind, **options)
        assert sent == Sent(None, status, self.handle), (start, end)
        assert self.state == state

    def replays(self, start: int, end: int, record: int | None = None) -> None:
        assert self.send(start, end, TxKind.REPLAY, record) == Sent(None, TxStatus.REPLAYED, self.handle)

    def resync(self, record: int) -> None:
        sealed = self.stream.records[record]
        assert self.device.command(Resync(self.handle, sealed.seq, sealed.number)).result is Result.OK
