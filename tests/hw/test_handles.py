"""Handles: which one is next, which are live, whatever was asked before."""

import random
from collections import deque

from amaranth.sim import Simulator

from hw.config import Config
from hw.handles import Handles
from hw.layouts import HANDLE_BITS
from model.contract import GENERATION_BITS, INDEX_BITS

CONFIG = Config(connections=8)


def test_handles_are_live_until_freed_and_never_again():
    dut = Handles(CONFIG)
    rng = random.Random(1)
    live: list[int] = []
    dead: list[int] = []
    generations = dict.fromkeys(range(CONFIG.connections), 0)
    order = deque(generations)

    async def query(ctx, handle: int) -> bool:
        ctx.set(dut.query, handle)
        await ctx.tick().repeat(2)
        return bool(ctx.get(dut.live))

    async def testbench(ctx):
        for step in range(600):
            assert ctx.get(dut.free_count) == CONFIG.connections - len(live)
            assert ctx.get(dut.any_free) == (len(live) < CONFIG.connections)
            # any handle: one that was live or never was, of another generation, of no index there is
            handle = rng.choice([*live, *dead[-20:], rng.randrange(1 << HANDLE_BITS)])
            handle ^= rng.choice([0, 0, 0, 1 << rng.randrange(HANDLE_BITS)])
            assert await query(ctx, handle) == (handle in live), (step, handle, live)
            if order and rng.random() < 0.5:
                index = order.popleft()
                assert ctx.get(dut.next) == index | generations[index] << INDEX_BITS
                live.append(ctx.get(dut.next))
                ctx.set(dut.allocate, 1)
            elif live and rng.random() < 0.7:
                handle = live.pop(rng.randrange(len(live)))
                assert await query(ctx, handle)
                index = handle % (1 << INDEX_BITS)
                generations[index] = (generations[index] + 1) % (1 << GENERATION_BITS)
                dead.append(handle)
                order.append(index)
                ctx.set(dut.free, 1)
            await ctx.tick()
            ctx.set(dut.allocate, 0)
            ctx.set(dut.free, 0)
            await ctx.tick().repeat(3)
        assert len(dead) > 100

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(testbench)
    simulator.run()
