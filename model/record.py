"""TLS records as the golden devices see them: header limits, nonce, additional data, keystream."""

from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from model.contract import (
    EXPLICIT_NONCE_SIZE,
    HEADER_SIZE,
    MAX_LENGTH,
    MIN_LENGTH,
    TAG_SIZE,
    TLS_VERSION_BYTES,
)

_TLS12 = 0x0303
_PATTERN = b"\x17" + TLS_VERSION_BYTES.to_bytes(2, "big")
"""How a record of application data begins."""


class Opened(NamedTuple):
    """What a record's header and number say. `size` counts body and tag; `nonce` is the 12 bytes for AES-GCM."""

    nonce: bytes
    aad: bytes
    size: int


class RecordCipher:
    """Keys of one direction of a connection.

    Members
    -------
    header_size : int
        Bytes in front of a record's body: header, in TLS 1.2 the explicit nonce too.
    aead : AESGCM
    limits : (int, int)
        Smallest and largest length field of a header.
    """

    def __init__(self, version: int, key: bytes, salt: bytes, iv: bytes) -> None:
        self._tls12 = version == _TLS12
        self.limits = MIN_LENGTH[version], MAX_LENGTH[version]
        self._salt = salt
        self._static_iv = int.from_bytes(salt + iv, "big")
        self._ctr = Cipher(AES(key), CTR(bytes(16))).encryptor()
        self.header_size = HEADER_SIZE + (EXPLICIT_NONCE_SIZE if self._tls12 else 0)
        self.aead = AESGCM(key)

    def open(self, header: bytes, number: int) -> Opened | None:
        """The record of a complete header (`header_size` bytes); None if the header is outside the limits."""
        length = header[3] << 8 | header[4]
        if header[1] << 8 | header[2] != TLS_VERSION_BYTES or not self.limits[0] <= length <= self.limits[1]:
            return None
        if self._tls12:
            plain = length - EXPLICIT_NONCE_SIZE - TAG_SIZE
            aad = number.to_bytes(8, "big") + header[:3] + plain.to_bytes(2, "big")
            return Opened(self._salt + header[HEADER_SIZE:], aad, plain + TAG_SIZE)
        return Opened((self._static_iv ^ number).to_bytes(12, "big"), header, length)

    def find(self, data: bytes, first: int = 0) -> int | None:
        """The first place from `first` on of what looks like the header of a record of application data."""
        low, high = self.limits
        at = data.find(_PATTERN, first)
        while 0 <= at <= len(data) - HEADER_SIZE:
            if low <= (data[at + 3] << 8 | data[at + 4]) <= high:
                return at
            at = data.find(_PATTERN, at + 1)
        return None

    def plausible(self, part: bytes) -> bool:
        """Whether the first bytes of a header, as far as they are there, can be those of one within the limits."""
        low, high = self.limits
        if part[1:3] != TLS_VERSION_BYTES.to_bytes(2, "big")[: len(part[1:3])]:
            return False
        if len(part) < HEADER_SIZE:
            return len(part) < HEADER_SIZE - 1 or part[3] <= high >> 8
        return low <= (part[3] << 8 | part[4]) <= high

    def xor(self, nonce: bytes, start: int, data: bytes) -> bytes:
        """Body bytes from body offset `start` on, XOR keystream."""
        # GCM encrypts the body with counter blocks nonce || 2, nonce || 3, ...
        block, lead = divmod(start, 16)
        self._ctr.reset_nonce(nonce + (block + 2).to_bytes(4, "big"))
        if lead:
            self._ctr.update(bytes(lead))
        return self._ctr.update(data)
