"""Plaintext XOR keystream in the record's grid, and the difference it makes to the checksum."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts, tx_layouts
from hw.config import Config
from hw.credit import Credit
from hw.rotate import byte_mask
from hw.stream import Queue
from hw.word_sum import WordSum

DEPTH = 8
DELTA_DEPTH = 16


class Encrypt(wiring.Component):
    """Joins aligned plaintext with aligned keystream.

    Contract: a beat a cycle; the outputs may stall independently. `delta` comes once a frame, `delay` cycles behind
    its end at the earliest: the ones' complement sum of the frame's ciphertext words, less its plaintext words and
    less the words of what stood where tags go. It is never 0: no difference is 0xFFFF.

    Members
    -------
    i : In(stream.Signature(tx_layouts.plain_beat))              beats, and an end for each frame
    keystream : In(stream.Signature(layouts.aligned_beat))    for the same beats and ends, in the same order
    o : Out(stream.Signature(layouts.hash_beat))              ciphertext
    aligned : Out(stream.Signature(layouts.aligned_beat))     the keystream, handed on
    delta : Out(stream.Signature(16))
    """

    def __init__(self, config: Config):
        self.config = config
        self.delay = WordSum.delay_of(config.width) + 2
        super().__init__({
            "i": In(stream.Signature(tx_layouts.plain_beat(config))),
            "keystream": In(stream.Signature(layouts.aligned_beat(config))),
            "o": Out(stream.Signature(layouts.hash_beat(config))),
            "aligned": Out(stream.Signature(layouts.aligned_beat(config))),
            "delta": Out(stream.Signature(16)),
        })  # fmt: skip

    @staticmethod
    def model(beats: list[tuple[bytes, bytes, bytes, bool]]) -> tuple[list[bytes], int]:
        """Blocks of a frame's beats (plain, keystream, tag, odd), and its delta."""
        cipher = [bytes(a ^ b for a, b in zip(plain, keystream, strict=True)) for plain, keystream, _, _ in beats]

        def total(pieces):
            return WordSum.model([(piece, beat[3]) for piece, beat in zip(pieces, beats, strict=True)])

        difference = total(cipher) - total(beat[0] for beat in beats) - total(beat[2] for beat in beats)
        return cipher, difference % 0xFFFF or 0xFFFF

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.hashed = hashed = Queue(layouts.hash_beat(config), depth=DEPTH)
        m.submodules.aligned = aligned = Queue(layouts.aligned_beat(config), depth=DEPTH)
        m.submodules.deltas = deltas = Queue(16, depth=DELTA_DEPTH)
        m.submodules.delta_credit = credit = Credit(DELTA_DEPTH)
        wiring.connect(m, hashed.o, wiring.flipped(self.o))
        wiring.connect(m, aligned.o, wiring.flipped(self.aligned))
        wiring.connect(m, deltas.o, wiring.flipped(self.delta))

        plain, key = self.i.p, self.keystream.p
        go = Signal()
        cipher = Signal(8 * config.width)
        m.d.comb += [
            go.eq(self.i.valid & self.keystream.valid & hashed.i.ready & aligned.i.ready & (credit.free | ~plain.end)),
            self.i.ready.eq(go),
            self.keystream.ready.eq(go),
            cipher.eq(plain.blocks ^ key.data),
            aligned.i.valid.eq(go),
            aligned.i.p.eq(key),
            hashed.i.valid.eq(go & ~plain.end),
            hashed.i.p.index.eq(plain.index),
            hashed.i.p.blocks.eq(cipher),
            hashed.i.p.first.eq(plain.first),
            hashed.i.p.last.eq(plain.last),
            hashed.i.p.left.eq(plain.left),
            hashed.i.p.exponent.eq(plain.exponent),
            credit.take.eq(go & plain.end),
            credit.give.eq(self.delta.valid & self.delta.ready),
        ]

        # Half of the words come in: body bytes of the ciphertext. The others go out: plaintext, and tag bytes, which
        # never stand where body bytes do. AAD and length blocks are in neither; nor is anything of an end.
        m.submodules.sum = word_sum = WordSum(config.width)
        size = 8 * config.width
        added, removed = Signal(size), Signal(size)
        mask = byte_mask(key.mask)
        m.d.sync += [
            word_sum.valid.eq(go),
            word_sum.end.eq(plain.end),
            word_sum.odd.eq(plain.odd),
            added.eq(cipher & mask),
            removed.eq((plain.blocks & mask) | plain.tag),
        ]
        with m.If(plain.end):
            m.d.sync += [added.eq(0), removed.eq(0)]
        m.d.comb += [
            word_sum.words.eq(Cat(added, ~removed)),
            deltas.i.valid.eq(word_sum.o_valid),
            deltas.i.p.eq(word_sum.o),
        ]
        return m
