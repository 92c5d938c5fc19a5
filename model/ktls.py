"""kTLS, receive direction: TLS_HW behind a device's marks, TLS_SW without them.

Follows net/tls/tls_sw.c and tls_device.c of Linux in what it checks, in which order, and with which error. The
reader behind it reads at once whatever can be read, control records included.
"""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from model.crypto_info import TLS_1_3_VERSION, CryptoInfo
from model.tcp import Piece, TcpReceiver

TLS_MAX_PAYLOAD_SIZE = 1 << 14
TLS_HEADER_SIZE = 5
TLS_TAG_SIZE = 16
TLS_RECORD_TYPE_HANDSHAKE = 22
TLS_RECORD_TYPE_DATA = 23
TLS_HANDSHAKE_KEYUPDATE = 24
TLS_DEVICE_RESYNC_NH_START_IVAL = 2
TLS_DEVICE_RESYNC_NH_MAX_IVAL = 128
TLS_DEVICE_RESYNC_ASYNC_LOGMAX = 13
USHRT_MAX = (1 << 16) - 1

Errno = Literal["EBADMSG", "EMSGSIZE", "EINVAL", "EKEYEXPIRED"]
ResyncCallback = Callable[[int, int], object]


class ResyncType(IntEnum):
    """enum tls_offload_sync_type: what makes the stack tell the device where a record begins.

    The place that the callback gets is the header's first byte, but under `DRIVER_REQ` the last one of its first five.
    """

    DRIVER_REQ = 0  # the device has asked for a place, and the header that ends there is met
    CORE_NEXT_HINT = 1  # records came wholly encrypted: the next one
    DRIVER_REQ_ASYNC = 2  # as DRIVER_REQ; the place is named after the stack has passed it, perhaps


class Handling(StrEnum):
    """What a record cost the stack."""

    OFFLOADED = "offloaded"  # all its bytes came marked: plaintext taken as it is
    MIXED = "mixed"  # some did: encrypted again, then decrypted
    SOFTWARE = "software"


@dataclass(frozen=True, slots=True)
class RecordLog:
    """A record the stack had whole. `content_type` is TLS 1.3's inner one; None where no one learnt it.

    `length` counts the header. `error` is set on the record that stopped the stack.
    """

    number: int
    seq: int
    length: int
    content_type: int | None
    handling: Handling
    explicit_nonce: bytes = b""
    error: Errno | None = None

    @property
    def application(self) -> bool:
        return self.content_type == TLS_RECORD_TYPE_DATA and self.error is None


class Application:
    """The application bytes: their number, their SHA-256 and, if asked for, the bytes."""

    def __init__(self, keep: bool) -> None:
        self.size = 0
        self._hash = hashlib.sha256()
        self._data = bytearray() if keep else None

    def write(self, data: bytes) -> None:
        self.size += len(data)
        self._hash.update(data)
        if self._data is not None:
            self._data += data

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    @property
    def data(self) -> bytes:
        if self._data is None:
            raise ValueError("application bytes were not kept: KtlsReceiver(..., keep=True)")
        return bytes(self._data)


class _NextHint:
    """TLS_OFFLOAD_SYNC_TYPE_CORE_NEXT_HINT: when to tell the device where the next record is."""

    def __init__(self) -> None:
        self.reset = True
        self.do_now = False
        self._failed = 0
        self._target = 0

    def encrypted(self) -> bool:
        """A record came wholly encrypted; whether it is time for a hint."""
        if self.do_now:
            return False
        if self.reset:
            self.reset = False
            self._failed = 1
            self._target = TLS_DEVICE_RESYNC_NH_START_IVAL
            return False
        self._failed += 1
        if self._failed <= self._target:
            return False
        if self._target < TLS_DEVICE_RESYNC_NH_MAX_IVAL:
            self._target *= 2
        else:
            self._target += TLS_DEVICE_RESYNC_NH_MAX_IVAL
        return True


@dataclass
class _Async:
    """struct tls_offload_resync_async: the headers met since a request was announced, and a count of them."""

    seq: int
    end: int
    open: bool = True
    """Its place is not known yet."""
    log: list[int] = field(default_factory=list[int])
    delta: int = 0

    def header(self, seq: int) -> tuple[int, int] | None:
        """A header is met at `seq`: the place asked for, and how many records it lies back; None: go on waiting."""
        if self.open:
            if _before(seq, self.seq):
                return None
            if not _before(self.end, seq) and len(self.log) < TLS_DEVICE_RESYNC_ASYNC_LOGMAX:
                self.log.append(seq)
            self.delta += 1
            return None
        log, delta = self.log, self.delta
        self.log, self.delta = [], 0
        if self.seq in log:
            return self.seq, delta - log.index(self.seq)
        return (seq, 0) if seq == self.seq else None


def _before(a: int, b: int) -> bool:
    return (a - b) % 2**32 >= 2**31


class KtlsReceiver:
    """One socket's receive side.

    Parameters
    ----------
    info : CryptoInfo
    start_seq : int
        TCP sequence number of the first header, of record `info.rec_seq`.
    resync : callable (seq, record_number), optional
        tls_dev_resync of the driver: "record `record_number` begins at `seq`" (`ResyncType`). Without it there is none.
    keep : bool
        Keep the application bytes, not only their hash.

    Members
    -------
    application : Application
    control : list of (content type, bytes)
        Records other than application data, in order.
    records : list of RecordLog
    error, reason : str or None, str
        What stopped the receive side: errno name and the place in words. Nothing is read behind it.
    ack_seq : int
        The next byte that TCP wants.
    eof : bool
        The peer's FIN is reached (a record cut by it stays unread).
    statistics : dict of str to int
        By the names of /proc/net/tls_stat, and InCsumErrors of /proc/net/snmp.
    """

    def __init__(
        self, info: CryptoInfo, start_seq: int, resync: ResyncCallback | None = None, keep: bool = False
    ) -> None:
        self.info = info
        self.application = Application(keep)
        self.control: list[tuple[int, bytes]] = []
        self.records: list[RecordLog] = []
        self.error: Errno | None = None
        self.reason = ""
        self.statistics = {"TlsDecryptError": 0, "TlsRxDeviceResync": 0, "InCsumErrors": 0}
        self.record_number = info.record_number
        self._tcp = TcpReceiver(start_seq)
        self._resync = resync
        self._hint = _NextHint()
        self._resync_type = ResyncType.CORE_NEXT_HINT
        self._resync_request: int | None = None
        self._async: _Async | None = None
        self._full_len = 0  # of the record in progress, 0 before its header is parsed

        self._tls13 = info.version == TLS_1_3_VERSION
        self._nonce_size = 0 if self._tls13 else 8
        self._prepend = TLS_HEADER_SIZE + self._nonce_size
        self._overhead = self._nonce_size + TLS_TAG_SIZE
        self._tail = 1 if self._tls13 else 0
        self._aead = AESGCM(info.key)

    @property
    def eof(self) -> bool:
        return self._tcp.eof

    @property
    def ack_seq(self) -> int:
        """The next byte that TCP wants: what it acknowledges."""
        return self._tcp.next_seq

    def segment(
        self,
        seq: int,
        payload: bytes,
        decrypted: bool = False,
        fin: bool = False,
        checksum_good: bool = True,
    ) -> None:
        """A TCP segment from the driver. One whose checksum is wrong is dropped here, as TCP drops it."""
        if not checksum_good:
            self.statistics["InCsumErrors"] += 1
            return
        self._tcp.segment(seq, payload, decrypted, fin)
        while self.error is None and self._advance():
            pass

    # --- include/net/tls.h: what the driver of a device calls -----------------------------------------
    def set_device(self, resync: ResyncCallback) -> None:
        """The device has taken the connection."""
        self._resync = resync

    def tls_offload_rx_resync_set_type(self, kind: ResyncType) -> None:
        """What is pending is forgotten."""
        self._resync_type = kind
        self._resync_request = self._async = None
        self._hint = _NextHint()

    def tls_offload_rx_resync_request(self, seq: int) -> None:
        """The driver asks whether `seq` is the last byte of a header's first five. A new request replaces the old."""
        self._resync_request = seq

    def tls_offload_rx_resync_async_request_start(self, seq: int, length: int) -> None:
        """The place the device will ask for is within [seq, seq + length], `length` modulo 2^16: log headers there."""
        self._async = _Async(seq, (seq + length % 2**16) % 2**32)

    def tls_offload_rx_resync_async_request_end(self, seq: int) -> None:
        """The driver asks whether a header begins, or began, at `seq`."""
        if self._async:
            self._async.seq = seq
            self._async.open = False

    def tls_offload_rx_resync_async_request_cancel(self) -> None:
        self._async = None

    # --- record delineation ------------------------------------------------------------------------
    def _advance(self) -> bool:
        """Parse a header or process a record; False if more data must come first."""
        tcp = self._tcp
        if self._full_len == 0:
            if tcp.queued < self._prepend:
                return False
            self._full_len = self._message_size(tcp.peek(TLS_HEADER_SIZE))
            if self.error is None:
                self._new_record()
            return True
        if tcp.queued < self._full_len:
            return False
        seq = tcp.read_seq
        self._record(seq, tcp.take(self._full_len))
        self._full_len = 0
        return True

    def _message_size(self, header: bytes) -> int:
        """tls_rx_msg_size: bytes of the record on the wire. The order of the checks decides the error."""
        _, version, length = struct.unpack("!BHH", header)
        if length > TLS_MAX_PAYLOAD_SIZE + self._overhead + self._tail:
            self._stop("EMSGSIZE", f"length {length} is too large")
        elif length < self._overhead:
            self._stop("EBADMSG", f"length {length} is too small")
        elif version != 0x0303:
            self._stop("EINVAL", f"version {version:#06x} in the header")
        return TLS_HEADER_SIZE + length

    def _stop(self, error: Errno, why: str) -> None:
        self.error = error
        self.reason = f"record {self.record_number}: {why}"

    # --- records -----------------------------------------------------------------------------------
    def _record(self, seq: int, pieces: list[Piece]) -> None:
        number = self.record_number
        wire = b"".join(piece.data for piece in pieces)
        marked = sum(piece.decrypted for piece in pieces)
        if marked == len(pieces):
            handling = Handling.OFFLOADED
        else:
            handling = Handling.MIXED if marked else Handling.SOFTWARE
        if handling is not Handling.SOFTWARE:
            self._hint.reset = True
        elif self._resync and self._resync_type is ResyncType.CORE_NEXT_HINT and self._hint.encrypted():
            self._hint_after_record()

        content_type: int | None = wire[0]
        nonce = self._nonce(wire)
        if handling is Handling.OFFLOADED:
            plain: bytes | None = wire[self._prepend : -TLS_TAG_SIZE]
        else:
            if handling is Handling.MIXED:
                wire = self._reencrypt(wire, pieces, nonce)
            plain = self._decrypt(wire, nonce)
        if plain is not None and self._tls13:
            plain, content_type = self._strip_padding(plain)
        explicit = wire[TLS_HEADER_SIZE : self._prepend]
        log = RecordLog(
            number,
            seq,
            len(wire),
            content_type if plain is not None else None,
            handling,
            explicit,
            self.error,
        )
        self.records.append(log)
        if plain is None:
            return

        assert content_type is not None
        if content_type == TLS_RECORD_TYPE_DATA:
            self.application.write(plain)
        else:
            self.control.append((content_type, plain))
        if number == 2**64 - 1:
            self._stop("EBADMSG", "the record number would wrap")
        elif (
            self._tls13 and content_type == TLS_RECORD_TYPE_HANDSHAKE and plain[:1] == bytes([TLS_HANDSHAKE_KEYUPDATE])
        ):
            self._stop("EKEYEXPIRED", "KeyUpdate: rekey is not supported")
        self.record_number = (number + 1) % 2**64

    def _nonce(self, wire: bytes) -> bytes:
        if not self._tls13:
            return self.info.salt + wire[TLS_HEADER_SIZE : self._prepend]
        padded = bytes(4) + struct.pack("!Q", self.record_number)
        return bytes(a ^ b for a, b in zip(self.info.salt + self.info.iv, padded, strict=True))

    def _decrypt(self, wire: bytes, nonce: bytes) -> bytes | None:
        aad = wire[:TLS_HEADER_SIZE]
        if not self._tls13:
            plain_length = len(wire) - self._prepend - TLS_TAG_SIZE
            aad = struct.pack("!Q", self.record_number) + aad[:3] + struct.pack("!H", plain_length)
        try:
            return self._aead.decrypt(nonce, wire[self._prepend :], aad)
        except InvalidTag:
            self.statistics["TlsDecryptError"] += 1
            self._stop("EBADMSG", "authentication failed")
            return None

    def _reencrypt(self, wire: bytes, pieces: list[Piece], nonce: bytes) -> bytes:
        """tls_device_reencrypt: put the ciphertext back where a piece came marked.

        Decrypts the whole body as if it were ciphertext. On marked pieces the keystream goes on twice, which
        makes ciphertext of them; the rest of the result is not used.
        """
        body_end = len(wire) - TLS_TAG_SIZE
        cipher = Cipher(AES(self.info.key), CTR(nonce + struct.pack("!I", 2))).decryptor()
        flipped = wire[: self._prepend] + cipher.update(wire[self._prepend : body_end]) + wire[body_end:]
        out: list[bytes] = []
        at = 0
        for piece in pieces:
            end = at + len(piece.data)
            out.append(flipped[at:end] if piece.decrypted else piece.data)
            at = end
        return b"".join(out)

    def _strip_padding(self, plain: bytes) -> tuple[bytes | None, int | None]:
        stripped = plain.rstrip(b"\0")
        if not stripped:
            self._stop("EBADMSG", "no content type in the record")
            return None, None
        return stripped[:-1], stripped[-1]

    # --- resynchronisation -------------------------------------------------------------------------
    def _hint_after_record(self) -> None:
        """tls_device_core_ctrl_rx_resync, for a record just taken out of the queue."""
        if self._tcp.queued:
            self._hint.do_now = True
        else:
            self._send_hint(self._tcp.read_seq)

    def _new_record(self) -> None:
        """tls_device_rx_resync_new_rec, for a header just parsed at the head of the queue."""
        if self._resync is None:
            return
        seq = self._tcp.read_seq
        match self._resync_type:
            case ResyncType.DRIVER_REQ:
                last = (seq + TLS_HEADER_SIZE - 1) % 2**32
                if self._resync_request == last:
                    self._resync_request = None
                    self._send_resync(last, self.record_number)
            case ResyncType.CORE_NEXT_HINT:
                if self._hint.do_now and self._tcp.queued <= self._full_len:
                    self._hint.do_now = False
                    self._send_hint((seq + self._full_len) % 2**32)
            case ResyncType.DRIVER_REQ_ASYNC:
                if self._async is None:
                    return
                if self._async.open and self._async.delta == USHRT_MAX:
                    self._async = None  # the count would overflow: cancelled
                    return
                found = self._async.header(seq)
                if found:
                    self._async = None
                    place, back = found
                    self._send_resync(place, (self.record_number - back) % 2**64)

    def _send_hint(self, seq: int) -> None:
        self._send_resync(seq, (self.record_number + 1) % 2**64)

    def _send_resync(self, seq: int, record_number: int) -> None:
        assert self._resync is not None
        self.statistics["TlsRxDeviceResync"] += 1
        self._resync(seq, record_number)
