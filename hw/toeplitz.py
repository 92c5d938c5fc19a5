"""Toeplitz hash of a flow, some words of 32 bits a cycle."""

from functools import reduce
from operator import xor

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from model.contract import HASH_BITS, HASH_KEY_BITS, HASH_WORDS

WORD = 32


class Toeplitz(wiring.Component):
    """Hash of up to 10 words, by docs/contract.md section 4.

    Contract: `hash` covers the words given up to `delay` cycles ago, two or (`late`) three, since and with the last
    ones that were given with `first`. Words may be left out where they are zero.

    Source: the receive-side scaling hash (Krawczyk 1994), with 48 bits instead of 32.

    Parameters
    ----------
    words : int
        Words a cycle.
    late : bool
        A register in the sum's way: a cycle more.

    Members
    -------
    key : In(HASH_KEY_BITS)
    enable, first : In(1)
    word : In(32 * words)                    the first one in the highest bits
    place : In(range(HASH_WORDS // words))   of the words in the message, in units of `words`
    hash : Out(HASH_BITS)
    """

    delay = 2

    def __init__(self, words: int = 1, *, late: bool = False):
        self.words = words
        self.late = late
        self.delay = Toeplitz.delay + late
        self._bits = WORD * words
        super().__init__({
            "key": In(HASH_KEY_BITS),
            "enable": In(1),
            "first": In(1),
            "word": In(self._bits),
            "place": In(range(self.steps(HASH_WORDS))),
            "hash": Out(HASH_BITS),
        })  # fmt: skip

    def steps(self, words: int) -> int:
        """Cycles that a message of so many words takes."""
        return -(-words // self.words)

    def elaborate(self, platform):
        m = Module()
        bits = self._bits
        span = bits + HASH_BITS
        enabled = Signal()
        first = Signal()
        word = Signal(bits)
        part = Signal(span)  # the bits of the key that meet these words
        if bits & (bits - 1) or self.late:
            shifted = Signal(HASH_KEY_BITS)
            with m.Switch(self.place):
                for place in range(self.steps(HASH_WORDS)):
                    with m.Case(place):
                        m.d.comb += shifted.eq(self.key << bits * place)
        else:
            shifted = self.key << Cat(Const(0, (bits - 1).bit_length()), self.place)
        m.d.sync += [
            enabled.eq(self.enable),
            first.eq(self.first),
            word.eq(self.word),
            part.eq(shifted[HASH_KEY_BITS - span : HASH_KEY_BITS]),
        ]
        # Bit i of the words, counted from the most significant, meets the part's bits [i, i + 48), counted likewise.
        products = [
            word[bits - 1 - i].replicate(HASH_BITS) & part[span - HASH_BITS - i : span - i] for i in range(bits)
        ]
        while len(products) > 1:
            products = [reduce(xor, products[k : k + 2]) for k in range(0, len(products), 2)]
        total = products[0]
        if self.late:
            total, enabled_sum, first_sum = Signal(HASH_BITS), Signal(), Signal()
            m.d.sync += [total.eq(products[0]), enabled_sum.eq(enabled), first_sum.eq(first)]
            enabled, first = enabled_sum, first_sum
        with m.If(enabled):
            m.d.sync += self.hash.eq(Mux(first, 0, self.hash) ^ total)
        return m

    @staticmethod
    def model(key: int, words: list[int]) -> int:
        """The hash of a message of 10 words."""
        message = "".join(f"{w:032b}" for w in words)
        key_bits = f"{key:0{HASH_KEY_BITS}b}"
        result = 0
        for i, bit in enumerate(message):
            if bit == "1":
                result ^= int(key_bits[i : i + HASH_BITS], 2)
        return result
