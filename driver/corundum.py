"""The driver's side of the adapter to Corundum: headers of frames, and the adapter's registers (docs/corundum.md)."""

import struct

from driver.bus import Bus, DeviceError
from model.commands import Delivery, Descriptor
from model.contract import Checksum, Status
from model.metadata import (
    METADATA_ETHERTYPE,
    METADATA_VERSION,
    RX_METADATA_BYTES,
    TX_METADATA_BYTES,
    TxHeaders,
)
from model.registers import ADAPTER_CONTROL, ADAPTER_HEADERS, ADAPTER_LAST_DROP, ADAPTER_MALFORMED
from model.tx_commands import TxRequest

_MARK = METADATA_ETHERTYPE.to_bytes(2, "big")
_RX = struct.Struct("<BBBBII2s2x")
_TX = struct.Struct("<BBBBII2s2xQ13s27x")


class HeaderError(ValueError):
    """A received frame has no header that this driver knows, or a request none that the adapter takes."""


def tx_header(request: TxRequest) -> bytes:
    """What goes in front of a frame to send."""
    if request.segment_size:
        raise HeaderError("the adapter takes no segment size: a frame is one frame on the wire")
    return _TX.pack(
        METADATA_VERSION,
        request.kind,
        request.adopt,
        TX_METADATA_BYTES,
        request.handle,
        request.record_seq,
        _MARK,
        request.record_number,
        request.header,
    )


def take_rx_header(data: bytes) -> Delivery:
    """A received frame without its header, and what the header says."""
    if len(data) <= RX_METADATA_BYTES:
        raise HeaderError(f"{len(data)} bytes: no room for a header and a frame")
    version, status, flags, size, handle, request_seq, mark = _RX.unpack_from(data)
    if (version, size, mark) != (METADATA_VERSION, RX_METADATA_BYTES, _MARK):
        raise HeaderError(f"version {version}, {size} bytes, ethertype {mark.hex()}: not a header of version 1")
    request = request_seq if flags & 8 else None
    descriptor = Descriptor(
        Status(status),
        Checksum(flags & 3),
        bool(flags & 4),
        handle,
        request,
        proven=bool(flags & 16),
        given_up_at=request_seq if status == Status.OVERLOAD else None,
    )
    return Delivery(data[size:], descriptor)


class Adapter:
    """The adapter's registers.

    Parameters
    ----------
    bus : Bus
    base : int
        Of its block, from `driver.bus.find_adapter`.
    """

    def __init__(self, bus: Bus, base: int):
        self._bus = bus
        self._base = base
        known = METADATA_VERSION | RX_METADATA_BYTES << 8 | TX_METADATA_BYTES << 16
        found = bus.read32(base + ADAPTER_HEADERS.offset)
        if found != known:
            raise DeviceError(f"headers of the adapter are {found:#x}, not {known:#x}")

    def headers(self, *, rx: bool, tx: TxHeaders) -> None:
        """Say which frames have headers; counts from the next frame of each direction on."""
        self._bus.write32(self._base + ADAPTER_CONTROL.offset, rx | tx << 4)

    @property
    def malformed(self) -> int:
        """Frames dropped for their header, modulo 2^32."""
        return self._bus.read32(self._base + ADAPTER_MALFORMED.offset)

    @property
    def last_drop(self) -> tuple[int, int] | None:
        """Status and handle of the last frame the transmit device dropped."""
        word = self._bus.read32(self._base + ADAPTER_LAST_DROP.offset)
        return (word & 15, word >> 4 & 0xFFFFFF) if word >> 31 else None
