"""Software encryption of single packets of an offloaded socket: net/tls/tls_device_fallback.c of Linux."""

import struct

from model.frame import parse
from model.tls_cipher import TLS_TAG_SIZE, TlsCipher
from model.tls_records import TlsOffloadContextTx, before


class TlsFallback:
    """`tls_sw_fallback` for the socket of `context`. Needs the record list only, not the socket."""

    def __init__(self, context: TlsOffloadContextTx) -> None:
        self._context = context
        self._cipher = TlsCipher(context.info)

    def tls_sw_fallback(self, frame: bytes) -> bytes | None:
        """The frame as TLS_SW would have sent it, with its checksum; None: dropped.

        A frame from before offload started passes as it is. TCP payload may exceed what one packet of the wire
        bears: it is cut behind this hook.
        """
        packet = parse(frame, limit=None)
        if packet is None:
            raise ValueError("not a TCP packet: no socket sent it")
        if self._before_marker(packet.seq, packet.length):
            return frame
        sealed = self.encrypt(packet.seq, frame[packet.payload : packet.end])
        if sealed is None:
            return None
        out = bytearray(frame)
        out[packet.payload : packet.end] = sealed
        struct.pack_into("!H", out, packet.tcp + 16, 0)
        pseudo = packet.key[:-4] + struct.pack("!II", packet.end - packet.tcp, 6)
        struct.pack_into("!H", out, packet.tcp + 16, _csum_fold(pseudo + bytes(out[packet.tcp : packet.end])))
        return bytes(out)

    def encrypt(self, seq: int, payload: bytes) -> bytes | None:
        """The same for a payload alone."""
        if self._before_marker(seq, len(payload)):
            return payload
        found = self._context.tls_get_record(seq)
        if found is None:
            return None
        record, rcd_sn = found
        if before(seq, record.start_seq):
            # Across the marker; or acknowledged already: TCP will send again what is not.
            return None
        sync_size = (seq - record.start_seq) % 2**32
        return self._enc_records(record.data[:sync_size] + payload, rcd_sn)[sync_size:]

    def _before_marker(self, seq: int, size: int) -> bool:
        """Nothing in it is to be encrypted: sent before offload started, or empty."""
        if size == 0:
            return True
        found = self._context.tls_get_record(seq)
        if found is None or not found[0].is_start_marker:
            return False
        return size <= (found[0].start_seq - seq) % 2**32

    def _enc_records(self, data: bytes, rcd_sn: int) -> bytes:
        """tls_enc_records: `data` begins with a record and may end anywhere in one."""
        cipher = self._cipher
        out = b""
        while data:
            prepend, data = data[: cipher.prepend_size], data[cipher.prepend_size :]
            out += prepend
            if not data:
                break
            rest = 5 + int.from_bytes(prepend[3:5], "big") - cipher.prepend_size
            plain = data[: rest - TLS_TAG_SIZE]
            # Of a record cut short the tag is garbage, and nothing of it is sent.
            out += cipher.seal(prepend, plain, rcd_sn)[: min(rest, len(data))]
            data = data[rest:]
            rcd_sn = (rcd_sn + 1) % 2**64
        return out


def _csum_fold(data: bytes) -> int:
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
