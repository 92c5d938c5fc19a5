"""Golden model of the adapter to Corundum's application block: what becomes of a frame and its header.

Rules: docs/corundum.md. The device itself is model.device and model.tx_device.
"""

from functools import reduce
from operator import xor

from model.commands import Descriptor
from model.contract import ETHERTYPE_IPV4, ETHERTYPE_IPV6, PROTOCOL_TCP, TxKind
from model.metadata import (
    METADATA_ETHERTYPE,
    METADATA_VERSION,
    RX_METADATA_BYTES,
    TX_METADATA_BYTES,
    TxHeaders,
)
from model.tx_commands import TxRequest

_PROTOCOL_UDP = 17
_MARK = METADATA_ETHERTYPE.to_bytes(2, "big")


def with_rx_header(frame: bytes, descriptor: Descriptor) -> bytes:
    """A received frame as it goes back to the tap while headers are on."""
    flags = descriptor.checksum | descriptor.matched << 2
    flags |= (descriptor.request is not None) << 3 | descriptor.proven << 4
    header = bytearray(RX_METADATA_BYTES)
    header[0:4] = METADATA_VERSION, descriptor.status, flags, RX_METADATA_BYTES
    header[4:8] = descriptor.handle.to_bytes(4, "little")
    header[8:12] = (descriptor.request or descriptor.given_up_at or 0).to_bytes(4, "little")
    header[12:14] = _MARK
    return bytes(header) + frame


def without_tx_header(frame: bytes, mode: TxHeaders) -> tuple[bytes, TxRequest] | None:
    """What the device gets of a frame from the tap, and with what request; None: the frame is dropped."""
    marked = frame[12:14] == _MARK
    if mode is not TxHeaders.ALWAYS and not marked:
        return frame, TxRequest()
    if mode is TxHeaders.OFF:
        return None
    header, rest = frame[:TX_METADATA_BYTES], frame[TX_METADATA_BYTES:]
    if not rest:
        return None
    version, kind, flags, size = header[0:4]
    handle = int.from_bytes(header[4:8], "little")
    record_seq = int.from_bytes(header[8:12], "little")
    record_number = int.from_bytes(header[16:24], "little")
    record_header = header[24:37]
    nothing = header[14:16] + header[37:]
    if not marked or version != METADATA_VERSION or size != TX_METADATA_BYTES:
        return None
    if kind not in list(TxKind) or flags > 1 or handle >> 24 or any(nothing):
        return None
    if kind == TxKind.PASS and (handle or flags or record_seq or record_number or any(record_header)):
        return None
    return rest, TxRequest(TxKind(kind), handle, 0, bool(flags), record_seq, record_number, record_header)


def flow_of(frame: bytes) -> int:
    """What a received frame's TDEST is XORed with: 8 bits. Bytes behind the end of the frame are none."""
    ethertype = int.from_bytes(frame[12:14], "big") if len(frame) >= 14 else 0
    addresses = ports = b""
    if ethertype == ETHERTYPE_IPV4 and frame[14:15] == b"\x45":
        addresses = frame[26:34]
        whole = len(frame) > 21 and not frame[20] & 0x3F and not frame[21]
        ports = frame[34:38] if whole and frame[23:24] in (bytes([PROTOCOL_TCP]), bytes([_PROTOCOL_UDP])) else b""
    elif ethertype == ETHERTYPE_IPV6:
        addresses = frame[22:54]
        ports = frame[54:58] if frame[20:21] in (bytes([PROTOCOL_TCP]), bytes([_PROTOCOL_UDP])) else b""
    return reduce(xor, addresses + ports, 0)
