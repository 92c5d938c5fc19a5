"""ChaCha20-Poly1305 on the software path: a cipher no device takes, so that its connections are judged too.

Sources: RFC 7905 (TLS 1.2), RFC 8446 (section 5.3); `struct tls12_crypto_info_chacha20_poly1305`.
"""

import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from model.crypto_info import CryptoInfo
from model.ktls import TLS_HEADER_SIZE, TLS_TAG_SIZE, KtlsReceiver, ResyncCallback

TLS_CIPHER_CHACHA20_POLY1305 = 54


@dataclass(frozen=True, slots=True)
class ChachaCryptoInfo(CryptoInfo):
    """No salt, an IV of 12 bytes, in both versions."""

    def __post_init__(self) -> None:
        sizes = (len(self.key), len(self.salt), len(self.iv), len(self.rec_seq))
        if sizes != (32, 0, 12, 8):
            raise ValueError(f"key, salt, iv and rec_seq of {sizes} bytes: must be 32, 0, 12 and 8")

    @property
    def cipher_type(self) -> int:
        return TLS_CIPHER_CHACHA20_POLY1305


class ChachaReceiver(KtlsReceiver):
    """A kTLS socket with that cipher: no nonce on the wire, the record number in every nonce."""

    def __init__(
        self, info: ChachaCryptoInfo, start_seq: int, resync: ResyncCallback | None = None, keep: bool = False
    ) -> None:
        super().__init__(info, start_seq, None, keep)
        self._chacha = ChaCha20Poly1305(info.key)
        self._nonce_size = 0
        self._prepend = TLS_HEADER_SIZE
        self._overhead = TLS_TAG_SIZE

    def _nonce(self, wire: bytes) -> bytes:
        return (int.from_bytes(self.info.iv, "big") ^ self.record_number).to_bytes(12, "big")

    def _decrypt(self, wire: bytes, nonce: bytes) -> bytes | None:
        aad = wire[:TLS_HEADER_SIZE]
        if not self._tls13:
            plain_length = len(wire) - TLS_HEADER_SIZE - TLS_TAG_SIZE
            aad = struct.pack("!Q", self.record_number) + aad[:3] + struct.pack("!H", plain_length)
        try:
            return self._chacha.decrypt(nonce, wire[TLS_HEADER_SIZE:], aad)
        except InvalidTag:
            self.statistics["TlsDecryptError"] += 1
            self._stop("EBADMSG", "authentication failed")
            return None
