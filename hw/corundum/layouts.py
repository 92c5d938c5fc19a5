"""What passes over Corundum's taps: beats with their sideband, and the headers in front of frames."""

from dataclasses import dataclass

from amaranth.lib import data

from hw.config import Config
from hw.layouts import HANDLE_BITS, beat, members

TIMESTAMP_BITS = 96
"""Corundum's PTP_TS_WIDTH; it has no other."""


@dataclass(frozen=True)
class Taps:
    """Widths, in bits, of what Corundum sends along with frames: its parameters AXIS_IF_TX_ID_WIDTH and so on.

    The adapter hands all of it on as it came, so ports wider than Corundum's do no harm: the bits above stay zero.

    Parameters
    ----------
    tx_user : int
        Bit 0 error flag, above it the tag of the transmit completion.
    rx_user : int
        Bit 0 error flag, above it the timestamp. Without PTP: 1.
    """

    tx_id: int = 13
    tx_dest: int = 4
    tx_user: int = 17
    rx_id: int = 1
    rx_dest: int = 9
    rx_user: int = TIMESTAMP_BITS + 1

    def __post_init__(self):
        for name, bits in vars(self).items():
            least = 2 if name == "tx_user" else 1
            if not least <= bits <= 128:
                raise ValueError(f"{name} {bits}: must be {least} to 128 bits")

    @property
    def tag_bits(self) -> int:
        return self.tx_user - 1


def tx_side(taps: Taps):
    return data.StructLayout({"id": taps.tx_id, "dest": taps.tx_dest, "user": taps.tx_user})


def rx_side(taps: Taps):
    return data.StructLayout({"id": taps.rx_id, "dest": taps.rx_dest, "user": taps.rx_user})


def tap_beat(config: Config, side):
    return data.StructLayout({**members(beat(config)), "side": side})


def transmitted(taps: Taps):
    """A transmit completion: the frame with `tag` has left at `ts`, or will not."""
    return data.StructLayout({"ts": TIMESTAMP_BITS, "tag": taps.tag_bits})


def rx_header():
    """In front of a received frame. Integers are little-endian, but for the ethertype."""
    return data.StructLayout({
        "version": 8,
        "status": 8,  # contract.Status
        "checksum": 2,  # contract.Checksum
        "matched": 1,
        "request": 1,
        "proven": 1,
        "no_flags": 3,
        "size": 8,  # bytes of the header
        "handle": 32,
        "request_seq": 32,
        "ethertype": 16,
        "nothing": 16,
    })  # fmt: skip


def tx_header():
    """In front of a frame to send: tx_layouts.tx_request in bytes. What has no name of the request's is zero."""
    return data.StructLayout({
        "version": 8,
        "kind": 8,  # contract.TxKind
        "adopt": 1,
        "no_flags": 7,
        "size": 8,
        "handle": HANDLE_BITS,
        "no_handle": 32 - HANDLE_BITS,
        "record_seq": 32,
        "ethertype": 16,
        "nothing": 16,
        "record_number": 64,
        "header": 104,
        "rest": 216,
    })  # fmt: skip
