"""hw.toeplitz against the golden model's hash and its own."""

import random

import pytest
from amaranth.sim import Simulator

from hw.toeplitz import Toeplitz
from model.contract import DEFAULT_HASH_KEY, HASH_KEY_BITS
from model.table import toeplitz


@pytest.mark.parametrize("at_once", [1, 2, 4, 5])
def test_hash(at_once):
    rng = random.Random(1)
    keys = [DEFAULT_HASH_KEY, 0, (1 << HASH_KEY_BITS) - 1, *(rng.getrandbits(HASH_KEY_BITS) for _ in range(10))]
    cases = []
    for key in keys:
        cases += [(key, [rng.getrandbits(32) for _ in range(10)]), (key, [rng.getrandbits(32) for _ in range(3)])]
    cases += [(keys[0], [0] * w + [1 << b]) for w in range(10) for b in (0, 1, 30, 31)]
    dut = Toeplitz(at_once)

    async def bench(ctx):
        for key, words in cases:
            ctx.set(dut.key, key)
            for place in range(dut.steps(len(words))):
                group = [*words, 0, 0, 0, 0][place * at_once :][:at_once]
                ctx.set(dut.enable, 1)
                ctx.set(dut.first, place == 0)
                ctx.set(dut.place, place)
                ctx.set(dut.word, sum(word << 32 * (at_once - 1 - k) for k, word in enumerate(group)))
                await ctx.tick()
                if rng.random() < 0.2:
                    ctx.set(dut.enable, 0)
                    await ctx.tick().repeat(2)
            ctx.set(dut.enable, 0)
            await ctx.tick().repeat(Toeplitz.delay - 1)
            padded = words + [0] * (10 - len(words))
            message = 0
            for word in padded:
                message = message << 32 | word
            assert ctx.get(dut.hash) == Toeplitz.model(key, padded) == toeplitz(key, message)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
