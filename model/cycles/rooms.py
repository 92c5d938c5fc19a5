"""What each room takes, in cycles: the one table of the cycle model.

Read off the HDL named beside each entry and checked against RTL runs by `ktls-nic bench model`: a change of the
hardware's cycles is a change here.
"""

from dataclasses import dataclass
from enum import StrEnum

BUFFER_BEATS = {16: 1024, 32: 512, 64: 512}
"""Of the packet buffer, by width (Config.buffer_beats)."""
INSIDE = 31
"""Frames inside at one time, from the first beat taken to the last one given."""


class Direction(StrEnum):
    RX = "rx"
    TX = "tx"


@dataclass(frozen=True)
class Rooms:
    """Cycles of a direction at one width.

    Parameters
    ----------
    direction : Direction
    width : int
        Bytes a beat.
    """

    direction: Direction
    width: int

    # --- on the way in: hw/segment.py, hw/window.py, hw/parse.py, hw/checksum.py
    lead: int = 0
    """Way in to packet buffer."""
    lead_beats: int = 0
    """Beats that wait in front of the buffer."""
    look: int = 32
    """Bytes that show how long the headers are (LOOK)."""
    window: int = 128
    """Bytes after which the parser waits for no more (HEADER_WINDOW)."""
    parse: int = 8
    """From the window to the headers' way out."""
    checksum: int = 8
    """From the frame's last beat to its checksum."""

    # --- hw/lookup.py, hw/flow_table.py
    lookup: bool = True
    hash_ipv4: int = 2
    hash_ipv6: int = 9
    """A step less than the hash has (Lookup), or as many where the flow table is given the hash."""
    read: int = 3
    """Fingerprints of one frame, while keys are compared for the one before."""
    hit: int = 3
    miss: int = 1
    found: int = 2
    """Frames that may wait for the tracker: two, or all that are inside."""
    by: int = 1
    """Each of the two, for a frame that is not looked up."""

    # --- hw/track.py, hw/loss_track.py, hw/tx_track.py, hw/walk.py
    there: int = 2
    """From the way into its queue until a packet's state is there."""
    begin: int = 3
    """From then to the first "walk"."""
    follows: int = -2
    """That, from the end of the packet that it goes on from: its first "walk" is the next cycle."""
    same: int = 2
    """From the end of one that it does not go on from."""
    passed: int = 0
    """From "idle" to the end of a packet that the tracker passes by."""
    header: int = 1
    """A record header behind a fragment: "header". At the frame's begin: "walk" before it."""
    near: bool = False
    """None for one that lies in the two beats read for the one before; the frame's begin has been read too, if it is
    not begun by `follows` (Config.near_headers)."""
    unforeseen: int = 1
    foresees: bool = True
    """Where the record ends that a frame not begun by `follows` goes on with; transmit: only behind its first
    fragment, and the next header is unforeseen."""
    resumed: int = 1
    """One that the frame's start cuts: "check" behind it, and the next one is not foreseen."""
    part: int = 0
    """The part of one that the frame's end cuts off the rest; transmit: "part"."""
    bare: int = 1
    """A frame that ends with a header: "walk" once more."""
    fragment: int = 1
    slow: int = 4
    """From "idle" to what a frame that does not simply go on waits for, its checksum."""

    # --- hw/plan.py, hw/align.py
    plan: int = 2
    """From tracker to aligner; as many fragments and ends wait there."""
    aligned: int = 3
    """From the aligner's step to its way out."""

    # --- hw/keystream.py, hw/encrypt.py, hw/fragment_hash.py, hw/placing.py
    keystream: int = 17
    encrypted: int = 0
    """From the aligner's way out to GHASH."""
    hash: int = 4
    """From a fragment's last beat to its hash (FragmentHash)."""
    place: int = 6
    """From the hash to its product with the placing power."""
    power_step: int = 4
    """From one product of a power to the next."""
    multipliers: int = 1
    """That make powers and place hashes, and take fragments in turn."""
    slots: int = 8
    """Fragments whose power is being made or whose hash is awaited, of a multiplier."""

    # --- hw/verdict.py, hw/seal.py
    fetch: int = 1
    """More for a fragment of a record that earlier frames began."""
    end: int = 1
    end_alone: int = 2
    """The end of a frame without fragments."""
    kept: int = 0
    """Each tag kept for retransmission."""
    delta: int = 0
    """From the end in GHASH's place to the checksum's difference (Encrypt.delay)."""
    order: int = 1
    """From the verdict to the way out's go."""

    # --- hw/dealign.py, hw/overlay.py, hw/release.py, hw/finish.py
    dealign: int = 1
    overlay: int = 2
    """Through the queue of overlays."""
    overlay_next: int = 4
    """From a frame's last overlay to the next one's first, at the way out."""
    behind: int = 28
    """Beats that the aligner is ahead of it at most: those that wait for AES, and behind it."""
    aligned_beats: int = 0
    """Transmit: keystream that waits in front of it before encryption does."""
    patch: int = 0
    """A tag in the frame's grid."""
    out: int = 1
    inside: int = INSIDE

    @property
    def transmit(self) -> bool:
        return self.direction is Direction.TX

    @property
    def buffer_beats(self) -> int:
        return BUFFER_BEATS[self.width]


def rooms_of(direction: Direction | str, width: int, sbox: str = "rom") -> Rooms:
    """The table for a direction, a width of 16, 32 or 64 bytes a beat, and S-boxes (`hw.config`)."""
    direction = Direction(direction)
    tree = {16: 2, 32: 3, 64: 3}[width]  # layers of the checksum's adders
    keystream = 3 + 14 * {"rom": 1, "logic": 1, "bram": 2}[sbox]
    hash_ = 4 if width == 16 else 8
    multipliers = 2 if width == 64 else 1
    if direction is Direction.RX:
        steps = {16: (2, 9), 32: (1, 4), 64: (1, 2)}[width]
        return Rooms(
            direction,
            width,
            checksum=6 + tree,
            hash_ipv4=steps[0],
            hash_ipv6=steps[1],
            read=2 if width == 64 else 3,
            found=32 if width == 64 else 2,
            hash=hash_,
            near=width == 64 and sbox != "bram",
            multipliers=multipliers,
            keystream=keystream,
        )
    return Rooms(
        direction,
        width,
        lead=3,
        lead_beats=32,
        checksum=7 + tree,
        lookup=False,
        passed=1,
        foresees=False,
        part=1,
        there=1,
        hash=hash_,
        multipliers=multipliers,
        keystream=keystream,
        encrypted=keystream + 1,
        kept=1,
        delta=6 + tree,
        order=9,
        end_alone=1,
        behind=36,
        aligned_beats=8,
        patch=2,
        dealign=2,
    )
