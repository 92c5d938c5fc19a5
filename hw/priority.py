"""The first of several."""

from amaranth.hdl import Const, Module, Mux, Signal


def lowest(m: Module, mask) -> Signal:
    """Number of the lowest bit that is set; 0 if none is. A tree: a chain of 64 is slow, and too deep for pysim."""
    number = Signal(range(len(mask)))

    def among(first: int, end: int):
        if end - first == 1:
            return Const(first)
        middle = (first + end) // 2
        return Mux(mask[first:middle].any(), among(first, middle), among(middle, end))

    m.d.comb += number.eq(Mux(mask.any(), among(0, len(mask)), 0))
    return number
