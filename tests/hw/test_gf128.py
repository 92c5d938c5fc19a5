"""GF(2^128): the pipelined multiplier and the square against plain Python, and that against the specification."""

import random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hw.gf128 import ONE, Multiplier, multiply, power, square, times_x, to_block, to_polynomial


def block(text: str) -> int:
    return to_polynomial(int.from_bytes(bytes.fromhex(text), "little"))


def products(pairs, terms=1):
    """Each sum of products, as the pipeline gives it, and the tags beside them."""
    dut = Multiplier(tag=16, terms=terms)
    sums, tags = [], []

    async def bench(ctx):
        for number in range(len(pairs) + Multiplier.delay):
            if number < len(pairs):
                for k, (a, b) in enumerate(pairs[number]):
                    ctx.set(dut.a[k], a)
                    ctx.set(dut.b[k], b)
                ctx.set(dut.i_tag, number + 1)
            if number >= Multiplier.delay:
                sums.append(ctx.get(dut.o))
                tags.append(ctx.get(dut.o_tag))
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    assert tags == list(range(1, len(pairs) + 1))
    return sums


def test_model_matches_the_gcm_specification():
    """GHASH of test case 2 of the GCM specification (McGrew and Viega, appendix B)."""
    h = block("66e94bd4ef8a2c3b884cfa59ca342b2e")
    ciphertext = block("0388dace60b6a392f328c2b971b2fe78")
    x1 = multiply(ciphertext, h)
    assert x1 == block("5e2ec746917062882c85b0685353deb7")
    assert multiply(x1 ^ block("00000000000000000000000000000080"), h) == block("f38cbb1ad69223dcc3457ae5b6b0f885")


def test_conversion():
    assert to_polynomial(0x80) == ONE  # the first bit of byte 0 is 1
    assert to_block(to_polynomial(1 << 77)) == 1 << 77
    assert power(ONE >> 1, 128) == times_x(1) == ONE | ONE >> 1 | ONE >> 2 | ONE >> 7


@pytest.mark.parametrize("terms", [1, 3])
def test_sums_of_products(terms):
    rng = random.Random(terms)
    pairs = [[(rng.getrandbits(128), rng.getrandbits(128)) for _ in range(terms)] for _ in range(200)]
    expected = [Multiplier.model(*zip(*pair, strict=True)) for pair in pairs]
    assert products(pairs, terms) == expected


def test_every_pair_of_single_bits_at_the_edges():
    """Products of single bits: every carry of the reduction, and linearity makes the rest follow."""
    bits = [1 << k for k in (0, 1, 6, 7, 8, 15, 16, 31, 63, 64, 121, 126, 127)]
    pairs = [[(a, b)] for a in bits for b in (1 << k for k in range(128))]
    assert products(pairs) == [multiply(a, b) for ((a, b),) in pairs]


def test_linear():
    rng = random.Random(3)
    triples = [[rng.getrandbits(128) for _ in range(3)] for _ in range(50)]
    left = products([[(a, c)] for a, _, c in triples])
    right = products([[(b, c)] for _, b, c in triples])
    both = products([[(a ^ b, c)] for a, b, c in triples])
    assert both == [a ^ b for a, b in zip(left, right, strict=True)]
    assert products([[(c, a)] for a, _, c in triples]) == left


def test_square():
    class Squares(wiring.Component):
        i: In(128)
        o: Out(128)

        def elaborate(self, platform):
            m = Module()
            m.d.comb += self.o.eq(square(self.i))
            m.d.sync += Signal().eq(0)
            return m

    dut = Squares()

    async def bench(ctx):
        for value in [1 << k for k in range(128)] + [random.Random(4).getrandbits(128)]:
            ctx.set(dut.i, value)
            assert ctx.get(dut.o) == multiply(value, value)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
