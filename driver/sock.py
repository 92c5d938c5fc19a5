"""What the driver sees of a socket, and the stack's functions it calls for one."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from model.crypto_info import CryptoInfo
from model.ktls import ResyncType
from model.tls_records import TlsRecordInfo


class Direction(Enum):
    """enum tls_offload_ctx_dir."""

    RX = 0
    TX = 1


class TlsDevOps(Protocol):
    """`struct tlsdev_ops`, transmit direction of one socket: how the stack reaches a driver."""

    def tls_dev_add(self, crypto_info: CryptoInfo, start_offload_tcp_sn: int) -> int: ...

    def tls_dev_del(self) -> None: ...

    def tls_dev_resync(self, seq: int, rec_sn: int) -> int: ...


class TlsSocket(Protocol):
    """A socket's TLS transmit side, as `net/tls.h` shows it to a driver; `model.ktls_tx.KtlsSender` is one."""

    def tls_get_record(self, seq: int) -> tuple[TlsRecordInfo, int] | None:
        """The record that holds `seq` and its number, or the start marker; None: acknowledged, or not written."""
        ...

    def tls_offload_tx_resync_request(self, got_seq: int, exp_seq: int) -> None: ...

    def tls_offload_tx_resync_pending(self) -> bool: ...

    def tls_encrypt_skb(self, frame: bytes) -> bytes | None: ...

    def tls_validate_xmit_skb(self, netdev: TlsDevOps | None, frame: bytes) -> bytes | None: ...


class TlsRxSocket(Protocol):
    """A socket's TLS receive side, as `net/tls.h` shows it to a driver; `model.ktls.KtlsReceiver` is one."""

    def tls_offload_rx_resync_set_type(self, kind: ResyncType) -> None: ...

    def tls_offload_rx_resync_request(self, seq: int) -> None: ...

    def tls_offload_rx_resync_async_request_start(self, seq: int, length: int) -> None: ...

    def tls_offload_rx_resync_async_request_end(self, seq: int) -> None: ...

    def tls_offload_rx_resync_async_request_cancel(self) -> None: ...


@dataclass(eq=False)
class Sock:
    """What the driver takes from a `struct sock`: the 4-tuple, seen from this host, its TLS sides, and a way to end
    it.

    `abort` is the stack's tcp_abort: the connection ends with this errno, and nothing more is read from it.
    """

    remote: tuple[bytes, int]
    local: tuple[bytes, int]
    tls: TlsSocket | None = None
    rx: TlsRxSocket | None = None
    abort: Callable[[int], object] | None = None
