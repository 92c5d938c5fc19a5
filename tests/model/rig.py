"""A golden device, the kTLS stack behind it, and the software path beside it."""

from collections.abc import Iterable
from typing import Any

from model.commands import Delivery, Resync, TrackerState
from model.commands import Query as QueryCommand
from model.contract import Checksum, Result, RxPolicy, Status
from model.crypto_info import CryptoInfo
from model.device import GoldenDevice
from model.frame import parse
from model.ktls import Handling, KtlsReceiver, RecordLog
from model.reencrypt import Reencryptor
from sim.traffic import TLS12, Stream


def crypto_info(stream: Stream) -> CryptoInfo:
    return CryptoInfo(stream.version, stream.key, stream.salt, stream.iv, stream.record_number.to_bytes(8, "big"))


def truth(stream: Stream) -> list[RecordLog]:
    """The sender's records in the form of the stack's log."""
    return [
        RecordLog(
            r.number,
            r.seq,
            len(r.wire),
            r.content_type,
            Handling.OFFLOADED,
            r.nonce[4:] if stream.version == TLS12 else b"",
        )
        for r in stream.records
    ]


class Rig:
    """One connection, installed at the stream's first record.

    `hints`: the stack's next-record hints go to the device; `answers` are its results.
    """

    def __init__(self, stream: Stream, device: GoldenDevice | None = None, hints: bool = True) -> None:
        self.stream = stream
        self.device = device or GoldenDevice(connections=4, policy=RxPolicy.PUBLISHED)
        response = self.device.command(stream.add())
        assert response.result is Result.OK
        self.handle = response.handle
        self.answers: list[Result] = []
        info = crypto_info(stream)
        self.info = info
        self.hw = KtlsReceiver(info, stream.start_seq, self.resync if hints else None, keep=True)
        self.sw = KtlsReceiver(info, stream.start_seq, keep=True)
        self.sent: list[bytes] = []
        self.deliveries: list[Delivery] = []

    def resync(self, seq: int, number: int) -> Result:
        result = self.device.command(Resync(self.handle, seq, number)).result
        self.answers.append(result)
        return result

    @property
    def state(self) -> TrackerState:
        state = self.device.command(QueryCommand(self.handle)).state
        assert state is not None
        return state

    def receive(self, frame: bytes) -> Status:
        delivery = self.device.receive(frame)
        self.sent.append(frame)
        self.deliveries.append(delivery)
        for stack, seen in ((self.sw, frame), (self.hw, delivery.frame)):
            packet = parse(seen)
            if packet:
                stack.segment(
                    packet.seq,
                    seen[packet.payload : packet.end],
                    decrypted=stack is self.hw and delivery.descriptor.decrypted,
                    fin=packet.fin,
                    checksum_good=packet.checksum is Checksum.GOOD or self._only_checksum_is_changed(delivery),
                )
        return delivery.descriptor.status

    def _only_checksum_is_changed(self, delivery: Delivery) -> bool:
        # A decrypted frame bears the checksum of the wire; the descriptor vouches for it.
        return delivery.descriptor.decrypted and delivery.descriptor.checksum is Checksum.GOOD

    def segment(self, start: int, end: int, **options: Any) -> Status:
        """Deliver bytes [start, end) of the stream's wire as one frame."""
        stream = self.stream
        return self.receive(stream.frame(stream.start_seq + start, stream.wire[start:end], **options))

    def all(self, frames: Iterable[bytes]) -> list[Status]:
        return [self.receive(frame) for frame in frames]

    def check(self) -> None:
        """What must hold for every input; see docs/contract.md and the design's section 2."""
        assert self.hw.error == self.sw.error, (self.hw.reason, self.sw.reason)
        assert self.hw.application.data == self.sw.application.data
        assert self.hw.control == self.sw.control
        assert [(r.number, r.seq, r.length) for r in self.hw.records] == [
            (r.number, r.seq, r.length) for r in self.sw.records
        ]
        self.check_frames(self.hw.records, partial=True)

    def check_frames(self, records: list[RecordLog], partial: bool = False) -> None:
        """Raw frames are the wire's, decrypted ones are so once encrypted again by `records`.

        `partial`: frames that reach outside `records` are let pass.
        """
        reencryptor = Reencryptor(self.info, records)
        for sent, delivery in zip(self.sent, self.deliveries, strict=True):
            if not delivery.descriptor.decrypted:
                assert delivery.frame == sent
                continue
            try:
                assert reencryptor.frame(delivery.frame) == sent
            except LookupError:
                assert partial

    def expect_everything(self) -> None:
        """The sender's bytes arrived, by either path, and the device kept to its rules."""
        self.check()
        assert self.hw.error is None, self.hw.reason
        assert self.hw.application.data == self.stream.application
        assert [c for c in self.hw.control] == [
            (r.content_type, r.payload) for r in self.stream.records if r.content_type != 23
        ]
        self.check_frames(truth(self.stream))
