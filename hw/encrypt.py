"""Plaintext XOR keystream in the record's grid, and the difference it makes to the checksum."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.config import Config
from hw.stream import Queue

DEPTH = 8


def word_sum(value, *, negative: bool = False):
    """Sum of the big-endian 16-bit words of a byte string; `negative`: of their ones' complements (RFC 1071)."""
    words = [Cat(value[at + 8 : at + 16], value[at : at + 8]) for at in range(0, len(value), 16)]
    return sum((~word if negative else word)[:16] for word in words)


def folded(value):
    """A sum of up to 32 bits folded to 16, the carries added in twice."""
    once = value[:16] + value[16:]
    return (once[:16] + once[16:])[:16]


class Encrypt(wiring.Component):
    """Joins aligned plaintext with aligned keystream.

    Contract: a beat a cycle; the outputs may stall independently. `delta` comes once a frame, five cycles behind its
    end at the earliest: the ones' complement sum of the frame's ciphertext words, less its plaintext words and less
    the words of what stood where tags go.

    Members
    -------
    i : In(stream.Signature(layouts.plain_beat))           beats, and an end for each frame
    keystream : In(stream.Signature(layouts.aligned_beat))    for the same beats and ends, in the same order
    o : Out(stream.Signature(layouts.hash_beat))           ciphertext
    aligned : Out(stream.Signature(layouts.aligned_beat))     the keystream, handed on
    delta : Out(stream.Signature(16))
    """

    def __init__(self, config: Config):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(layouts.plain_beat(config))),
            "keystream": In(stream.Signature(layouts.aligned_beat(config))),
            "o": Out(stream.Signature(layouts.hash_beat(config))),
            "aligned": Out(stream.Signature(layouts.aligned_beat(config))),
            "delta": Out(stream.Signature(16)),
        })  # fmt: skip

    @staticmethod
    def model(plain: bytes, keystream: bytes, tag: bytes, odd: bool) -> int:
        """`delta` of one beat, folded."""

        def total(data: bytes) -> int:
            data = b"\0" + data + b"\0" if odd else data
            return sum(int.from_bytes(data[k : k + 2], "big") for k in range(0, len(data), 2))

        cipher = bytes(a ^ b for a, b in zip(plain, keystream, strict=True))
        return (total(cipher) - total(plain) - total(tag)) % 0xFFFF

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.hashed = hashed = Queue(layouts.hash_beat(config), depth=DEPTH)
        m.submodules.aligned = aligned = Queue(layouts.aligned_beat(config), depth=DEPTH)
        # Every frame inside the device has room for its delta, so the pipeline of sums never waits.
        m.submodules.deltas = deltas = Queue(16, depth=layouts.MAX_PACKETS + 1)
        wiring.connect(m, hashed.o, wiring.flipped(self.o))
        wiring.connect(m, aligned.o, wiring.flipped(self.aligned))
        wiring.connect(m, deltas.o, wiring.flipped(self.delta))

        plain, key = self.i.p, self.keystream.p
        go = Signal()
        cipher = Signal(8 * config.width)
        m.d.comb += [
            go.eq(self.i.valid & self.keystream.valid & hashed.i.ready & aligned.i.ready),
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
        ]

        # stage 1: registers; 2: a sum for each lane; 3: one for the beat, folded; 4: added up
        valid1, end1, odd1 = Signal(), Signal(), Signal()
        cipher1, plain1, tag1 = (Signal(8 * config.width) for _ in range(3))
        m.d.sync += [
            valid1.eq(go),
            end1.eq(plain.end),
            odd1.eq(plain.odd),
            cipher1.eq(cipher),
            plain1.eq(plain.blocks),
            tag1.eq(plain.tag),
        ]
        valid2, end2, odd2 = Signal(), Signal(), Signal()
        lanes2 = [Signal(21, name=f"lane{n}") for n in range(config.lanes)]
        m.d.sync += [valid2.eq(valid1), end2.eq(end1), odd2.eq(odd1)]
        for n, lane in enumerate(lanes2):
            part = slice(128 * n, 128 * (n + 1))
            m.d.sync += lane.eq(
                word_sum(cipher1[part]) + word_sum(plain1[part], negative=True) + word_sum(tag1[part], negative=True)
            )
        valid3, end3 = Signal(), Signal()
        beat3 = Signal(16)
        beat_sum = Signal(24)
        folded_sum = Signal(16)
        m.d.comb += [beat_sum.eq(sum(lanes2)), folded_sum.eq(folded(beat_sum))]
        m.d.sync += [
            valid3.eq(valid2),
            end3.eq(end2),
            beat3.eq(Mux(odd2, Cat(folded_sum[8:], folded_sum[:8]), folded_sum)),
        ]
        total = Signal(16)
        with m.If(valid3):
            m.d.sync += total.eq(Mux(end3, 0, folded(total + beat3)))
        m.d.comb += [deltas.i.valid.eq(valid3 & end3), deltas.i.p.eq(total)]
        return m
