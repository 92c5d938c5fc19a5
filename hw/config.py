"""Configuration of the device: one frozen dataclass, named presets."""

from dataclasses import dataclass

from model.contract import HASH_WORDS, MAX_FRAME, RxPolicy

SBOXES = ("rom", "logic", "bram")
OVERLOADS = ("stall", "raw")


@dataclass(frozen=True)
class Config:
    """Everything that shapes the hardware.

    Parameters
    ----------
    width : int
        Bytes per beat: 16, 32 or 64.
    connections : int
        Connections of the table, a power of two, 8 to 4096.
    sbox : str
        "rom": S-boxes as combinational-read ROM (LUTs; fastest to simulate), an AES round a cycle. "logic": as gates,
        the same cycles. "bram": those of the data in block RAM, a round in three cycles.
    rx_policy : RxPolicy
        How the receive device goes on behind a gap; shapes nothing of the transmit device.
    overload : str
        What a receive device does whose crypto is behind. "stall": it takes frames more slowly. "raw": a
        frame that is late passes raw, and its rest is not looked at (docs/contract.md, section 6).
    """

    width: int = 16
    connections: int = 256
    sbox: str = "rom"
    rx_policy: RxPolicy = RxPolicy.FULL
    overload: str = "stall"

    def __post_init__(self):
        if self.width not in (16, 32, 64):
            raise ValueError(f"width {self.width}: bytes per beat must be 16, 32 or 64")
        n = self.connections
        if n & (n - 1) or not 8 <= n <= 4096:
            raise ValueError(f"connections {n}: must be a power of two from 8 to 4096")
        if self.sbox not in SBOXES:
            raise ValueError(f"sbox {self.sbox!r}: must be one of {', '.join(SBOXES)}")
        if self.overload not in OVERLOADS:
            raise ValueError(f"overload {self.overload!r}: must be one of {', '.join(OVERLOADS)}")

    @property
    def lanes(self) -> int:
        """AES blocks per beat."""
        return self.width // 16

    @property
    def placings(self) -> int:
        """Multipliers that place fragments: a frame of 64 bytes takes one four cycles, and the bus three at W=64."""
        return 2 if self.lanes == 4 else 1

    @property
    def hash_ahead(self) -> bool:
        """An item enters the flow table when its hash is known: one that is not in it takes two cycles, not three."""
        return self.lanes == 4

    @property
    def hash_words(self) -> int:
        """Words a cycle that the hash of a flow takes."""
        return HASH_WORDS // 2 if self.hash_ahead else self.lanes

    @property
    def found_depth(self) -> int:
        """Frames that have found their connection and wait for the tracker, which needs two.

        W=64: all that are inside, so that no ADD waits in the flow table until the tracker has taken the frames before.
        """
        return 32 if self.lanes == 4 else 2

    @property
    def near_headers(self) -> bool:
        """On receive the tracker takes a header beside the fragment in front of it if both records are tiny.

        Such a record is a single aligned beat at W=64; below that the aligner takes the tracker's two cycles or more.
        """
        return self.lanes == 4 and not self.late

    @property
    def late(self) -> bool:
        """For an ECP5: few levels of LUTs between registers, in more cycles; stored round keys; a smaller multiplier.

        Its block RAM takes 4.3 ns to answer, and a wire between two LUTs a nanosecond.
        """
        return self.sbox == "bram"

    @property
    def passes_raw(self) -> bool:
        return self.overload == "raw"

    @property
    def index_bits(self) -> int:
        return (self.connections - 1).bit_length()

    @property
    def buffer_beats(self) -> int:
        """Depth of the packet buffer: one maximum frame being filled beside one being released."""
        beats = 16384 // self.width
        while beats * self.width < 2 * MAX_FRAME - 4096 or beats < 512:
            beats *= 2
        return beats

    @property
    def pointer_bits(self) -> int:
        """Width of a beat counter that tells a full buffer from an empty one."""
        return self.buffer_beats.bit_length()

    @property
    def rotate_bits(self) -> int:
        return (self.width - 1).bit_length()


PRESETS = {
    "tiny": Config(width=16, connections=8),
    "basic": Config(width=16, connections=256),
    "wide": Config(width=64, connections=256),
    "ecp5": Config(width=16, connections=64, sbox="bram", rx_policy=RxPolicy.PUBLISHED),
    "100g": Config(width=64, connections=1024),
}
"""`tiny`: for tests. `basic`, `wide`: what the figures in docs/decisions.md were measured with. `ecp5`: fits an
ECP5-85, which policy `full` does not; 100 MHz are wanted there and not reached (docs/synthesis.md).
`100g`: an UltraScale+ at 250 MHz,
128 Gb/s."""
