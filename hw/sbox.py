"""The S-box of AES (FIPS 197, section 5.1.1): as a table, and as gates in a tower of fields.

GF(4) is bits (1, w) with w^2 = w + 1; GF(16) is pairs (low, high) over it with z^2 = z + w; GF(256) pairs over that
with y^2 = y + `_SQUARE`. An inverse there takes three products in GF(16) and an inverse of four bits; all else is
linear.
"""

from collections.abc import Sequence
from functools import reduce
from operator import xor
from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value


def times(a: int, b: int) -> int:
    """Product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1 (FIPS 197, section 4.2)."""
    z = 0
    for bit in range(8):
        if b >> bit & 1:
            z ^= a
        a = (a << 1) ^ (0x11B if a & 0x80 else 0)
    return z


def _affine(value: int) -> int:
    return reduce(xor, ((value << turn | value >> (8 - turn)) & 0xFF for turn in range(5)))


def _sbox() -> list[int]:
    """Inverse in GF(2^8), then the affine transformation."""
    inverses = [next((c for c in range(256) if times(value, c) == 1), 0) for value in range(256)]
    return [_affine(inverse) ^ 0x63 for inverse in inverses]


SBOX = _sbox()

# --- tower: elements are lists of bits, low ones first; bits are numbers or values of Amaranth -------------------
Bits = Sequence[Any]
_SQUARE = [0, 1, 0, 1]
"""y^2 + y. Which of the possible ones does not matter; of those tried, this one maps to the fewest LUTs."""


def _sum(*terms: Bits) -> list[Any]:
    return [reduce(xor, bits) for bits in zip(*terms, strict=True)]


def _product(a: Bits, b: Bits, square: Bits | None = None) -> list[Any]:
    """In GF(4) or, by Karatsuba, in the fields above; `square` where the field's is not the one of GF(16)."""
    if len(a) == 2:
        both = a[1] & b[1]
        return [a[0] & b[0] ^ both, a[0] & b[1] ^ a[1] & b[0] ^ both]
    half = len(a) // 2
    (low_a, high_a), (low_b, high_b) = ((v[:half], v[half:]) for v in (a, b))
    low, high = _product(low_a, low_b), _product(high_a, high_b)
    middle = _product(_sum(low_a, high_a), _sum(low_b, high_b))
    return _sum(low, _scaled(high, square or [0, 1])) + _sum(middle, low)


def _scaled(a: Bits, constant: Sequence[int]) -> list[Any]:
    """Times a constant: linear."""
    columns = [_product([int(k == bit) for k in range(len(a))], constant) for bit in range(len(a))]
    return _linear(columns, a)


def _linear(columns: Sequence[Sequence[int]], a: Bits) -> list[Any]:
    """A matrix over GF(2), by its columns, times bits."""
    rows = [[bit for bit, column in zip(a, columns, strict=True) if column[k]] for k in range(len(columns[0]))]
    return [reduce(xor, row) if row else a[0] ^ a[0] for row in rows]


def _square(a: Bits) -> list[Any]:
    return _linear([_product(e, e) for e in ([int(k == bit) for k in range(len(a))] for bit in range(len(a)))], a)


def _isomorphism() -> tuple[list[list[int]], list[list[int]]]:
    """Columns of the map from AES's field into the tower, and of the one back with the affine transformation."""
    found = []
    for number in range(2, 256):
        powers = [[1] + [0] * 7]
        for _ in range(8):
            powers.append(_product(powers[-1], [number >> k & 1 for k in range(8)], _SQUARE))
        if powers[8] == _sum(powers[4], powers[3], powers[1], powers[0]):
            into = {value: _linear(powers[:8], [value >> k & 1 for k in range(8)]) for value in range(256)}
            back = {sum(bit << k for k, bit in enumerate(bits)): _affine(value) for value, bits in into.items()}
            found.append((powers[:8], [[back[1 << bit] >> k & 1 for k in range(8)] for bit in range(8)]))
    return min(found, key=lambda maps: sum(map(sum, maps[0] + maps[1])))


_INTO, _BACK = _isomorphism()


def substitute(m: Module, word: Value, name: str, *, late: bool = False) -> Signal:
    """SubBytes of every byte of a word, as gates; those of all bytes in one statement, which simulates faster.

    With `late` there is a register half way.
    """
    count = len(word) // 8

    def keep(bits: Bits, what: str) -> list[Any]:
        signals = [Signal(count, name=f"{name}_{what}{k}") for k in range(len(bits))]
        m.d.comb += [signal.eq(bit) for signal, bit in zip(signals, bits, strict=True)]
        return signals

    planes = keep([Cat(word[8 * k + bit] for k in range(count)) for bit in range(8)], "plane")
    tower = keep(_linear(_INTO, planes), "tower")
    low, high = tower[:4], tower[4:]
    both = keep(_sum(low, high), "both")
    norm = keep(_sum(_product(low, both), _scaled(_square(high), _SQUARE)), "norm")
    norm4 = keep(_sum(_product(norm[:2], _sum(norm[:2], norm[2:])), _scaled(_square(norm[2:]), [0, 1])), "norm4_")
    inverse4 = keep(_square(norm4), "inverse4_")
    inverse = keep(_product(_sum(norm[:2], norm[2:]), inverse4) + _product(norm[2:], inverse4), "inverse")
    if late:
        registers = [Signal(count, name=f"{name}_half{k}", reset_less=True) for k in range(12)]
        m.d.sync += [register.eq(bit) for register, bit in zip(registers, inverse + both + high, strict=True)]
        inverse, both, high = registers[:4], registers[4:8], registers[8:]
    result = keep(_product(both, inverse) + _product(high, inverse), "result")
    out = keep(_linear(_BACK, result), "out")
    substituted = Signal(8 * count, name=name)
    m.d.comb += substituted.eq(Cat(out[bit][k] ^ (0x63 >> bit & 1) for k in range(count) for bit in range(8)))
    return substituted
