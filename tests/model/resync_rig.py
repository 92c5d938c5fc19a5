"""A connection through driver, golden device and stack, with everything the driver and the stack say to each other."""

from typing import Any

from driver.netdev import Direction, NetDevice, ResyncMode, Sock
from model.contract import Checksum, RxPolicy, Status
from model.device import GoldenDevice
from model.frame import parse
from model.ktls import KtlsReceiver
from model.tcp import TcpReceiver
from sim.traffic import TLS12, TLS13, Stream
from tests.model.rig import Rig, crypto_info


class NetRig(Rig):
    """`Rig` behind a driver. `netdev` may be shared; `acks`: the host acknowledges every packet at once."""

    def __init__(
        self,
        stream: Stream,
        policy: RxPolicy = RxPolicy.FULL,
        mode: ResyncMode = ResyncMode.SYNC,
        delay: int = 1,
        netdev: NetDevice | None = None,
        acks: bool = True,
    ) -> None:
        self.stream = stream
        self.netdev = netdev or NetDevice(GoldenDevice(4, policy=policy), resync_mode=mode, resync_delay=delay)
        self.info = crypto_info(stream)
        self.hw = KtlsReceiver(self.info, stream.start_seq, self._resync, keep=True)
        self.sw = KtlsReceiver(self.info, stream.start_seq, keep=True)
        t = stream.tuple4
        self.sk = Sock((t.remote_address, t.remote_port), (t.local_address, t.local_port), rx=self.hw)
        assert self.netdev.tls_dev_add(self.sk, Direction.RX, self.info, stream.start_seq) == 0
        self.told: list[tuple[int, int]] = []
        self.requests: list[int] = []
        self.sent, self.deliveries = [], []
        self._tcp = TcpReceiver(stream.start_seq)
        self._acks = acks

    def _resync(self, seq: int, number: int) -> None:
        self.told.append((seq, number))
        self.netdev.tls_dev_resync(self.sk, seq, number, Direction.RX)

    @property
    def state(self):
        state = self.netdev.tracker_state(self.sk)
        assert state is not None
        return state

    @property
    def resyncs(self):
        return self.netdev.resync[self.sk]

    def receive(self, frame: bytes) -> Status:
        up = self.netdev.receive(frame)
        self.sent.append(frame)
        assert up.descriptor
        self.deliveries.append(up)  # type: ignore[arg-type]  # frame and descriptor are all that is looked at
        if up.descriptor.request is not None:
            self.requests.append(up.descriptor.request)
        packet = parse(frame)
        if packet and packet.checksum is Checksum.GOOD:
            payload = frame[packet.payload : packet.end]
            self.sw.segment(packet.seq, payload)
            self.hw.segment(packet.seq, up.frame[packet.payload : packet.end], up.decrypted)
            self._tcp.segment(packet.seq, payload)
            if self._acks:
                self.netdev.acknowledge(self.sk, self._tcp.next_seq)
        return up.descriptor.status

    def numbered(self) -> dict[int, int]:
        """Number of the record whose header is at a place."""
        return {record.seq: record.number for record in self.stream.records}

    def expect_true_answers(self, last_byte: bool = False) -> None:
        """Whatever the stack told is so."""
        for seq, number in self.told:
            place = (seq - 4 * last_byte) % 2**32
            assert self.numbered().get(place, self.stream.next_number) == number

    def expect_true_answers_of_either_kind(self) -> None:
        """The same where the type of resynchronisation has changed on the way."""
        numbered = self.numbered() | {self.stream.next_seq: self.stream.next_number}
        for seq, number in self.told:
            assert number in (numbered.get(seq), numbered.get((seq - 4) % 2**32))


def frames_of(stream: Stream, mss: int = 700, **options: Any) -> list[bytes]:
    return stream.frames(stream.wire, mss=mss, **options)


STORM_CONNECTIONS = 256


def storm(netdev: NetDevice) -> list[NetRig]:
    """As many connections lose a record and more of each in one burst; what is lost comes late, for all in turn."""
    hole, beyond = 12, 5
    rigs: list[NetRig] = []
    frames: list[list[bytes]] = []
    for n in range(STORM_CONNECTIONS):
        stream = Stream((TLS12, TLS13)[n % 2], seed=1000 + n, start_seq=2**32 - 200 * (n + 1))
        stream.bulk([3000] * 4 + [1300 + n] * 19)
        rigs.append(NetRig(stream, netdev=netdev))
        frames.append(frames_of(stream, 1448))
    order = [
        0,
        *range(1 + hole, 1 + hole + beyond),
        *range(1, 1 + hole),
        *range(1 + hole + beyond, max(map(len, frames))),
    ]
    for at in order:
        for rig, of in zip(rigs, frames, strict=True):
            if at < len(of):
                rig.receive(of[at])
        if at == hole + beyond:
            lost = [rig.deliveries[-1].descriptor.status for rig in rigs]
            assert set(lost) <= {Status.OUT_OF_SYNC, Status.WAIT}
    return rigs
