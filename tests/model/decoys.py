"""Records whose ciphertext says what one wants: the key is known, so the plaintext can be chosen for it."""

import struct

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from sim.traffic import TLS12, Stream


def sealed_as(stream: Stream, body: bytes) -> bytes:
    """The next record of the stream with these ciphertext bytes (TLS 1.3: and one behind them, the inner type's)."""
    if stream.version == TLS12:
        explicit = stream.rng.randbytes(8)
        nonce = stream.salt + explicit
    else:
        mask = bytes(4) + struct.pack("!Q", stream.next_number)
        explicit, nonce = None, bytes(a ^ b for a, b in zip(stream.salt + stream.iv, mask, strict=True))
    cipher = Cipher(AES(stream.key), CTR(nonce + struct.pack("!I", 2))).encryptor()
    wire = stream.record(cipher.update(body), explicit_nonce=explicit)
    prefix = 13 if stream.version == TLS12 else 5
    assert wire[prefix : prefix + len(body)] == body
    return wire


def decoy(length: int) -> bytes:
    """A header of application data of `length` bytes."""
    return b"\x17\x03\x03" + length.to_bytes(2, "big")
