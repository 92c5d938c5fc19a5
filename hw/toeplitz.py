"""Toeplitz hash of a flow, a word of 32 bits a cycle."""

from functools import reduce
from operator import xor

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from model.contract import HASH_BITS, HASH_KEY_BITS, HASH_WORDS

WORD = 32


class Toeplitz(wiring.Component):
    """Hash of up to 10 words, by docs/contract.md section 4.

    Contract: `hash` covers the words given up to two cycles ago (`delay`), since and with the last one that was
    given with `first`. Words may be left out where they are zero.

    Source: the receive-side scaling hash (Krawczyk 1994), with 48 bits instead of 32.

    Members
    -------
    key : In(HASH_KEY_BITS)
    enable, first : In(1)
    word : In(32)
    place : In(range(HASH_WORDS))   of the word in the message
    hash : Out(HASH_BITS)
    """

    delay = 2

    key: In(HASH_KEY_BITS)
    enable: In(1)
    first: In(1)
    word: In(WORD)
    place: In(range(HASH_WORDS))
    hash: Out(HASH_BITS)

    def elaborate(self, platform):
        m = Module()
        span = WORD + HASH_BITS
        enabled = Signal()
        first = Signal()
        word = Signal(WORD)
        part = Signal(span)  # the bits of the key that meet this word
        shifted = self.key << Cat(Const(0, 5), self.place)
        m.d.sync += [
            enabled.eq(self.enable),
            first.eq(self.first),
            word.eq(self.word),
            part.eq(shifted[HASH_KEY_BITS - span : HASH_KEY_BITS]),
        ]
        # Bit i of the word, counted from the most significant, meets the part's bits [i, i + 48), counted likewise.
        products = [
            word[WORD - 1 - i].replicate(HASH_BITS) & part[span - HASH_BITS - i : span - i] for i in range(WORD)
        ]
        while len(products) > 1:
            products = [reduce(xor, products[k : k + 2]) for k in range(0, len(products), 2)]
        with m.If(enabled):
            m.d.sync += self.hash.eq(Mux(first, 0, self.hash) ^ products[0])
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
