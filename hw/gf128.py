"""GF(2^128) of GCM (NIST SP 800-38D, section 6.3): conversion, arithmetic as expressions, a pipelined multiplier.

Polynomial form: the coefficient of x^i is bit 127 - i. That is a block read as a big-endian number, so that
converting only swaps bytes; products come out in the same form, 255 bits wide.
"""

from functools import reduce
from operator import xor as xor_operator
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

ONE = 1 << 127
_R = 0xE1 << 120


def to_polynomial(block) -> Any:
    """Block (byte 0 in bits 7:0) to polynomial; its own inverse. Works on Python integers too."""
    if isinstance(block, int):
        return int.from_bytes(block.to_bytes(16, "little"), "big")
    block = Value.cast(block)
    return Cat(block[8 * k : 8 * k + 8] for k in reversed(range(16)))


def to_block(polynomial) -> Any:
    """Polynomial to block (byte 0 in bits 7:0)."""
    return to_polynomial(polynomial)


def times_x(p: int) -> int:
    return (p >> 1) ^ (_R if p & 1 else 0)


def multiply(a: int, b: int) -> int:
    """Product of two polynomials, in plain Python (algorithm 1 of the specification)."""
    z = 0
    for i in range(127, -1, -1):
        if b >> i & 1:
            z ^= a
        a = times_x(a)
    return z


def power(a: int, exponent: int) -> int:
    z = ONE
    for bit in f"{exponent:b}":
        z = multiply(z, z)
        if bit == "1":
            z = multiply(z, a)
    return z


def xor(terms):
    """Sum of many terms as a balanced tree: a chain would nest too deep for Python's parser."""
    terms = list(terms)
    while len(terms) > 1:
        terms = [reduce(xor_operator, terms[k : k + 2]) for k in range(0, len(terms), 2)]
    return terms[0]


def _folded(high):
    """`high` * (1 + x + x^2 + x^7), the value of x^128: seven bits wider on the right."""
    return high << 7 ^ high << 6 ^ high << 5 ^ high


def reduced(product):
    """A product (255 bits) modulo x^128 + x^7 + x^2 + x + 1. Name the product: it is read several times."""
    assert len(product) == 255
    high = product[:127] << 1  # coefficients 128 to 254 in the places of 0 to 126
    again = product[:6] ^ (product[:1] << 5)  # what x^7 and x^2 push past 127
    return (product[127:] ^ _folded(high)[7:] ^ (_folded(again) << 115))[:128]


def fold(wide, count: int):
    """A polynomial with `count` <= 7 coefficients too many, reduced. Name it: it is read several times."""
    return (wide[count:] ^ (_folded(wide[:count]) << 121 - count))[:128]


def square(polynomial):
    """Square as an expression. Name the polynomial: it is read several times."""
    spread = Cat(Cat(bit, Const(0, 1)) for bit in polynomial)[:255]
    return reduced(spread)


def _parts(chunks):
    """Karatsuba operands: lows, highs and their sums, down to single chunks."""
    if len(chunks) == 1:
        return list(chunks)
    low, high = chunks[: len(chunks) // 2], chunks[len(chunks) // 2 :]
    return _parts(low) + _parts(high) + _parts([a ^ b for a, b in zip(low, high, strict=True)])


def _places(size: int) -> list[set[int]]:
    """For each product of `_parts`, at which chunk offsets it is added into the whole product."""
    if size == 1:
        return [{0}]
    half, inner = size // 2, _places(size // 2)

    def at(offset):
        return [{k + offset for k in places} for places in inner]

    low = [a ^ b for a, b in zip(inner, at(half), strict=True)]
    high = [a ^ b for a, b in zip(at(half), at(size), strict=True)]
    return low + high + at(half)


class Multiplier(wiring.Component):
    """Sum of products in GF(2^128), reduced once.

    Contract: one sum a cycle, `delay` cycles later, always; nothing holds it up. Polynomial form throughout.
    Karatsuba on three levels, down to 16 x 16 bits. Stages: operand sums, products, recombination and reduction.

    Parameters
    ----------
    tag : shape
        What travels beside each sum; its reset value is what comes out of an empty pipeline.
    terms : int
        Products in the sum.

    Members
    -------
    a, b : In(128) array of `terms`
    i_tag : In(tag)
    o : Out(128)     sum of a[k] * b[k]
    o_tag : Out(tag)
    """

    delay = 3
    CHUNK = 16
    _apart = False

    def __init__(self, tag=0, terms=1):
        self._tag = tag
        self._terms = terms
        super().__init__({
            **self._more(tag),
            "a": In(128).array(terms),
            "b": In(128).array(terms),
            "i_tag": In(tag),
            "o": Out(Shape(128)),
            "o_tag": Out(tag),
        })  # fmt: skip

    @staticmethod
    def _more(tag):
        return {}

    @staticmethod
    def model(a: list[int], b: list[int]) -> int:
        return xor(multiply(x, y) for x, y in zip(a, b, strict=True))

    def elaborate(self, platform):
        m = Module()
        n, count = self.CHUNK, 128 // self.CHUNK
        places = _places(count)

        operands = []
        for term in range(self._terms):
            pair = []
            for name, value in ("a", self.a[term]), ("b", self.b[term]):
                sums = []
                for k, part in enumerate(_parts([value[n * c : n * (c + 1)] for c in range(count)])):
                    register = Signal(n, name=f"{name}{term}_{k}", reset_less=True)
                    m.d.sync += register.eq(part)
                    sums.append(register)
                pair.append(sums)
            operands.append(pair)

        chunks = [[] for _ in range(2 * count)]
        for k, offsets in enumerate(places):
            product = Signal(2 * n - 1, name=f"product{k}", reset_less=True)
            m.d.sync += product.eq(xor(Mux(b[k][bit], a[k], 0) << bit for a, b in operands for bit in range(n)))
            for offset in offsets:
                chunks[offset].append(product[:n])
                chunks[offset + 1].append(product[n:])

        whole = Signal(255)
        m.d["sync" if self._apart else "comb"] += whole.eq(Cat(xor(terms) for terms in chunks))
        total = Signal(128, reset_less=True)
        m.d.sync += total.eq(reduced(whole))
        m.d.comb += self.o.eq(total)
        if self._apart:
            m.d.comb += self.early.eq(reduced(whole))

        tag = self.i_tag
        for stage in range(self.delay):
            if stage == 3:
                m.d.comb += self.early_tag.eq(tag)
            register = Signal(self._tag, name=f"tag{stage + 1}")
            m.d.sync += register.eq(tag)
            tag = register
        m.d.comb += self.o_tag.eq(tag)
        return m


class LateMultiplier(Multiplier):
    """A Multiplier with a register more, between recombination and reduction.

    Members
    -------
    early : Out(128)    what `o` is in the next cycle, from little logic
    early_tag : Out(tag)
    others : as of Multiplier
    """

    delay = 4
    _apart = True

    @staticmethod
    def _more(tag):
        return {"early": Out(Shape(128)), "early_tag": Out(tag)}


class DigitMultiplier(wiring.Component):
    """Product in GF(2^128), 32 bits of `b` a cycle: two fifths of a Multiplier's LUTs, a quarter of its rate.

    Contract: takes operands in every fourth cycle, `turn` 0, and gives their product `delay` cycles later, in a cycle
    of `turn` 3, always; nothing holds it up. Polynomial form throughout. Horner's rule over the digits, highest
    coefficients first; each digit by Karatsuba on one level.

    Parameters
    ----------
    tag : shape
        As of Multiplier.

    Members
    -------
    turn : Out(4)    one-hot
    a, b : In(128) array of 1
    i_tag : In(tag)
    next_tag : Out(tag)    in turn 0, what belongs to the product that is there in the next turn 3
    o : Out(128)
    o_tag : Out(tag)       of the product in this turn 3; there from turn 1 on, till turn 0
    """

    delay = 7
    CHUNK, DIGIT = 16, 32
    turns = 128 // DIGIT

    def __init__(self, tag=0):
        self._tag = tag
        super().__init__({
            "turn": Out(self.turns, init=1),
            "a": In(128).array(1),
            "b": In(128).array(1),
            "i_tag": In(tag),
            "next_tag": Out(tag),
            "o": Out(Shape(128)),
            "o_tag": Out(tag),
        })  # fmt: skip

    @staticmethod
    def model(a: int, b: int) -> int:
        return multiply(a, b)

    def elaborate(self, platform):
        m = Module()
        n, digit = self.CHUNK, self.DIGIT
        m.d.sync += self.turn.eq(self.turn.rotate_left(1))
        first, *_, last = self.turn

        a, digits = Signal(128, reset_less=True), Signal(128, reset_less=True)
        m.d.sync += digits.eq(digits >> digit)  # the lowest bits hold the highest coefficients
        with m.If(first):
            m.d.sync += [a.eq(self.a[0]), digits.eq(self.b[0])]

        def operands(value, name):
            registers = []
            for k, part in enumerate(_parts([value[:n], value[n:digit]])):
                registers.append(Signal(n, name=f"{name}_{k}", reset_less=True))
                m.d.sync += registers[-1].eq(part)
            return registers

        of_digit = operands(digits[:digit], "digit")
        products = []
        for k in range(self.turns):
            of_a = operands(a[digit * k : digit * (k + 1)], f"a{k}")
            parts = []
            for place, x, y in zip(("low", "high", "both"), of_a, of_digit, strict=True):
                product = Signal(2 * n - 1, name=f"{place}{k}", reset_less=True)
                m.d.sync += product.eq(xor(Mux(y[bit], x, 0) << bit for bit in range(n)))
                parts.append(product)
            low, high, both = parts
            products.append((low ^ (low ^ high ^ both) << n ^ high << 2 * n) << digit * k)

        # three cycles behind the operands the first digit's product is there: a sum begins
        total, wide = Signal(128, reset_less=True), Signal(128 + digit)
        m.d.comb += [
            wide.eq(xor(products) << 1 ^ Mux(last, 0, total)),
            self.o.eq(total),
        ]
        m.d.sync += total.eq(wide[digit:] ^ _folded(wide[:digit]) << 128 - digit - 7)

        with m.If(first):
            m.d.sync += [self.next_tag.eq(self.i_tag), self.o_tag.eq(self.next_tag)]
        return m
