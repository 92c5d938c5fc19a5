"""The transmit side of the driver: contexts, and what goes to the device for every packet.

Sources: Documentation/networking/tls-offload.rst; for packets out of order mlx5 (rebuild), nfp and funeth (next-record)
and bnxt (prefix). Return values are the kernel's: 0 or a negative errno.
"""

import errno
import struct
from dataclasses import dataclass
from enum import Enum

from driver.counters import TxCounters
from driver.probe import probe, resources
from driver.sock import Sock, TlsDevOps, TlsSocket
from driver.tx_context import Place, TxContext, TxResync, number_before
from model.commands import Add, Delete, Query, Resync, TrackerState, Tuple4
from model.contract import Result, TxKind, TxStatus
from model.crypto_info import TLS_CIPHER_AES_GCM_128, TLS_CIPHER_AES_GCM_256, CryptoInfo
from model.frame import Frame, parse
from model.tls_records import before
from model.tx_commands import Sent, TxDevice, TxRequest

TX_FEATURE = "tls-hw-tx-offload"
REPLAY_SEGMENT = 8960
"""Record bytes in a frame of what is replayed: with any headers below the device's largest frame."""
PREFIX_DESCRIPTOR = 32
"""Bytes of a descriptor with a record's place, number and header, as bnxt has it."""
_FORWARD = 1 << 30
"""A jump of less than this is data that was lost on the way down, not a retransmission."""
_SEQ = (1 << 32) - 1


class Way(Enum):
    """How a packet went out."""

    PLAIN = "plain"
    """Not for the TLS engine: no offloaded socket, no payload."""
    STREAM = "stream"
    """In order, encrypted by the device."""
    REBUILT = "rebuilt"
    """Out of order, encrypted by the device behind the record's preceding bytes."""
    PREFIXED = "prefixed"
    """Out of order, encrypted by the device from the middle of its record."""
    SOFTWARE = "software"
    """Encrypted by the stack."""
    SKIPPED = "skipped"
    """From before offload started."""
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Transmitted:
    """What became of a packet: `frames` is what left (several segments, where it was cut)."""

    way: Way
    frames: list[bytes]
    replayed_bytes: int = 0
    """What went over the bus beside the packet: record bytes again, descriptors of PREFIX."""
    out_of_order: bool = False


class SocketOps:
    """`tlsdev_ops` bound to a device and a socket: what the stack's transmit side is given."""

    def __init__(self, side: "TransmitSide", sk: Sock) -> None:
        self._side = side
        self._sk = sk

    def tls_dev_add(self, crypto_info: CryptoInfo, start_offload_tcp_sn: int) -> int:
        return self._side.tls_dev_add(self._sk, crypto_info, start_offload_tcp_sn)

    def tls_dev_del(self) -> None:
        self._side.tls_dev_del(self._sk)

    def tls_dev_resync(self, seq: int, rec_sn: int) -> int:
        return self._side.tls_dev_resync(self._sk, seq, rec_sn)


class TransmitSide:
    """The driver of one transmit device.

    Parameters
    ----------
    device : TxDevice
        Golden model, or an RTL device under simulation.
    resync : TxResync
        Mechanism for packets out of order.
    features : dict of str to bool, optional
        Those of the whole device, which "tls-hw-tx-offload" joins.

    Members
    -------
    features : dict of str to bool
        `ethtool -K`. "tls-hw-tx-offload" decides about new connections only.
    resync : TxResync
        A private flag: decides about new connections only, too.
    counters : TxCounters
        `ethtool -S`.
    """

    def __init__(
        self,
        device: TxDevice,
        resync: TxResync = TxResync.PREFIX,
        features: dict[str, bool] | None = None,
    ) -> None:
        self._device = device
        self._contexts: dict[Sock, TxContext] = {}
        self._ops: dict[Sock, SocketOps] = {}
        self.features = {} if features is None else features
        self.features[TX_FEATURE] = True
        self.resync = resync
        self.counters = TxCounters()
        self.capabilities = probe(device)

    # --- struct tlsdev_ops -------------------------------------------------------------------------
    def ops(self, sk: Sock) -> TlsDevOps:
        """This device as the stack knows it for a socket: the same object each time."""
        return self._ops.setdefault(sk, SocketOps(self, sk))

    def tls_dev_add(self, sk: Sock, crypto_info: CryptoInfo, start_offload_tcp_sn: int) -> int:
        """Install a connection's keys; `crypto_info.rec_seq` is the number of the record at that place."""
        if not self.features[TX_FEATURE]:
            return -errno.EOPNOTSUPP
        if crypto_info.cipher_type not in (TLS_CIPHER_AES_GCM_128, TLS_CIPHER_AES_GCM_256):
            return -errno.EOPNOTSUPP
        if sk in self._contexts:
            return -errno.EEXIST
        add = Add(
            Tuple4(*sk.remote, *sk.local),
            crypto_info.version,
            crypto_info.key,
            crypto_info.salt,
            crypto_info.iv,
            crypto_info.record_number,
            start_offload_tcp_sn,
        )
        response = self._device.command(add)
        if response.result is not Result.OK:
            return _ERRNO.get(response.result, -errno.EIO)
        self._contexts[sk] = TxContext(
            response.handle, crypto_info.version, self.resync, start_offload_tcp_sn, crypto_info.record_number
        )
        self.counters.ctx += 1
        return 0

    def tls_dev_del(self, sk: Sock) -> None:
        context = self._contexts.pop(sk, None)
        self._ops.pop(sk, None)
        if context is not None:
            self._device.command(Delete(context.handle))
            self.counters.deleted += 1

    def tls_dev_resync(self, sk: Sock, seq: int, rec_sn: int) -> int:
        """The stack says: record number `rec_sn` begins at `seq`, and so does a segment."""
        context = self._contexts.get(sk)
        if context is None or self._device.command(Resync(context.handle, seq, rec_sn)).result is not Result.OK:
            return -errno.EINVAL
        context.resynchronised(seq, rec_sn)
        self.counters.resync += 1
        return 0

    def tracker_state(self, sk: Sock) -> TrackerState | None:
        """Where the device is in a connection's stream; None in software."""
        context = self._contexts.get(sk)
        return None if context is None else self._device.command(Query(context.handle)).state

    def devlink_resources(self) -> dict[str, dict[str, int]]:
        return resources(self._device, self.capabilities, "tls_tx")

    # --- packets -----------------------------------------------------------------------------------
    def xmit(self, frame: bytes, sk: Sock | None = None, segment_size: int = 0) -> Transmitted:
        """dev_queue_xmit: a packet of a socket (None: of none) goes to the wire.

        With `segment_size` the device cuts it into segments of so many payload bytes.
        """
        tls = sk.tls if sk is not None else None
        if sk is None or tls is None:
            return self._pass(frame, segment_size)
        # sk_validate_xmit_skb: software encrypts what leaves by another device than the socket's
        validated = tls.tls_validate_xmit_skb(self.ops(sk), frame)
        packet = parse(frame, limit=None)
        if validated is None:
            self.counters.drop_no_sync_data += 1
            return Transmitted(Way.DROPPED, [])
        if validated is not frame:
            return self._in_software(validated, packet, segment_size, out_of_order=False)
        context = self._contexts.get(sk)
        if context is None or (packet is not None and not packet.length):
            return self._pass(frame, segment_size)
        if packet is None:
            # nobody knows what is in it: the device must see that it belongs to a connection
            self._count(self._device.transmit(frame, TxRequest(TxKind.STREAM, context.handle)), 0, 0)
            return Transmitted(Way.DROPPED, [])
        pending = context.resync is TxResync.NEXT_RECORD and tls.tls_offload_tx_resync_pending()
        if packet.seq == context.expected_seq and not pending:
            return self._stream(context, frame, packet, segment_size)
        return self._out_of_order(context, tls, frame, packet, segment_size, pending)

    def _pass(self, frame: bytes, segment_size: int, way: Way = Way.PLAIN) -> Transmitted:
        return Transmitted(way, _wire(self._device.transmit(frame, TxRequest(segment_size=segment_size))))

    def _in_software(self, frame: bytes, packet: Frame | None, segment_size: int, out_of_order: bool) -> Transmitted:
        """`frame` has been encrypted by the stack."""
        self.counters.fallback_packets += 1
        self.counters.fallback_bytes += packet.length if packet else 0
        sent = self._device.transmit(frame, TxRequest(segment_size=segment_size))
        return Transmitted(Way.SOFTWARE, _wire(sent), out_of_order=out_of_order)

    def _stream(self, context: TxContext, frame: bytes, packet: Frame, segment_size: int) -> Transmitted:
        sent = self._device.transmit(frame, TxRequest(TxKind.STREAM, context.handle, segment_size))
        taken = self._count(sent, packet.length, segment_size)
        # where the device refused bytes it still waits for them
        context.streamed((packet.seq + taken) & _SEQ)
        return Transmitted(Way.STREAM if taken else Way.DROPPED, _wire(sent))

    def _out_of_order(
        self, context: TxContext, tls: TlsSocket, frame: bytes, packet: Frame, segment_size: int, pending: bool
    ) -> Transmitted:
        counters = self.counters
        seq, end_seq = packet.seq, (packet.seq + packet.length) & _SEQ
        found = tls.tls_get_record(seq)
        if found is None or (not found[0].is_start_marker and before(seq, found[0].start_seq)):
            # acknowledged already: TCP will not miss it
            counters.drop_no_sync_data += 1
            return Transmitted(Way.DROPPED, [])
        record, number = found
        if record.is_start_marker:
            if before(record.end_seq, end_seq):
                counters.drop_bypass_req += 1
                return Transmitted(Way.DROPPED, [])
            counters.skip_no_sync_data += 1
            return self._pass(frame, segment_size, Way.SKIPPED)
        counters.ooo += 1
        if context.resync is TxResync.NEXT_RECORD:
            ahead = (seq - context.expected_seq) & _SEQ
            if not pending and 0 < ahead < _FORWARD:
                tls.tls_offload_tx_resync_request(seq, context.expected_seq)
            encrypted = tls.tls_encrypt_skb(frame)
            if encrypted is None:
                counters.drop_no_sync_data += 1
                return Transmitted(Way.DROPPED, [], out_of_order=True)
            return self._in_software(encrypted, packet, segment_size, out_of_order=True)
        return self._retransmit(context, tls, frame, packet, segment_size, Place(record, number, seq))

    def _retransmit(
        self, context: TxContext, tls: TlsSocket, frame: bytes, packet: Frame, segment_size: int, place: Place
    ) -> Transmitted:
        """The device encrypts a packet that is not the one it expects."""
        end_seq = (place.seq + packet.length) & _SEQ
        # New bytes in it, or behind bytes that were lost: the stream goes on behind it.
        adopt = before(context.expected_seq, end_seq)
        if adopt and number_before(end_seq, tls) is None:
            # bytes that no record has: the device could not go on behind them
            self.counters.drop_no_sync_data += 1
            return Transmitted(Way.DROPPED, [], out_of_order=True)
        ends_record = not before(end_seq, place.record.end_seq)
        moved = 0
        kind, way = TxKind.RETRANSMIT, Way.REBUILT

        def fits(blind: bool) -> bool:
            # A stream that were blind could not make its record's tag.
            return not (adopt and blind and not ends_record)

        if context.continues(place, end_seq, tls) and fits(context.replay_blind):
            blind = context.replay_blind
            way = Way.PREFIXED if context.resync is TxResync.PREFIX else Way.REBUILT
        elif self._may_prefix(context, place, end_seq, tls) and fits(context.blind(place)):
            blind = context.blind(place)
            kind, moved = TxKind.PREFIX, PREFIX_DESCRIPTOR
            way = Way.PREFIXED if context.resync is TxResync.PREFIX else Way.REBUILT
            self.counters.prefix_packets += 1
            self.counters.prefix_bytes += moved
        else:
            blind = False
            moved = self._replay(context, frame, packet, place)
        request = TxRequest(
            kind,
            context.handle,
            segment_size,
            adopt,
            place.record.start_seq,
            place.number,
            place.record.data[: context.prepend_size] if kind is TxKind.PREFIX else b"",
        )
        sent = self._device.transmit(frame, request)
        taken = self._count(sent, packet.length, segment_size)
        if taken:
            reached = (place.seq + taken) & _SEQ
            context.retransmitted(reached, blind and before(reached, place.record.end_seq))
            if adopt:
                context.adopted(reached, tls)
        return Transmitted(way if taken else Way.DROPPED, _wire(sent), moved, out_of_order=True)

    def _may_prefix(self, context: TxContext, place: Place, end_seq: int, tls: TlsSocket) -> bool:
        """At a record's first byte a descriptor is all there is to give, whatever the mechanism."""
        if context.resync is TxResync.REBUILD:
            return place.offset == 0
        return context.prefix_suffices(place, end_seq, tls)

    def _replay(self, context: TxContext, frame: bytes, packet: Frame, place: Place) -> int:
        """The record's bytes in front of the packet go to the device; their number."""
        size = place.offset
        request = TxRequest(
            TxKind.REPLAY, context.handle, record_seq=place.record.start_seq, record_number=place.number
        )
        # Frames the device takes whole, as mlx5 splits what it dumps: its segmentation is for what is sent.
        data = place.record.data[:size]
        for at in range(0, size, REPLAY_SEGMENT):
            piece = data[at : at + REPLAY_SEGMENT]
            given = _with_payload(frame, packet, (place.record.start_seq + at) & _SEQ, piece)
            sent = self._device.transmit(given, request)
            self._count(sent, len(piece), 0)
            self.counters.dump_packets += 1
        self.counters.dump_bytes += size
        return size

    def _count(self, sent: list[Sent], length: int, segment_size: int) -> int:
        """Count segments; the payload bytes of those at the front that the device took."""
        taken, at = 0, 0
        for one in sent:
            size = min(segment_size, length - at) if segment_size else length
            if one.status in (TxStatus.ENCRYPTED, TxStatus.REPLAYED):
                taken += size if taken == at else 0
            else:
                self.counters.drop_device += 1
            if one.status is TxStatus.ENCRYPTED:
                self.counters.encrypted_packets += 1
                self.counters.encrypted_bytes += size
            at += size
        return taken


def _wire(sent: list[Sent]) -> list[bytes]:
    return [one.frame for one in sent if one.frame is not None]


def _with_payload(frame: bytes, packet: Frame, seq: int, payload: bytes) -> bytes:
    """The headers of a packet around other bytes of its stream."""
    out = bytearray(frame[: packet.payload])
    length = packet.payload - packet.ip + len(payload)
    if out[packet.ip] >> 4 == 4:
        struct.pack_into("!H", out, packet.ip + 2, length)
    else:
        struct.pack_into("!H", out, packet.ip + 4, length - 40)
    struct.pack_into("!I", out, packet.tcp + 4, seq)
    return bytes(out) + payload


_ERRNO = {Result.NO_SPACE: -errno.ENOSPC, Result.UNSUPPORTED: -errno.EOPNOTSUPP}
