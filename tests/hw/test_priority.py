"""The lowest of some bits, for any number of them."""

import random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from hw.priority import lowest


@pytest.mark.parametrize("width", [1, 2, 3, 5, 16, 64])
def test_lowest(width):
    rng = random.Random(width)
    masks = range(1 << width) if width <= 5 else [0, 1 << width - 1, *(rng.getrandbits(width) for _ in range(200))]
    masks = [*masks, *(1 << n for n in range(width)), *((1 << width) - (1 << n) for n in range(width))]
    m = Module()
    mask = Signal(width)
    number = lowest(m, mask)

    async def bench(ctx):
        for value in masks:
            ctx.set(mask, value)
            await ctx.delay(1e-9)
            assert ctx.get(number) == ((value & -value).bit_length() - 1 if value else 0)

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
