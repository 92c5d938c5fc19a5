"""The transmit side of kTLS three times: TLS_SW, TLS_HW through a golden device, TLS_HW with every packet in software.

What they put on the wire must be one and the same; a receiver reads it.
"""

import random
from collections.abc import Callable
from dataclasses import replace

from model.commands import Add, Delete, Resync
from model.contract import Result, TxKind, TxStatus
from model.crypto_info import CryptoInfo
from model.frame import parse
from model.ktls import KtlsReceiver
from model.ktls_tx import KtlsSender
from model.tcp_tx import Segment, TcpSender
from model.tx_commands import TxRequest
from model.tx_device import GoldenTxDevice
from sim.traffic import ACK, FIN, PSH, Stream, tcp_frame

VERSIONS = (0x0303, 0x0304)
TUPLE = Stream(seed=99).tuple4


def crypto_info(version: int, key_size: int = 16, record_number: int = 0, seed: int = 1) -> CryptoInfo:
    rng = random.Random(seed)
    key, salt, iv = rng.randbytes(key_size), rng.randbytes(4), rng.randbytes(8)
    return CryptoInfo(version, key, salt, iv, record_number.to_bytes(8, "big"))


def tcp_segment(segment: Segment) -> bytes:
    flags = ACK | (PSH if segment.push else 0) | (FIN if segment.fin else 0)
    return tcp_frame(TUPLE, segment.seq, segment.payload, flags=flags)


class Nic:
    """A driver with next-record sync, as small as it can be. `sender` is set once there is one."""

    def __init__(self, refuse: int = 0) -> None:
        self.device = GoldenTxDevice(connections=2)
        self.sender: KtlsSender | None = None
        self.refuse = refuse
        self.refuse_resync = 0
        self.resyncs: list[tuple[int, int]] = []
        self.in_software = 0
        self._handle: int | None = None
        self._next_seq = 0

    # --- struct tlsdev_ops
    def tls_dev_add(self, crypto_info: CryptoInfo, start_offload_tcp_sn: int) -> int:
        if self.refuse:
            return -self.refuse
        i = crypto_info
        add = Add(TUPLE, i.version, i.key, i.salt, i.iv, i.record_number, start_offload_tcp_sn)
        response = self.device.command(add)
        assert response.result is Result.OK
        self._handle = response.handle
        self._next_seq = start_offload_tcp_sn
        return 0

    def tls_dev_del(self) -> None:
        assert self._handle is not None
        assert self.device.command(Delete(self._handle)).result is Result.OK
        self._handle = None

    def tls_dev_resync(self, seq: int, rec_sn: int) -> int:
        self.resyncs.append((seq, rec_sn))
        if self.refuse_resync:
            return -self.refuse_resync
        assert self._handle is not None
        assert self.device.command(Resync(self._handle, seq, rec_sn)).result is Result.OK
        self._next_seq = seq
        return 0

    # --- packets
    def xmit(self, frame: bytes) -> bytes | None:
        packet = parse(frame)
        sender = self.sender
        assert packet is not None and sender is not None
        validated = sender.tls_validate_xmit_skb(self, frame)
        if validated is not frame or self._handle is None or not packet.length:
            return validated
        pending = sender.tls_offload_tx_resync_pending()
        if pending or packet.seq != self._next_seq:
            if not pending and (packet.seq - self._next_seq) % 2**32 < 2**30:
                sender.tls_offload_tx_resync_request(packet.seq, self._next_seq)
            self.in_software += 1
            return sender.tls_encrypt_skb(frame)
        self._next_seq = (packet.seq + packet.length) % 2**32
        # The device is to make the TCP checksum.
        frame = broken(frame, packet.tcp + 16)
        (sent,) = self.device.transmit(frame, TxRequest(TxKind.STREAM, self._handle))
        assert sent.status is TxStatus.ENCRYPTED
        return sent.frame


class Trio:
    """Three senders with the same keys, and a receiver.

    Members
    -------
    received : KtlsReceiver
    wire : list of frames
    """

    def __init__(
        self,
        info: CryptoInfo,
        start_seq: int = 2**32 - 3000,
        mss: int = 1448,
        before: bytes = b"",
        zerocopy: bool = False,
    ) -> None:
        self.info = info
        self.nic = Nic()
        self.other_nic = Nic()
        self._zerocopy = zerocopy
        self.senders: dict[str, KtlsSender] = {}
        for name, nic in (("software", None), ("device", self.nic), ("fallback", self.other_nic)):
            tcp = TcpSender(start_seq, mss)
            tcp.write(before)
            tcp.fence()  # software does not need it: the segments are to be the same
            self.senders[name] = self._sender(info, tcp, nic)
        self.nic.sender = self.senders["device"]
        self.received = KtlsReceiver(info, (start_seq + len(before)) % 2**32, keep=True)
        self.wire: list[bytes] = []

    def _sender(self, info: CryptoInfo, tcp: TcpSender, nic: Nic | None) -> KtlsSender:
        space = b"what was in memory"[:16]
        return KtlsSender(info, tcp, nic, zerocopy_sendfile=self._zerocopy, tag_space=space)

    def rekey(self, info: CryptoInfo) -> None:
        """Everything sent is acknowledged; the streams go on with other keys, at a receiver that knows them."""
        self.ack()
        seqs = {sender.tcp.write_seq for sender in self.senders.values()}
        for name, nic in (("software", None), ("device", self.nic), ("fallback", self.other_nic)):
            self.senders[name].destruct()
            self.senders[name].tcp.fence()
            self.senders[name] = self._sender(info, self.senders[name].tcp, nic)
        self.nic.sender = self.senders["device"]
        self.received = KtlsReceiver(info, *seqs, keep=True)

    @property
    def device(self) -> KtlsSender:
        return self.senders["device"]

    @property
    def records(self) -> list[int]:
        """Bytes of each record the receiver had, header included."""
        return [record.length for record in self.received.records]

    def each(self, call: Callable[[KtlsSender], int | None]) -> int | None:
        """The same socket call on each; they must agree on its result."""
        results = {name: call(sender) for name, sender in self.senders.items()}
        assert len(set(results.values())) == 1, results
        return results["software"]

    def send(self, data: bytes, flags: int = 0, record_type: int | None = None) -> int | None:
        result = self.each(lambda sender: sender.sendmsg(data, flags, record_type))
        self.pump()
        return result

    def shutdown(self) -> None:
        self.each(lambda sender: sender.shutdown())
        self.pump()

    def frames(self, segments: dict[str, list[Segment]]) -> list[bytes]:
        """The segments of each sender on the wire, which must be the same."""
        senders = self.senders
        software = [tcp_segment(segment) for segment in segments["software"]]
        device = [self.nic.xmit(tcp_segment(segment)) for segment in segments["device"]]
        assert device == software
        fallback = [
            senders["fallback"].tls_validate_xmit_skb(None, tcp_segment(segment)) for segment in segments["fallback"]
        ]
        assert fallback == software
        return software

    def pump(self) -> None:
        """Everything written goes to the receiver."""
        frames = self.frames({name: sender.tcp.transmit() for name, sender in self.senders.items()})
        self.wire += frames
        for frame in frames:
            self.deliver(frame)

    def deliver(self, frame: bytes) -> None:
        packet = parse(frame)
        assert packet is not None
        self.received.segment(packet.seq, frame[packet.payload : packet.end], fin=packet.fin)

    def ack(self, seq: int | None = None) -> None:
        for sender in self.senders.values():
            sender.tcp.ack(sender.tcp.snd_nxt if seq is None else seq)

    def expect(self, data: bytes, control: list[tuple[int, bytes]] | None = None) -> None:
        assert self.received.error is None, self.received.reason
        assert self.received.application.data == data
        assert self.received.control == (control or [])


def broken(frame: bytes, at: int, mask: int = 1) -> bytes:
    """A frame with a byte changed. The receiver here is not told of checksums."""
    at %= len(frame)
    return frame[:at] + bytes([frame[at] ^ mask]) + frame[at + 1 :]


def with_rec_seq(info: CryptoInfo, number: int) -> CryptoInfo:
    return replace(info, rec_seq=number.to_bytes(8, "big"))
