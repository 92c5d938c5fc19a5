"""GHASH room: the hash of each fragment, placed in its record."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw import layouts
from hw.config import Config
from hw.gf128 import ONE, Multiplier, multiply, power, to_block, to_polynomial
from hw.layouts import GHASH_STRIDE
from hw.placing import Placing
from hw.placing_pair import PlacingPair
from hw.powers import Powers


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
        return (Multiplier.delay + 1) * (1 if config.lanes == 1 else 2) + config.late

    @staticmethod
    def model(h: int, blocks: list[int]) -> int:
        """Polynomial H and blocks; the hash of the fragment as a polynomial."""
        value = 0
        for block in blocks:
            value = multiply(value, h) ^ to_polynomial(block)
        return value

    def _beat_sum(self, m, control):
        """The beat's lanes as one polynomial, with the control fields that belong to it."""
        lanes = self._config.lanes
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

    def elaborate(self, platform):
        m = Module()
        control = data.StructLayout({
            "valid": 1,
            "first": 1,
            "left": range(GHASH_STRIDE + 1),
            "index": self._config.index_bits,
        })  # fmt: skip
        beat_sum, coming = self._beat_sum(m, control)
        value, beat = Signal(128), Signal(control)
        m.d.sync += [value.eq(beat_sum), beat.eq(coming)]
        m.d.comb += [self.loop_index.eq(coming.index), self.loop_left.eq(coming.left)]
        factor = Mux(beat.left == 0, ONE, self.loop)
        if self._config.late:  # a power from block RAM has a register in front of the multiplier's sums
            powers, values, beats = Signal(128, name="factor"), value, beat
            value, beat = Signal(128, name="value_late"), Signal(control, name="beat_late")
            m.d.sync += [powers.eq(factor), value.eq(values), beat.eq(beats)]
            factor = powers

        # beat number in the fragment: slot in the low bits, above it whether the slot is in use
        m.submodules.slots = slots = Memory(shape=128, depth=GHASH_STRIDE, init=[])
        write, read = slots.write_port(), slots.read_port(domain="comb")
        counted, number = Signal(3), Signal(3)
        m.d.comb += number.eq(Mux(beat.first, 0, counted))
        with m.If(beat.valid):
            m.d.sync += counted.eq((number + 1)[:3] | number & GHASH_STRIDE)

        tag = data.StructLayout({"valid": 1, "left": range(GHASH_STRIDE + 1), "slot": range(GHASH_STRIDE)})
        m.submodules.loop = multiplier = Multiplier(tag)
        m.d.comb += [
            read.addr.eq(number[:2]),
            multiplier.a[0].eq(value ^ Mux(number[2], read.data, 0)),
            multiplier.b[0].eq(factor),
            multiplier.i_tag.valid.eq(beat.valid),
            multiplier.i_tag.left.eq(beat.left),
            multiplier.i_tag.slot.eq(number[:2]),
        ]

        done, folded, total = multiplier.o_tag, Signal(128), Signal(128)
        m.d.comb += [
            write.en.eq(done.valid & (done.left == GHASH_STRIDE)),
            write.addr.eq(done.slot),
            write.data.eq(multiplier.o),
            total.eq(folded ^ multiplier.o),
            self.o.eq(total),
            self.o_valid.eq(done.valid & (done.left == 0)),
        ]
        with m.If(done.valid & (done.left != GHASH_STRIDE)):
            m.d.sync += folded.eq(Mux(done.left == 0, 0, total))
        return m


class Ghash(wiring.Component):
    """The placed hash of each fragment, in order.

    Contract: a beat a cycle, fragments of any indices back to back; `i.ready` falls only between fragments, when
    too many of them wait (for their placing power, or at `o`). The hash comes `delay` cycles after the fragment's
    last beat when its power is ready by then. `o` may be stalled for any time. A subkey operation takes at
    most `install_latency` cycles until `done`; no beat of its index may be inside meanwhile.

    Members
    -------
    i : In(stream.Signature(layouts.hash_beat))
    o : Out(stream.Signature(128))    byte 0 in bits 7:0
    subkeys : In(stream.Signature(layouts.subkey_operation))    zero: erase
    done : Out(1)    pulse: the powers of a subkey operation are stored
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__({
            "i": In(stream.Signature(layouts.hash_beat(config))),
            "o": Out(stream.Signature(128)),
            "subkeys": In(stream.Signature(layouts.subkey_operation(config))),
            "done": Out(1),
        })  # fmt: skip
        self.delay = FragmentHash.delay_of(config) + Placing.delay_of(config)
        self.install_latency = Powers.latency + Powers.products * Placing.factors_wait_of(config)

    @staticmethod
    def model(subkey: int, blocks: list[int], exponent: int) -> int:
        """Subkey and blocks with byte 0 in bits 7:0, the result as well."""
        h = to_polynomial(subkey)
        return to_block(multiply(FragmentHash.model(h, blocks), power(h, exponent)))

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.powers = powers = Powers(config)
        m.submodules.fragment = fragment = FragmentHash(config)
        m.submodules.placing = placing = (PlacingPair if config.placings == 2 else Placing)(config)
        wiring.connect(m, wiring.flipped(self.subkeys), powers.subkeys)
        wiring.connect(m, powers.factors, placing.factors)
        wiring.connect(m, placing.product, powers.product)
        m.d.comb += self.done.eq(powers.done)

        inside = Signal()  # a fragment has begun and not ended
        accept = Signal()
        m.d.comb += [
            self.i.ready.eq(inside | placing.begin.ready),
            accept.eq(self.i.valid & self.i.ready),
            placing.begin.valid.eq(self.i.valid & ~inside),
            placing.begin.p.index.eq(self.i.p.index),
            placing.begin.p.exponent.eq(self.i.p.exponent),
            fragment.beat.eq(self.i.p),
            fragment.i_valid.eq(accept),
            placing.hashes.valid.eq(fragment.o_valid),
            placing.hashes.p.eq(fragment.o),
            self.o.valid.eq(placing.o.valid),
            self.o.p.eq(to_block(placing.o.p)),
            placing.o.ready.eq(self.o.ready),
            powers.loop_index.eq(fragment.loop_index),
            powers.loop_left.eq(fragment.loop_left),
            fragment.loop.eq(powers.loop),
            powers.digit_index.eq(placing.digit_index),
            powers.digit_row.eq(placing.digit_row),
            placing.digit.eq(powers.digit),
        ]
        if config.placings == 2:
            m.d.comb += [
                powers.second_index.eq(placing.second_index),
                powers.second_row.eq(placing.second_row),
                placing.second.eq(powers.second),
            ]
        with m.If(accept):
            m.d.sync += inside.eq(~self.i.p.last)
        for lane in range(config.lanes - 1):
            m.d.comb += fragment.lanes[lane].eq(powers.lanes[lane])
        if config.lanes > 1:
            m.d.comb += powers.lane_index.eq(fragment.lane_index)
        return m
