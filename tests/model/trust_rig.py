"""One connection under attack: device, driver, TCP and kTLS stack, and the software path beside them as the judge."""

from typing import Any

from driver.netdev import Direction, NetDevice, ResyncMode, Sock
from model.commands import Delivery, Resync, TrackerState
from model.contract import Checksum, Result, RxPolicy, Status
from model.device import GoldenDevice
from model.frame import parse
from model.ktls import Handling, KtlsReceiver, RecordLog
from model.tcp import TcpReceiver
from sim.traffic import Stream
from tests.model.overload import places
from tests.model.rig import crypto_info

SENT = 1
"""The host has sent nothing: the only acknowledgement number its TCP takes."""
REFUSED = {"ack": 0x80000000}
"""Options of a frame that acknowledges what was never sent: TCP drops it, behind the device."""


def accepted(frame: bytes, tcp: int) -> bool:
    """Whether TCP takes a segment whose checksum is right (RFC 9293, section 3.10.7.4: acknowledgement in range)."""
    return int.from_bytes(frame[tcp + 8 : tcp + 12], "big") == SENT


class Loaded(GoldenDevice):
    """`gives_up`: at which of the places where it may give a packet up it does."""

    @staticmethod
    def gives_up(places: list[int]) -> int | None:
        return None

    def receive(self, frame: bytes, given_up_at: int | None = None) -> Delivery:
        packet = parse(frame)
        if packet and packet.candidate and packet.checksum is not Checksum.BAD and given_up_at is None:
            if found := self._table.by_key.get(packet.key):
                given_up_at = self.gives_up(places(found[1], packet.seq, frame[packet.payload : packet.end]))
        return super().receive(frame, given_up_at)


class TrustRig:
    """Each packet passes the device, then the driver, then TCP takes or refuses it, then the stack reads.

    Parameters
    ----------
    stream : Stream
        The sender's records.
    policy : RxPolicy
    mode : ResyncMode or None
        How requests of the device reach the stack. None: the stack never answers, nor gives a hint.
    acks : bool
        TCP acknowledges after every packet; else only `acknowledge` does.

    Members
    -------
    aborted : bool
        The driver has aborted the connection. Nothing is delivered any more.
    """

    def __init__(
        self,
        stream: Stream,
        policy: RxPolicy,
        mode: ResyncMode | None = ResyncMode.SYNC,
        acks: bool = True,
    ) -> None:
        self.stream = stream
        self.device = Loaded(connections=2, policy=policy)
        self.netdev = NetDevice(self.device, resync_mode=mode or ResyncMode.SYNC)
        t = stream.tuple4
        self.sk = Sock((t.remote_address, t.remote_port), (t.local_address, t.local_port), abort=self._abort)
        self.aborted = False
        self._acks = acks and policy is not RxPolicy.PUBLISHED
        info = crypto_info(stream)
        self.hw = self.sk.rx = KtlsReceiver(info, stream.start_seq, keep=True)
        assert self.netdev.tls_dev_add(self.sk, Direction.RX, info, stream.start_seq) == 0
        if mode:
            self.hw.set_device(self.resync)
        self.sw = KtlsReceiver(info, stream.start_seq, keep=True)
        self.tcp = TcpReceiver(stream.start_seq)
        self.statuses: list[Status] = []

    def _abort(self, error: int) -> None:
        self.aborted = True

    def resync(self, seq: int, number: int) -> None:
        """The stack's answer or hint, to the driver."""
        self.netdev.tls_dev_resync(self.sk, seq, number, Direction.RX)

    @property
    def state(self) -> TrackerState:
        state = self.netdev.tracker_state(self.sk)
        assert state is not None
        return state

    # --- what happens ------------------------------------------------------------------------------
    def receive(self, frame: bytes) -> Status | None:
        """A frame from the wire; its status, None once the connection is aborted."""
        if self.aborted:
            return None
        up = self.netdev.receive(frame)
        descriptor = up.descriptor
        assert descriptor is not None
        self.statuses.append(descriptor.status)
        if self.aborted:
            return descriptor.status
        packet = parse(up.frame)
        if packet is None:
            return descriptor.status
        if not accepted(up.frame, packet.tcp):
            return descriptor.status
        good = packet.checksum is Checksum.GOOD or descriptor.decrypted
        payload = up.frame[packet.payload : packet.end]
        self.sw.segment(packet.seq, frame[packet.payload : packet.end], checksum_good=good)
        self.hw.segment(packet.seq, payload, descriptor.decrypted, checksum_good=good)
        if good:
            self.tcp.segment(packet.seq, payload)
            if self._acks:
                self.acknowledge()
        return descriptor.status

    def place(self, at: int, number: int) -> Result:
        """To the device, as from the stack: record `number` begins at byte `at` of the wire."""
        first = 0  # handle of the device's only connection
        return self.device.command(Resync(first, (self.stream.start_seq + at) % 2**32, number)).result

    def acknowledge(self, behind: int = 0) -> None:
        """TCP acknowledges what it has, or all but the last `behind` bytes of it."""
        self.netdev.acknowledge(self.sk, (self.tcp.next_seq - behind) % 2**32)

    def put(self, place: int, payload: bytes, **options: Any) -> Status | None:
        """A segment of these bytes at a place of the wire, counted from the first record's header."""
        return self.receive(self.stream.frame(self.stream.start_seq + place, payload, **options))

    def wire(self, start: int, end: int, **options: Any) -> Status | None:
        """The sender's bytes [start, end)."""
        return self.put(start, self.stream.wire[start:end], **options)

    def unseen(self, start: int, end: int) -> None:
        """The sender's bytes reach TCP past the device."""
        seq = (self.stream.start_seq + start) % 2**32
        for stack in (self.sw, self.hw):
            stack.segment(seq, self.stream.wire[start:end])

    # --- what must hold ----------------------------------------------------------------------------
    @property
    def taken_on_trust(self) -> list[RecordLog]:
        return [r for r in self.hw.records if r.handling is Handling.OFFLOADED]

    def judge(self) -> None:
        """The stack reads what software reads, or the connection was aborted; and never more than that."""
        sw, hw = self.sw, self.hw
        read = [(r.number, r.seq, r.length, r.content_type, r.explicit_nonce) for r in sw.records if r.error is None]
        for log in self.taken_on_trust:
            assert (log.number, log.seq, log.length, log.content_type, log.explicit_nonce) in read, log
        assert sw.application.data.startswith(hw.application.data)
        assert self.stream.application.startswith(sw.application.data)
        if self.aborted:
            assert Status.CONFLICT in self.statuses
            return
        assert hw.error == sw.error, (hw.reason, sw.reason)
        assert hw.application.data == sw.application.data
        assert hw.control == sw.control
        assert [(r.number, r.seq, r.length) for r in hw.records] == [(r.number, r.seq, r.length) for r in sw.records]

    def honest(self) -> None:
        """Nobody forged anything: the device has no complaint, and everything arrives."""
        self.judge()
        assert not {Status.CONFLICT, Status.CLOSED, Status.AUTH_FAILED, Status.BAD_HEADER} & set(self.statuses)
        assert self.hw.error is None, self.hw.reason
        assert self.hw.application.data == self.stream.application
