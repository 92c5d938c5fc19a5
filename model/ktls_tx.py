"""kTLS, transmit side: from writes to records, which software (TLS_SW) or a device (TLS_HW) encrypts.

Follows net/tls/tls_device.c, tls_sw.c and tls_main.c of Linux. Results are the kernel's: bytes taken, or a
negative errno.
"""

import errno
from enum import Enum
from typing import Protocol

from model.crypto_info import TLS_1_3_VERSION, CryptoInfo
from model.tcp_tx import TcpSender
from model.tls_cipher import TLS_RECORD_TYPE_DATA, TLS_TAG_SIZE, TlsCipher
from model.tls_fallback import TlsFallback
from model.tls_records import Buffer, TlsOffloadContextTx, TlsRecordInfo

MSG_MORE = 0x8000
MSG_EOR = 0x80
MSG_DONTWAIT = 0x40
MSG_NOSIGNAL = 0x4000

TLS_MAX_PAYLOAD_SIZE = 1 << 14
TLS_MIN_RECORD_SIZE_LIM = 64
MAX_SKB_FRAGS = 17
PAGE_SIZE = 4096

_SENDMSG_FLAGS = MSG_MORE | MSG_EOR | MSG_DONTWAIT | MSG_NOSIGNAL
_COUNTER = 1 << 64


class TxConf(Enum):
    """Who encrypts."""

    TLS_SW = "TLS_SW"
    TLS_HW = "TLS_HW"


class TlsDevOps(Protocol):
    """`struct tlsdev_ops` for the transmit direction of this socket: 0 or a negative errno."""

    def tls_dev_add(self, crypto_info: CryptoInfo, start_offload_tcp_sn: int) -> int: ...

    def tls_dev_del(self) -> None: ...

    def tls_dev_resync(self, seq: int, rec_sn: int) -> int: ...


class _OpenRecord:
    """A record that may still grow. `num_frags` counts as the kernel does: copied bytes join the header's."""

    def __init__(self, record_type: int) -> None:
        self.record_type = record_type
        self.frags: list[Buffer] = []
        self.len = 0
        self.num_frags = 1
        self._copied = True

    def append(self, data: Buffer, zerocopy: bool) -> None:
        if zerocopy or not self._copied:
            self.num_frags += 1
        self._copied = not zerocopy
        self.frags.append(data if zerocopy else bytes(data))
        self.len += len(data)


class KtlsSender:
    """One socket's transmit side, from setsockopt(TLS_TX) on.

    Parameters
    ----------
    info : CryptoInfo
        `iv` is, in TLS 1.2, the first explicit nonce; it counts beside `rec_seq`.
    tcp : TcpSender
        The connected socket; data may be queued already.
    netdev : TlsDevOps, optional
        Asked to offload the socket. If there is none, or it will not, the socket is TLS_SW.
    zerocopy_sendfile : bool
        TLS_TX_ZEROCOPY_RO: with TLS_HW, sendfile and splice refer to the caller's pages.
    tag_space : bytes
        What stands where the device will put the tag: in the kernel, whatever was in memory.

    Members
    -------
    conf : TxConf
    context : TlsOffloadContextTx or None
        Records not acknowledged yet (TLS_HW).
    fallback : TlsFallback or None
        Software for single packets (TLS_HW).
    rec_seq : int
        Number of the next record.
    sk_err : int
        errno that ended the transmit side, or 0.
    """

    def __init__(
        self,
        info: CryptoInfo,
        tcp: TcpSender,
        netdev: TlsDevOps | None = None,
        *,
        zerocopy_sendfile: bool = False,
        tag_space: bytes = bytes(TLS_TAG_SIZE),
    ) -> None:
        self.info = info
        self.tcp = tcp
        self.rec_seq = info.record_number
        self.sk_err = 0
        self.zerocopy_sendfile = zerocopy_sendfile
        self.conf = TxConf.TLS_SW
        self.context: TlsOffloadContextTx | None = None
        self.tx_max_payload_len = TLS_MAX_PAYLOAD_SIZE
        self._cipher = TlsCipher(info)
        self._iv = int.from_bytes(info.iv, "big")
        self._tag_space = tag_space
        self._open_record: _OpenRecord | None = None
        self._netdev: TlsDevOps | None = None
        self._sync_sched = False
        self.fallback: TlsFallback | None = None
        if netdev is not None:
            self._set_device_offload(netdev)

    def _set_device_offload(self, netdev: TlsDevOps) -> None:
        """tls_set_device_offload."""
        context = TlsOffloadContextTx(self.info, self.tcp.write_seq)
        # No segment may be in part from before the offload.
        self.tcp.fence()
        if netdev.tls_dev_add(self.info, self.tcp.write_seq):
            return
        self.conf = TxConf.TLS_HW
        self.context = context
        self._netdev = netdev
        self.fallback = TlsFallback(context)
        self.tcp.acked.append(context.tls_icsk_clean_acked)

    # --- socket calls ------------------------------------------------------------------------------
    def sendmsg(self, data: bytes, flags: int = 0, record_type: int | None = None) -> int:
        """`record_type`: of a TLS_SET_RECORD_TYPE control message."""
        if record_type is not None:
            if flags & MSG_MORE:
                return -errno.EINVAL
            rc = self._push_open_record()
            if rc < 0:
                return rc
        return self._push_data([data], flags, TLS_RECORD_TYPE_DATA if record_type is None else record_type, False)

    def splice(self, pages: list[Buffer], flags: int = 0) -> int:
        """Pages from a pipe (MSG_SPLICE_PAGES)."""
        zerocopy = self.zerocopy_sendfile and self.conf is TxConf.TLS_HW
        return self._push_data(pages, flags, TLS_RECORD_TYPE_DATA, zerocopy)

    def sendfile(self, file: bytes | bytearray, count: int | None = None, pipe_size: int = 16 * PAGE_SIZE) -> int:
        """sendfile(2) from the file's start. It asks for more than there is if `count` goes beyond the end."""
        view = memoryview(file)
        count = len(view) if count is None else count
        sent = 0
        while sent < min(count, len(view)):
            stop = min(sent + pipe_size, count, len(view))
            pages: list[Buffer] = [view[at : min(at + PAGE_SIZE, stop)] for at in range(sent, stop, PAGE_SIZE)]
            rc = self.splice(pages, MSG_MORE if stop < count else 0)
            if rc < 0:
                return sent or rc
            sent = stop
        if sent < count:
            self.splice_eof()
        return sent

    def splice_eof(self) -> None:
        """The file ended before the count asked for: nothing more comes for the open record."""
        self._push_open_record()

    def set_tx_max_payload_len(self, value: int) -> int:
        """setsockopt(TLS_TX_MAX_PAYLOAD_LEN)."""
        if self._open_record is not None:
            return -errno.EBUSY
        smallest = TLS_MIN_RECORD_SIZE_LIM - (1 if self.info.version == TLS_1_3_VERSION else 0)
        if not smallest <= value <= TLS_MAX_PAYLOAD_SIZE:
            return -errno.EINVAL
        self.tx_max_payload_len = value
        return 0

    def shutdown(self) -> None:
        """No more data. An open record is lost, as in the kernel."""
        self._open_record = None
        self.tcp.shutdown()

    def destruct(self) -> None:
        """tls_device_sk_destruct: the socket is gone."""
        self._open_record = None
        if self.context is not None:
            self.context.delete_all_records()
        if self._netdev is not None:
            self._netdev.tls_dev_del()
            self._netdev = None

    # --- records -----------------------------------------------------------------------------------
    def _push_open_record(self) -> int:
        """tls_handle_open_record."""
        record = self._open_record
        return self._push_record(record) if record is not None else 0

    def _push_data(self, pieces: list[Buffer], flags: int, record_type: int, zerocopy: bool) -> int:
        """tls_push_data, tls_sw_sendmsg."""
        if flags & ~_SENDMSG_FLAGS:
            return -errno.EOPNOTSUPP
        more = bool(flags & MSG_MORE)
        if more and flags & MSG_EOR:
            return -errno.EINVAL
        if self.sk_err:
            return -self.sk_err
        hw = self.conf is TxConf.TLS_HW
        size = left = sum(len(piece) for piece in pieces)
        if not left and not hw:
            return 0  # software makes no empty record
        queue = [memoryview(piece) for piece in reversed(pieces) if len(piece)]
        own = 0  # bytes of this call in the open record
        while True:
            if self._open_record is None:
                self._open_record = _OpenRecord(record_type)
                own = 0
            record = self._open_record
            copy = min(len(queue[-1]), self.tx_max_payload_len - record.len) if queue else 0
            if copy:
                piece = queue.pop()
                if copy < len(piece):
                    queue.append(piece[copy:])
                record.append(piece[:copy], zerocopy)
                left -= copy
                own += copy
            full = record.len >= self.tx_max_payload_len
            if not left and more and (hw or not full):
                return size
            if not left or full or record.num_frags >= MAX_SKB_FRAGS - 1:
                rc = self._push_record(record)
                if rc < 0:
                    return size - left - own or rc
                if not left:
                    return size

    def _push_record(self, record: _OpenRecord) -> int:
        """tls_device_record_close and tls_push_record; tls_push_record of tls_sw.c."""
        self._open_record = None
        if self.rec_seq == _COUNTER - 1:
            # tls_advance_record_sn: a number is never used twice. The record is not sent.
            self.sk_err = errno.EBADMSG
            return -self.sk_err
        prepend = self._cipher.fill_prepend(record.len, record.record_type, self._iv)
        tail = self._cipher.tail(record.record_type)
        if self.context is None:
            plain = b"".join(record.frags) + tail
            self.tcp.write(prepend, self._cipher.seal(prepend, plain, self.rec_seq))
        else:
            seq = self.tcp.write_seq
            frags = (prepend, *record.frags, tail + self._tag_space)
            self.context.add(TlsRecordInfo(seq + sum(len(frag) for frag in frags), frags))
            if self._sync_sched:
                self._resync_tx(seq)
            self.tcp.write(*frags)
        self.rec_seq += 1
        self._iv = (self._iv + 1) % _COUNTER
        return 0

    # --- device ------------------------------------------------------------------------------------
    def tls_get_record(self, seq: int) -> tuple[TlsRecordInfo, int] | None:
        """For the driver. See `TlsOffloadContextTx`."""
        return self.context.tls_get_record(seq) if self.context else None

    def tls_offload_tx_resync_request(self, got_seq: int, exp_seq: int) -> None:
        """The driver saw a jump: it wants to know where the next record begins."""
        if self._sync_sched:
            raise RuntimeError(f"a resync is pending already (got {got_seq}, expected {exp_seq})")
        self._sync_sched = True

    def tls_offload_tx_resync_pending(self) -> bool:
        """TLS_TX_SYNC_SCHED: until it is false the driver must not look at its expected sequence number."""
        return self._sync_sched

    def _resync_tx(self, seq: int) -> None:
        """tls_device_resync_tx: the next record begins at `seq`, and so does a segment."""
        self.tcp.fence()
        if self._netdev is None or not self._netdev.tls_dev_resync(seq, self.rec_seq):
            self._sync_sched = False

    def tls_encrypt_skb(self, frame: bytes) -> bytes | None:
        """For the driver: software encrypts this packet (None: dropped)."""
        if self.fallback is None:
            raise ValueError("the socket is not offloaded")
        return self.fallback.tls_sw_fallback(frame)

    def tls_validate_xmit_skb(self, netdev: TlsDevOps | None, frame: bytes) -> bytes | None:
        """A packet on its way to `netdev`: any other than ours gets it encrypted. None: dropped."""
        if self.fallback is None or (netdev is not None and netdev is self._netdev):
            return frame
        return self.fallback.tls_sw_fallback(frame)

    def tls_device_down(self) -> None:
        """NETDEV_DOWN: the socket keeps its record list and is encrypted packet by packet from here."""
        if self._netdev is not None:
            self._netdev.tls_dev_del()
            self._netdev = None
