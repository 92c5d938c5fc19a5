"""Adders of 16-bit words."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class SumTree(wiring.Component):
    """Sum of 16-bit words, four terms an adder, a register behind each.

    Members
    -------
    words : In(16 * count)
    sum : Out    `delay` cycles later
    """

    def __init__(self, count: int):
        self._count = count
        self.delay = self.depth(count)
        super().__init__({"words": In(16 * count), "sum": Out(16 + (count - 1).bit_length())})

    @staticmethod
    def depth(count: int) -> int:
        """Layers of adders."""
        return ((count - 1).bit_length() + 1) // 2

    def elaborate(self, platform):
        m = Module()
        terms = [self.words.word_select(k, 16) for k in range(self._count)]
        for level in range(self.delay):
            sums = []
            for k in range(0, len(terms), 4):
                value = sum(terms[k + 1 : k + 4], terms[k])
                sums.append(Signal(value.shape(), name=f"sum_{level}_{k // 4}"))
                m.d.sync += sums[-1].eq(value)
            terms = sums
        m.d.comb += self.sum.eq(terms[0])
        return m
