"""What kTLS puts around the plaintext of a record, and how software encrypts it (net/tls/tls.h, tls_sw.c)."""

import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from model.crypto_info import TLS_1_3_VERSION, CryptoInfo

TLS_HEADER_SIZE = 5
TLS_TAG_SIZE = 16
TLS_RECORD_TYPE_DATA = 23


class TlsCipher:
    """`struct tls_prot_info` and the AEAD of one direction.

    Members
    -------
    prepend_size, tail_size : int
        Header with explicit nonce; TLS 1.3's inner content type.
    overhead_size : int
        All that a record has beside the plaintext.
    """

    def __init__(self, info: CryptoInfo) -> None:
        self._info = info
        self._tls13 = info.version == TLS_1_3_VERSION
        self._aead = AESGCM(info.key)
        self.prepend_size = TLS_HEADER_SIZE + (0 if self._tls13 else 8)
        self.tail_size = 1 if self._tls13 else 0
        self.overhead_size = self.prepend_size + self.tail_size + TLS_TAG_SIZE

    def fill_prepend(self, plaintext_len: int, record_type: int, explicit_nonce: int) -> bytes:
        """tls_fill_prepend."""
        length = plaintext_len + self.overhead_size - TLS_HEADER_SIZE
        if self._tls13:
            return struct.pack("!BHH", TLS_RECORD_TYPE_DATA, 0x0303, length)
        return struct.pack("!BHHQ", record_type, 0x0303, length, explicit_nonce)

    def tail(self, record_type: int) -> bytes:
        return bytes([record_type]) if self._tls13 else b""

    def seal(self, prepend: bytes, plain: bytes, rcd_sn: int) -> bytes:
        """Ciphertext and tag for the plaintext (with its tail) behind `prepend`.

        The length that is authenticated is the header's, even if `plain` is only the beginning of the record.
        """
        if self._tls13:
            iv = int.from_bytes(self._info.salt + self._info.iv, "big") ^ rcd_sn
            return self._aead.encrypt(iv.to_bytes(12, "big"), plain, prepend)
        nonce = self._info.salt + prepend[TLS_HEADER_SIZE:]
        length = int.from_bytes(prepend[3:5], "big") - 8 - TLS_TAG_SIZE
        return self._aead.encrypt(nonce, plain, struct.pack("!Q", rcd_sn) + prepend[:3] + struct.pack("!H", length))
