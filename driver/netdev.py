"""The network device as the kernel's TLS code sees it: `struct tlsdev_ops`, a feature flag, a receive path.

Source: Documentation/networking/tls-offload.rst. Return values are the kernel's: 0 or a negative errno, on which
the stack goes on in software as if nothing had been tried.
"""

import errno
from dataclasses import dataclass

from driver.counters import ResyncCounters, RxCounters
from driver.probe import probe, resources
from driver.resync import ResyncMode, RxResync
from driver.sock import Direction, Sock
from driver.transmit import TX_FEATURE, TransmitSide, Transmitted, TxResync
from model.commands import Ack, Add, Delete, Descriptor, Device, Query, Seed, TrackerState, Tuple4
from model.contract import ACK_INTERVAL, MAX_RECORD, Result, RxPolicy, Status
from model.crypto_info import TLS_CIPHER_AES_GCM_128, TLS_CIPHER_AES_GCM_256, CryptoInfo
from model.frame import parse
from model.tx_commands import TxDevice

RX_FEATURE = "tls-hw-rx-offload"


@dataclass(frozen=True, slots=True)
class Received:
    """A packet on its way up: `decrypted` is the mark of its sk_buff."""

    frame: bytes
    decrypted: bool
    descriptor: Descriptor | None
    """None: too long for the device, it never passed it."""


class NetDevice:
    """The driver of one device.

    Parameters
    ----------
    device : Device
        Golden model, or an RTL device under simulation.
    hash_key : int or None
        Hash key set when the driver probes; a driver in the field draws it at random. None: the device's default.
    transmitter : TxDevice or None
        The transmit direction. None: the device has none.
    tx_resync : TxResync
        Mechanism for transmitted packets out of order.
    resync_mode : ResyncMode
        How requests of the receive device go to the stack.
    resync_delay : int
        Packets of a connection until the device has answered which place it asks for (`ASYNC`).

    Members
    -------
    features : dict of str to bool
        `ethtool -K`. "tls-hw-rx-offload" and "tls-hw-tx-offload" decide about new connections only; those on the
        device stay there.
    counters : RxCounters
        `ethtool -S`, receive direction.
    resync : dict of Sock to ResyncCounters
        What became of each connection's resynchronisations; stays when it is deleted.
    tx : TransmitSide or None
        The transmit direction, with its counters.
    """

    def __init__(
        self,
        device: Device,
        hash_key: int | None = None,
        transmitter: TxDevice | None = None,
        tx_resync: TxResync = TxResync.PREFIX,
        resync_mode: ResyncMode | str = ResyncMode.SYNC,
        resync_delay: int = 1,
    ):
        self._device = device
        self._handles: dict[Sock, int] = {}
        self._sockets: dict[int, Sock] = {}
        self._held: dict[Sock, int] = {}
        self._resync: dict[Sock, RxResync] = {}
        self._resync_delay = resync_delay
        self._told: dict[Sock, int] = {}
        self.resync: dict[Sock, ResyncCounters] = {}
        self.features = {RX_FEATURE: True}
        self.counters = RxCounters()
        self.tx: TransmitSide | None = None
        if transmitter is not None:
            self.tx = TransmitSide(transmitter, tx_resync, self.features)
        if hash_key is not None:
            device.command(Seed(hash_key))
        self.capabilities = probe(device)
        self._resync_mode = ResyncMode(resync_mode)

    # --- struct tlsdev_ops -------------------------------------------------------------------------
    def tls_dev_add(self, sk: Sock, direction: Direction, crypto_info: CryptoInfo, start_offload_tcp_sn: int) -> int:
        """Install a connection's keys; `crypto_info.rec_seq` is the number of the record at that place."""
        if direction is Direction.TX:
            return self.tx.tls_dev_add(sk, crypto_info, start_offload_tcp_sn) if self.tx else -errno.EOPNOTSUPP
        if not self.features[RX_FEATURE]:
            return -errno.EOPNOTSUPP
        if crypto_info.cipher_type not in (TLS_CIPHER_AES_GCM_128, TLS_CIPHER_AES_GCM_256):
            return -errno.EOPNOTSUPP
        response = self._device.command(
            Add(
                Tuple4(*sk.remote, *sk.local),
                crypto_info.version,
                crypto_info.key,
                crypto_info.salt,
                crypto_info.iv,
                crypto_info.record_number,
                start_offload_tcp_sn,
            )
        )
        if response.result is not Result.OK:
            return _ERRNO.get(response.result, -errno.EIO)
        self._handles[sk] = response.handle
        self._sockets[response.handle] = sk
        resync = RxResync(sk, self._device, response.handle, self._resync_mode, self.counters, self._resync_delay)
        self._resync[sk] = resync
        self.resync[sk] = resync.counted
        self._told[sk] = start_offload_tcp_sn
        self.counters.ctx += 1
        return 0

    def tls_dev_del(self, sk: Sock, direction: Direction) -> None:
        """The connection is over, or goes on in software."""
        if direction is Direction.TX:
            if self.tx:
                self.tx.tls_dev_del(sk)
            return
        if sk not in self._handles:
            return
        handle = self._handles.pop(sk)
        self._held.pop(sk, None)
        self._resync.pop(sk).delete()
        del self._told[sk]
        del self._sockets[handle]
        self._device.command(Delete(handle))
        self.counters.deleted += 1

    def tls_dev_resync(self, sk: Sock, seq: int, rec_sn: int, direction: Direction) -> int:
        """The stack says: record number `rec_sn` begins at TCP sequence number `seq` (see `model.ktls.ResyncType`)."""
        if direction is Direction.TX:
            return self.tx.tls_dev_resync(sk, seq, rec_sn) if self.tx else -errno.EINVAL
        if sk not in self._handles:
            return -errno.EINVAL
        result = self._resync[sk].answer(seq, rec_sn)
        return 0 if result in (Result.OK, Result.IGNORED) else -errno.EINVAL

    def acknowledge(self, sk: Sock, ack: int) -> None:
        """A packet of the socket leaves with this acknowledgement number.

        The device is told as long as it may hold records of the connection that software has to check, and from time
        to time, for it takes nothing that is too far ahead.
        """
        if sk not in self._handles or self.capabilities.rx_policy is RxPolicy.PUBLISHED:
            return
        held = self._held.get(sk)
        if held is None and not ACK_INTERVAL <= (ack - self._told[sk]) % 2**32 < 2**31:
            return
        self._device.command(Ack(self._handles[sk], ack))
        self._told[sk] = ack
        if held is not None and (ack - held) % 2**32 < 2**31:
            del self._held[sk]

    # --- packets and resources ---------------------------------------------------------------------
    def receive(self, frame: bytes) -> Received:
        """A frame from the wire, through the device.

        If it contradicts what packets were marked on, the socket is aborted before the frame goes up.
        """
        delivery = self._device.receive(frame)
        descriptor = delivery.descriptor
        packet = parse(delivery.frame) if descriptor.matched else None
        self.counters.count(descriptor, packet.length if packet else 0)
        sk = self._sockets.get(descriptor.handle) if packet else None
        if packet and sk is not None:
            if not descriptor.decrypted and self.capabilities.rx_policy is not RxPolicy.PUBLISHED:
                # a record whose bytes passed raw ends within this
                self._held[sk] = (packet.seq + packet.length + MAX_RECORD) % 2**32
            self._resync[sk].packet(descriptor, packet)
            if descriptor.status is Status.CONFLICT and sk.abort:
                sk.abort(errno.ECONNABORTED)
        return Received(delivery.frame, descriptor.decrypted, descriptor)

    def xmit(self, frame: bytes, sk: Sock | None = None, segment_size: int = 0) -> Transmitted:
        """A frame to the wire, through the transmit device. See `driver.transmit.TransmitSide.xmit`."""
        if self.tx is None:
            raise ValueError("the device has no transmit direction")
        return self.tx.xmit(frame, sk, segment_size)

    def ethtool(self) -> dict[str, int]:
        """`ethtool -S`, both directions."""
        return self.counters.ethtool() | (self.tx.counters.ethtool() if self.tx else {})

    def tracker_state(self, sk: Sock) -> TrackerState | None:
        """Where the device is in a connection's stream (for a `devlink health` dump); None in software."""
        handle = self._handles.get(sk)
        return None if handle is None else self._device.command(Query(handle)).state

    def devlink_resources(self) -> dict[str, dict[str, int]]:
        return resources(self._device, self.capabilities) | (self.tx.devlink_resources() if self.tx else {})


__all__ = ["RX_FEATURE", "TX_FEATURE", "Direction", "NetDevice", "Received", "ResyncMode", "Sock", "TxResync"]

_ERRNO = {
    Result.NO_SPACE: -errno.ENOSPC,
    Result.EXISTS: -errno.EEXIST,
    Result.UNSUPPORTED: -errno.EOPNOTSUPP,
}
