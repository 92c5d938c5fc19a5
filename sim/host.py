"""The host above the driver: sockets that get their keys where the capture says, and read what comes up.

One class plays every pass: with a driver over the golden model, over what an RTL device delivered, or with none
(TLS_SW). What differs between the passes is the driver only.
"""

import errno
from collections import defaultdict
from dataclasses import dataclass, field

from driver.counters import ResyncCounters
from driver.netdev import Direction, NetDevice, Received, Sock
from model.commands import TrackerState
from model.contract import MAX_FRAME, Checksum
from model.crypto_info import CryptoInfo
from model.ktls import Handling, KtlsReceiver
from sim.chacha import ChachaCryptoInfo, ChachaReceiver
from sim.connections import Connection, Followed, Installation
from sim.packets import ACK, FIN, RST, SYN, Segment
from sim.secrets import Aead


@dataclass(eq=False)
class Socket:
    """A connection on this host, in one pass."""

    connection: Connection
    receiver: KtlsReceiver | None = None
    offloaded: bool = False
    reason: str = ""
    """Why it is in software."""
    packets: int = 0
    """Packets with payload that came up since the keys are in."""
    packets_decrypted: int = 0
    resync: ResyncCounters = field(default_factory=ResyncCounters)
    """The driver's; all zero if the socket is in software."""
    final_state: TrackerState | None = None
    """What the device said of the stream when the socket was closed."""
    closed: bool = False
    aborted: str | None = None
    """The errno the driver ended it with."""
    sk: Sock = field(init=False)
    early: list[tuple[int, bytes, bool]] = field(default_factory=list)
    """Segments from before the keys were in: sequence number, payload, FIN."""

    def __post_init__(self) -> None:
        self.sk = Sock(self.connection.peer, self.connection.host, abort=self._abort)
        self.reason = self.connection.reason

    def _abort(self, error: int) -> None:
        self.aborted = errno.errorcode[error]

    @property
    def read(self) -> bool:
        """Whether its keys decrypted anything, or had nothing to decrypt."""
        r = self.receiver
        return r is not None and bool(r.error is None or r.application.size or r.control)

    def records(self, handling: Handling) -> int:
        return sum(r.handling is handling for r in self.receiver.records) if self.receiver else 0

    @property
    def answer(self) -> tuple[object, ...]:
        """What an application sees: the same in every pass, or something is wrong."""
        r = self.receiver
        if r is None:
            return ()
        error, reason = (self.aborted, "aborted by the driver") if self.aborted else (r.error, r.reason)
        return r.application.size, r.application.sha256, r.control, error, reason


class Host:
    """All sockets of the host.

    Parameters
    ----------
    followed : Followed
    netdev : NetDevice or None
        None: no offload, the software path.
    keep : bool
        Keep the application bytes.
    """

    def __init__(self, followed: Followed, netdev: NetDevice | None, keep: bool = False):
        self._followed = followed
        self._netdev = netdev
        self._keep = keep
        self.sockets = {c: Socket(c) for c in followed.connections}
        self._installs: dict[int, list[tuple[Socket, Installation]]] = defaultdict(list)
        self._closes: dict[int, list[Socket]] = defaultdict(list)
        for connection, socket in self.sockets.items():
            closed = connection.closed
            if connection.installation and (closed is None or connection.installation.after < closed):
                self._installs[connection.installation.after].append((socket, connection.installation))
            if closed is not None:
                self._closes[closed].append(socket)

    def packet(self, index: int) -> Received | None:
        """Packet `index` (from 0) of the capture happens; what came up if it is one to this host."""
        received = None
        packet = self._followed.capture.packets[index]
        if self._followed.incoming[index]:
            if self._netdev is None or len(packet.frame) > MAX_FRAME:
                received = Received(packet.frame, False, None)
            else:
                received = self._netdev.receive(packet.frame)
            segment, owner = self._followed.segments[index], self._followed.owners[index]
            if segment is not None and owner is not None and not segment.flags & (SYN | RST):
                if self.sockets[owner].aborted:
                    self._close(self.sockets[owner])
                self._deliver(self.sockets[owner], segment, received)
        elif self._netdev is not None:
            segment, owner = self._followed.segments[index], self._followed.owners[index]
            if segment is not None and owner is not None and segment.flags & ACK:
                self._netdev.acknowledge(self.sockets[owner].sk, segment.ack)
        for socket, installation in self._installs.get(packet.number, ()):
            self._install(socket, installation)
        for socket in self._closes.get(packet.number, ()):
            self._close(socket)
        return received

    def finish(self) -> None:
        """The capture is over: close what is still open."""
        for socket in self.sockets.values():
            self._close(socket)

    def _deliver(self, socket: Socket, segment: Segment, received: Received) -> None:
        if socket.closed or socket.connection.installation is None:
            return
        payload = received.frame[segment.start : segment.end]
        fin = bool(segment.flags & FIN)
        descriptor = received.descriptor
        good = descriptor is not None and descriptor.checksum is Checksum.GOOD
        # what the device could not vouch for is summed here; of a decrypted packet the sum would be wrong
        good = good or (not received.decrypted and segment.checksum_good(received.frame))
        if socket.receiver is None:
            if good:
                socket.early.append((segment.seq, payload, fin))
            return
        if payload:
            socket.packets += 1
            socket.packets_decrypted += received.decrypted
        socket.receiver.segment(segment.seq, payload, received.decrypted, fin, good)

    def _install(self, socket: Socket, installation: Installation) -> None:
        """setsockopt(TLS_RX): try the device, then read what has been queued already."""
        keys, number = installation.keys, installation.record_number.to_bytes(8, "big")
        kind, receiver = CryptoInfo, KtlsReceiver
        if keys.aead is Aead.CHACHA20_POLY1305:
            kind, receiver = ChachaCryptoInfo, ChachaReceiver
        info = kind(keys.version, keys.key, keys.salt, keys.iv, number)
        socket.receiver = socket.sk.rx = receiver(info, installation.start_seq, keep=self._keep)  # type: ignore[arg-type]
        netdev = self._netdev
        if netdev is not None:
            error = netdev.tls_dev_add(socket.sk, Direction.RX, info, installation.start_seq)
            if error == 0:
                socket.offloaded = True
                socket.resync = netdev.resync[socket.sk]
                socket.receiver.set_device(_Resync(netdev, socket.sk))
            else:
                socket.reason = socket.reason or _refusal(error)
        for seq, payload, fin in socket.early:
            socket.receiver.segment(seq, payload, fin=fin)
        socket.early.clear()

    def _close(self, socket: Socket) -> None:
        if socket.closed:
            return
        socket.closed = True
        if self._netdev is not None and socket.offloaded:
            socket.final_state = self._netdev.tracker_state(socket.sk)
            self._netdev.tls_dev_del(socket.sk, Direction.RX)


@dataclass(frozen=True)
class _Resync:
    """The stack's way to the driver for one socket."""

    netdev: NetDevice
    sk: Sock

    def __call__(self, seq: int, record_number: int) -> None:
        self.netdev.tls_dev_resync(self.sk, seq, record_number, Direction.RX)


def _refusal(error: int) -> str:
    reasons = {
        -errno.ENOSPC: "table full",
        -errno.EEXIST: "its 4-tuple is in the table already",
        -errno.EOPNOTSUPP: "not supported by the device",
    }
    return reasons.get(error, f"the device refused it ({errno.errorcode.get(-error, error)})")
