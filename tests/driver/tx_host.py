"""A socket of the kernel's transmit side over the driver and a golden device, and what software would have sent."""

import random
from dataclasses import dataclass, field

from driver.sock import Sock
from driver.transmit import TransmitSide, Transmitted, Way
from driver.tx_context import TxResync
from model.commands import Command, Response, Tuple4
from model.contract import TxKind
from model.crypto_info import CryptoInfo
from model.ktls_tx import KtlsSender, TxConf
from model.tcp_tx import Segment, TcpSender
from model.tx_commands import Sent, TxRequest
from model.tx_device import GoldenTxDevice
from sim.traffic import ACK, FIN, PSH, tcp_frame

FILLER = b"TAG SPACE FILLER"
MECHANISMS = list(TxResync)
ON_DEVICE = (TxResync.REBUILD, TxResync.PREFIX)


@dataclass
class Spy:
    """A device that keeps the requests it was given."""

    device: GoldenTxDevice = field(default_factory=lambda: GoldenTxDevice(connections=8))
    requests: list[TxRequest] = field(default_factory=list)

    def command(self, command: Command) -> Response:
        return self.device.command(command)

    def transmit(self, frame: bytes, request: TxRequest) -> list[Sent]:
        self.requests.append(request)
        return self.device.transmit(frame, request)

    def kinds(self) -> list[TxKind]:
        """Of the frames since the last call."""
        kinds = [r.kind for r in self.requests]
        self.requests.clear()
        return kinds


class TxHost:
    """One offloaded socket, and its twin in software, which is never acknowledged and so remembers all of the wire.

    Members
    -------
    side : TransmitSide
    sk : Sock
    sender : KtlsSender
    refused : int
        Packets that the device is to have dropped.
    """

    def __init__(
        self,
        resync: TxResync = TxResync.PREFIX,
        version: int = 0x0304,
        key_size: int = 16,
        seed: int = 1,
        start_seq: int = 2**32 - 3000,
        mss: int = 1000,
        before: bytes = b"",
        record_number: int = 0,
        ipv6: bool = False,
        side: TransmitSide | None = None,
    ) -> None:
        rng = random.Random(seed)
        self.refused = 0
        self.info = CryptoInfo(
            version, rng.randbytes(key_size), rng.randbytes(4), rng.randbytes(8), record_number.to_bytes(8, "big")
        )
        size = 16 if ipv6 else 4
        self.tuple4 = Tuple4(rng.randbytes(size), rng.randrange(1, 65536), rng.randbytes(size), 443)
        self.spy = Spy()
        self.side = side or TransmitSide(self.spy, resync)
        self.side.resync = resync
        # what this host sends is what `remote` of the tuple sends
        t = self.tuple4
        self.sk = Sock((t.local_address, t.local_port), (t.remote_address, t.remote_port))
        self.senders: list[KtlsSender] = []
        for netdev in (self.side.ops(self.sk), None):
            tcp = TcpSender(start_seq, mss)
            if before:
                tcp.write(before)
            tcp.fence()
            self.senders.append(KtlsSender(self.info, tcp, netdev, tag_space=FILLER))
        self.sender, self.software = self.senders
        self.sk.tls = self.sender
        self.start_seq = start_seq
        self.offload_seq = (start_seq + len(before)) % 2**32

    @property
    def offloaded(self) -> bool:
        return self.sender.conf is TxConf.TLS_HW

    def write(self, *sizes: int, record_type: int | None = None) -> None:
        """A record for each size."""
        for size in sizes:
            data = random.Random(f"{self.info.key}{self.sender.tcp.write_seq}").randbytes(size)
            for sender in self.senders:
                assert sender.sendmsg(data, record_type=record_type) == size

    # --- places ------------------------------------------------------------------------------------
    @property
    def sent(self) -> int:
        """Bytes sent since offload began."""
        return (self.sender.tcp.snd_nxt - self.offload_seq) % 2**32

    @property
    def written(self) -> int:
        return (self.sender.tcp.write_seq - self.offload_seq) % 2**32

    def seq(self, place: int) -> int:
        return (self.offload_seq + place) % 2**32

    def frame(self, seq: int, payload: bytes, **options) -> bytes:
        return tcp_frame(self.tuple4, seq, payload, **options)

    def wire(self, place: int, end: int, **options) -> bytes:
        """What software would have sent."""
        return self.frame(self.seq(place), self.software.tcp.data(self.seq(place), end - place), **options)

    # --- packets -----------------------------------------------------------------------------------
    def give(self, place: int, end: int, segment_size: int = 0, **options) -> Transmitted:
        """Bytes [place, end) as the stack has them go to the driver, with any TCP checksum."""
        payload = self.sender.tcp.data(self.seq(place), end - place)
        return self.side.xmit(self.frame(self.seq(place), payload, bad_tcp=True, **options), self.sk, segment_size)

    def sends(self, place: int, end: int, way: Way | None = None) -> Transmitted:
        """`give`; what leaves is what software would have sent."""
        transmitted = self.give(place, end)
        assert transmitted.frames == [self.wire(place, end)], (place, end, transmitted.way)
        assert way is None or transmitted.way is way, (place, end, transmitted.way)
        assert self.side.counters.drop_device == self.refused
        return transmitted

    def pump(self, limit: int | None = None) -> list[Way]:
        """What was not sent yet goes out, in TCP's segments."""
        ways = []
        for segment in self.sender.tcp.transmit(limit):
            ways.append(self._segment(segment).way)
        return ways

    def again(self, place: int, end: int) -> list[Transmitted]:
        """TCP sends [place, end) again."""
        return [self._segment(s) for s in self.sender.tcp.retransmit(self.seq(place), self.seq(end))]

    def _segment(self, segment: Segment) -> Transmitted:
        flags = ACK | (PSH if segment.push else 0) | (FIN if segment.fin else 0)
        plain = self.offloaded and bool(segment.payload) and (segment.seq - self.offload_seq) % 2**32 < 2**31
        given = self.frame(segment.seq, segment.payload, flags=flags, bad_tcp=plain)
        transmitted = self.side.xmit(given, self.sk)
        payload = segment.payload and self.software.tcp.data(segment.seq, len(segment.payload))
        assert transmitted.frames == [self.frame(segment.seq, payload, flags=flags)], transmitted
        assert self.side.counters.drop_device == self.refused
        return transmitted

    def ack(self, place: int) -> None:
        self.sender.tcp.ack(self.seq(place))

    def lose(self, place: int) -> None:
        """TCP believes that everything up to `place` has been sent, and nobody saw it."""
        self.sender.tcp.transmit(place - self.sent)

    def agrees(self) -> None:
        """The driver's idea of the device is right."""
        context = self.side._contexts[self.sk]
        state = self.side.tracker_state(self.sk)
        assert state is not None
        assert state.expected_seq == context.expected_seq
        assert not state.skipping
        if context.replay_seq is not None:
            assert state.seen_seq == context.replay_seq
