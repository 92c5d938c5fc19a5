"""Annotated captures out: pcapng with a comment on every packet and the key log inside."""

import struct
from pathlib import Path
from typing import BinaryIO

from sim.capture import ENHANCED_PACKET, ETHERNET, INTERFACE, PCAPNG_MAGIC, SECRETS, TLS_KEY_LOG


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


class PcapngWriter:
    """Writes Ethernet frames with nanosecond times and comments.

    Format: draft-ietf-opsawg-pcapng. A key log becomes a Decryption Secrets Block in front of the packets, so
    that Wireshark decrypts what is still encrypted.
    """

    def __init__(self, path: Path, key_log: str = "", comment: str = ""):
        self._file: BinaryIO = path.open("wb")
        end = _option(0, b"")
        options = _option(1, comment.encode()) if comment else b""
        self._file.write(
            self._framed(
                struct.unpack("<I", PCAPNG_MAGIC)[0],
                struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + options + _option(4, b"ktls-nic") + end,
            )
        )
        nanoseconds = _option(9, b"\x09")
        self._file.write(self._framed(INTERFACE, struct.pack("<HHI", ETHERNET, 0, 0) + nanoseconds + end))
        if key_log:
            text = key_log.encode()
            body = struct.pack("<II", TLS_KEY_LOG, len(text)) + _padded(text)
            self._file.write(self._framed(SECRETS, body))

    @staticmethod
    def _framed(kind: int, body: bytes) -> bytes:
        length = struct.pack("<I", len(body) + 12)
        return struct.pack("<I", kind) + length + body + length

    def write(self, frame: bytes, time_ns: int, wire_length: int, comment: str, incoming: bool) -> None:
        header = struct.pack("<IIIII", 0, time_ns >> 32, time_ns & 0xFFFFFFFF, len(frame), wire_length)
        options = _option(1, comment.encode()) if comment else b""
        options += _option(2, struct.pack("<I", 1 if incoming else 2)) + _option(0, b"")
        self._file.write(self._framed(ENHANCED_PACKET, header + _padded(frame) + options))

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "PcapngWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
