"""The hash of each fragment of GHASH, not yet placed in its record."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.config import Config
from hw.gf128 import ONE, Multiplier, multiply, to_polynomial
from hw.layouts import GHASH_STRIDE


class FragmentHash(wiring.Component):
    """Sum of block * H^(blocks of the fragment behind it) over the beats of each fragment.

    Contract: a beat a cycle, with or without pauses, fragments back to back; nothing holds it up. The hash comes
    `delay` cycles after the last beat. Two sums of products: over the lanes of a beat (the last lane counts as it
    is), then over beats. There GHASH_STRIDE partial sums take turns, so that the product of one beat is ready for
    the beat that adds to it; beats near the end of the fragment fold theirs into one sum.
    Source: NIST SP 800-38D, section 6.4; the powers counted from the end are docs/architecture.md.

    Members
    -------
    beat : In(layouts.hash_beat)    i_valid : In(1)
    o : Out(128)    polynomial      o_valid : Out(1)
    lane_index, loop_index, loop_left : Out, lanes, loop : In    ports of Powers
    """

    def __init__(self, config: Config):
        self._config = config
        members = {
            "beat": In(layouts.hash_beat(config)),
            "i_valid": In(1),
            "o": Out(128),
            "o_valid": Out(1),
            "loop_index": Out(config.index_bits),
            "loop_left": Out(range(GHASH_STRIDE + 1)),
            "loop": In(128),
        }
        if config.lanes > 1:
            members |= {"lane_index": Out(config.index_bits), "lanes": In(128).array(config.lanes - 1)}
        super().__init__(members)
        self.delay = self.delay_of(config)

    @staticmethod
    def delay_of(config: Config) -> int:
        return (Multiplier.delay + 1) * (1 if config.lanes == 1 else 2) + 2 * config.late

    @staticmethod
    def model(h: int, blocks: list[int]) -> int:
        """Polynomial H and blocks; the hash of the fragment as a polynomial."""
        value = 0
        for block in blocks:
            value = multiply(value, h) ^ to_polynomial(block)
        return value

    def _beat_sum(self, m):
        """The beat's lanes as one polynomial, with the control fields that belong to it."""
        lanes = self._config.lanes
        control = data.StructLayout({
            "valid": 1,
            "first": 1,
            "left": range(GHASH_STRIDE + 1),
            "index": self._config.index_bits,
        })  # fmt: skip
        blocks = [self.beat.blocks[128 * lane : 128 * lane + 128] for lane in range(lanes)]
        now = Signal(control)
        m.d.comb += [
            now.valid.eq(self.i_valid),
            now.first.eq(self.beat.first),
            now.left.eq(self.beat.left),
            now.index.eq(self.beat.index),
        ]
        if lanes == 1:
            return to_polynomial(blocks[0]), now

        # the lane powers are read while the blocks wait one cycle
        tag = data.StructLayout({"control": control, "last_block": 128})
        m.submodules.lanes = multiplier = Multiplier(tag, terms=lanes - 1)
        m.d.comb += self.lane_index.eq(self.beat.index)
        for lane in range(lanes - 1):
            register = Signal(128, name=f"block{lane}", reset_less=True)
            m.d.sync += register.eq(to_polynomial(blocks[lane]))
            m.d.comb += [multiplier.a[lane].eq(register), multiplier.b[lane].eq(self.lanes[lane])]
        waiting = Signal(tag)
        m.d.sync += [waiting.control.eq(now), waiting.last_block.eq(to_polynomial(blocks[-1]))]
        m.d.comb += multiplier.i_tag.eq(waiting)
        return multiplier.o ^ multiplier.o_tag.last_block, multiplier.o_tag.control

    _tag = data.StructLayout({"valid": 1, "left": range(GHASH_STRIDE + 1), "slot": range(GHASH_STRIDE)})
    """What goes through the multiplier with a beat."""

    def _number(self, m, beat):
        """Of the beat in its fragment: slot in the low bits, above it whether the slot is in use."""
        counted, number = Signal(3), Signal(3)
        m.d.comb += number.eq(Mux(beat.first, 0, counted))
        with m.If(beat.valid):
            m.d.sync += counted.eq((number + 1)[:3] | number & GHASH_STRIDE)
        return number

    def _fold(self, m, multiplier):
        """The products near the fragment's end into one sum."""
        done, folded, total = multiplier.o_tag, Signal(128), Signal(128)
        m.d.comb += [
            total.eq(folded ^ multiplier.o),
            self.o.eq(total),
            self.o_valid.eq(done.valid & (done.left == 0)),
        ]
        with m.If(done.valid & (done.left != GHASH_STRIDE)):
            m.d.sync += folded.eq(Mux(done.left == 0, 0, total))

    def elaborate(self, platform):
        m = Module()
        beat_sum, coming = self._beat_sum(m)
        control = coming.shape()
        value, beat = Signal(128), Signal(control)
        m.d.sync += [value.eq(beat_sum), beat.eq(coming)]
        m.d.comb += [self.loop_index.eq(coming.index), self.loop_left.eq(coming.left)]
        factor = Mux(beat.left == 0, ONE, self.loop)

        m.submodules.slots = slots = Memory(shape=128, depth=GHASH_STRIDE, init=[])
        write, read = slots.write_port(), slots.read_port(domain="comb")
        number, tag = self._number(m, beat), self._tag
        m.submodules.loop = multiplier = Multiplier(tag)
        m.d.comb += [
            read.addr.eq(number[:2]),
            multiplier.a[0].eq(value ^ Mux(number[2], read.data, 0)),
            multiplier.b[0].eq(factor),
            multiplier.i_tag.valid.eq(beat.valid),
            multiplier.i_tag.left.eq(beat.left),
            multiplier.i_tag.slot.eq(number[:2]),
        ]

        done = multiplier.o_tag
        m.d.comb += [
            write.en.eq(done.valid & (done.left == GHASH_STRIDE)),
            write.addr.eq(done.slot),
            write.data.eq(multiplier.o),
        ]
        self._fold(m, multiplier)
        return m
