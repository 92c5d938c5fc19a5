"""Constants of the headers that go with frames over Corundum's taps (docs/corundum.md). Numbers and names only."""

from enum import IntEnum

METADATA_VERSION = 1
METADATA_ETHERTYPE = 0x88B5
"""IEEE 802's first one for local experiments, where a frame's own would stand: bytes 12 and 13."""
RX_METADATA_BYTES = 16
TX_METADATA_BYTES = 64
"""Whole beats at every width."""


class TxHeaders(IntEnum):
    """Which frames from the host have a header (CONTROL bits 5:4)."""

    OFF = 0  # none: one that is marked is dropped, all others pass
    MARKED = 1  # those with METADATA_ETHERTYPE at its place
    ALWAYS = 2  # all: a frame without one is dropped
