"""The hash of each fragment for an ECP5: a product goes straight into the sum four beats behind."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.memory import Memory

from hw.fragment_hash import FragmentHash
from hw.gf128 import ONE, LateMultiplier
from hw.layouts import GHASH_STRIDE


class LateFragmentHash(FragmentHash):
    """FragmentHash whose multiplier has four stages: nothing but its operands' sums stands between two products.

    A beat that comes GHASH_STRIDE cycles behind the last one of its slot takes that product as it comes out; otherwise
    it waits in the slot, and is added to the beat a cycle ahead.

    Members
    -------
    as of FragmentHash
    """

    def elaborate(self, platform):
        m = Module()
        beat_sum, coming = self._beat_sum(m)
        m.d.comb += [self.loop_index.eq(coming.index), self.loop_left.eq(coming.left)]

        number, tag = self._number(m, coming), self._tag
        m.submodules.loop = multiplier = LateMultiplier(tag)
        m.submodules.slots = slots = Memory(shape=128, depth=GHASH_STRIDE, init=[])
        write, read = slots.write_port(), slots.read_port(domain="comb")

        # the beat before it in its slot came GHASH_STRIDE cycles ago if one came in each of these
        history, comes, waits = Signal(GHASH_STRIDE), Signal(), Signal()
        m.d.sync += [
            history.eq(Cat(coming.valid, history)[:GHASH_STRIDE]),
            comes.eq(number[2] & history.all()),
            waits.eq(number[2] & ~history.all()),
        ]

        # a cycle behind the beat its power is read, and what its slot holds
        value1, tag1, alone = Signal(128, reset_less=True), Signal(tag), Signal()
        m.d.sync += [
            value1.eq(beat_sum),
            tag1.valid.eq(coming.valid),
            tag1.left.eq(coming.left),
            tag1.slot.eq(number[:2]),
            alone.eq(coming.left == 0),
        ]
        value2, tag2, power = Signal(128, reset_less=True), Signal(tag), Signal(128, reset_less=True)
        passing = Signal()
        m.d.comb += read.addr.eq(tag1.slot)
        m.d.sync += [
            value2.eq(value1 ^ Mux(waits, read.data, 0)),
            tag2.eq(tag1),
            power.eq(Mux(alone, ONE, self.loop)),
            passing.eq(comes),
        ]

        summand = Signal(128)
        m.d.comb += [
            summand.eq(value2 ^ Mux(passing, multiplier.o, 0)),
            multiplier.a[0].eq(summand),
            multiplier.b[0].eq(power),
            multiplier.i_tag.eq(tag2),
            write.en.eq(multiplier.early_tag.valid & (multiplier.early_tag.left == GHASH_STRIDE)),
            write.addr.eq(multiplier.early_tag.slot),
            write.data.eq(multiplier.early),
        ]

        self._fold(m, multiplier)
        return m
