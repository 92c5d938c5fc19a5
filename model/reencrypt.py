"""From what a device delivered back to the wire: what was decrypted was ciphertext, and nothing else changed.

By another route than the stack's: the keystream is what AES-GCM makes of zeros.
"""

from bisect import bisect_right
from collections.abc import Sequence

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from model.crypto_info import TLS_1_2_VERSION, CryptoInfo
from model.frame import parse
from model.ktls import RecordLog


class Reencryptor:
    """Puts the ciphertext back into frames of one connection that were delivered decrypted.

    Parameters
    ----------
    info : CryptoInfo
    records : sequence of RecordLog
        Contiguous and in order, as the stack logs them. A frame that reaches outside raises LookupError.
    """

    def __init__(self, info: CryptoInfo, records: Sequence[RecordLog]) -> None:
        self._tls12 = info.version == TLS_1_2_VERSION
        self._aead = AESGCM(info.key)
        self._info = info
        self._records = records
        self._starts: list[int] = []
        offset = 0
        for record in records:
            self._starts.append(offset)
            offset += record.length
        self._end = offset
        self._last = 0  # stream offset of the latest frame, to unwrap sequence numbers
        self._keystreams: dict[int, bytes] = {}

    def frame(self, frame: bytes) -> bytes:
        packet = parse(frame)
        if packet is None:
            raise LookupError("not a TCP packet")
        payload = self.payload(packet.seq, frame[packet.payload : packet.end])
        return frame[: packet.payload] + payload + frame[packet.end :]

    def payload(self, seq: int, payload: bytes) -> bytes:
        if not self._records:
            raise LookupError("no record known")
        distance = (seq - self._records[0].seq - self._last) % 2**32
        offset = self._last + distance - (2**32 if distance >= 2**31 else 0)
        if offset < 0 or offset + len(payload) > self._end:
            raise LookupError(f"sequence number {seq}, {len(payload)} bytes: outside the records known")
        self._last = offset
        mask = b""
        at = bisect_right(self._starts, offset) - 1
        while len(mask) < len(payload):
            start = offset + len(mask) - self._starts[at]
            mask += self._mask(at)[start : start + len(payload) - len(mask)]
            at += 1
        number = int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")
        return number.to_bytes(len(payload), "big")

    def _mask(self, at: int) -> bytes:
        """What is XORed onto record `at` on its way to plaintext: zero but on the body."""
        if at not in self._keystreams:
            if len(self._keystreams) > 16:
                self._keystreams.clear()
            record = self._records[at]
            if self._tls12:
                prefix = 13
                nonce = self._info.salt + record.explicit_nonce
            else:
                prefix = 5
                iv = int.from_bytes(self._info.salt + self._info.iv, "big")
                nonce = (iv ^ record.number).to_bytes(12, "big")
            body = record.length - prefix - 16
            keystream = self._aead.encrypt(nonce, bytes(body), None)[:body]
            self._keystreams[at] = bytes(prefix) + keystream + bytes(16)
        return self._keystreams[at]


def reencrypted(frame: bytes, records: Sequence[RecordLog], info: CryptoInfo) -> bytes:
    """The frame as it was on the wire, of a connection's frame delivered decrypted. See `Reencryptor`."""
    return Reencryptor(info, records).frame(frame)
