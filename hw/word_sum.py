"""Ones' complement sums of a frame's 16-bit words."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.sum_tree import SumTree


class WordSum(wiring.Component):
    """Adds up pieces of a frame, each a few words, wherever they stand in it.

    Words are added as they lie, byte 0 lowest, and a piece's sum is swapped if that is not how they lie in the frame
    (RFC 1071, section 2B). A sum is 0 only if all words are; to subtract a word, add its complement.

    Contract: a piece a cycle; nothing holds it up.

    Parameters
    ----------
    count : int    words of a piece

    Members
    -------
    words : In(16 * count)      byte string
    odd : In(1)                 its byte 0 stands at an odd place in the frame
    valid : In(1)
    end : In(1)                 the frame's last piece
    o : Out(16)                 the frame's sum, a big-endian integer, `delay` cycles after its last piece
    o_valid : Out(1)
    """

    def __init__(self, count: int):
        self._count = count
        self.delay = self.delay_of(count)
        super().__init__({
            "words": In(16 * count),
            "odd": In(1),
            "valid": In(1),
            "end": In(1),
            "o": Out(16),
            "o_valid": Out(1),
        })  # fmt: skip

    @staticmethod
    def delay_of(count: int) -> int:
        return SumTree.depth(count) + 4

    @staticmethod
    def model(pieces: list[tuple[bytes, bool]]) -> int:
        """The sum of pieces (bytes, odd), of any length."""
        total = 0
        for piece, odd in pieces:
            piece = b"\0" * odd + piece
            piece += b"\0" * (len(piece) % 2)
            total += sum(int.from_bytes(piece[k : k + 2], "big") for k in range(0, len(piece), 2))
        while total > 0xFFFF:
            total = (total & 0xFFFF) + (total >> 16)
        return total

    def elaborate(self, platform):
        m = Module()
        m.submodules.tree = tree = SumTree(self._count)
        flags = Cat(self.valid, self.end, self.odd)
        odd = self.odd
        m.d.comb += tree.words.eq(self.words)
        for stage in range(tree.delay + 2):
            passed = Signal(3, name=f"flags_{stage}")
            m.d.sync += passed.eq(flags)
            flags = passed
            if stage == tree.delay:
                odd = passed[2]
        valid, end = flags[0], flags[1]

        once = Signal(17)
        twice = Signal(16)
        piece = Signal(16)
        added = Signal(17)  # 16 bits of the sum so far, and the carry still to be added
        following = Signal(17)
        m.d.comb += [
            twice.eq(once[:16] + once[16]),
            following.eq(added[:16] + added[16] + piece),
        ]
        m.d.sync += [
            once.eq(tree.sum[:16] + tree.sum[16:]),
            piece.eq(Mux(odd, twice, Cat(twice[8:], twice[:8]))),
        ]
        ending = Signal(17)
        with m.If(valid):
            m.d.sync += [added.eq(Mux(end, 0, following)), ending.eq(following)]
        ended = Signal()
        m.d.sync += [
            ended.eq(valid & end),
            self.o_valid.eq(ended),
            self.o.eq(ending[:16] + ending[16]),
        ]
        return m
