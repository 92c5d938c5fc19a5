"""Between byte strings (byte 0 in bits 7:0) and the integers of network protocols (byte 0 most significant)."""

from amaranth.hdl import Cat, Const, Value


def big_endian(value, first: int, size: int) -> Value:
    """The integer in bytes `first` .. `first + size - 1` of a byte string."""
    return Cat(value[8 * k : 8 * k + 8] for k in reversed(range(first, first + size)))


def keep_count(keep) -> Value:
    """How many bytes a contiguous `keep` enables: the place of its upper edge, in one level of OR per bit."""
    width = len(keep)
    edge = keep & ~Cat(keep[1:], Const(0, 1))  # bit k - 1 set: k bytes
    count = []
    for bit in range(width.bit_length()):
        count.append(Cat(edge[k - 1] for k in range(1, width + 1) if k >> bit & 1).any())
    return Cat(count)
