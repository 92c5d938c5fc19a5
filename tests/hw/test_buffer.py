"""hw.buffer: order, space, counters and pair ports."""

import random

import pytest
from amaranth.lib import data
from amaranth.sim import Simulator

from hw.buffer import PacketBuffer
from hw.config import Config
from hw.layouts import beat
from tests.hw.testbench import run_streams


def make_beats(rng, width, count):
    beats = []
    for _ in range(count):
        last = rng.random() < 0.2
        size = rng.randint(1, width) if last else width
        beats.append({"data": rng.getrandbits(8 * width), "keep": (1 << size) - 1, "last": last})
    return beats


def bits(config, b):
    return data.Layout.cast(beat(config)).const(b).as_bits()


@pytest.mark.default_cases(4)
@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("idle,backpressure", [(0, 0), (0.5, 0), (0, 0.5), (0.3, 0.3)])
def test_order(width, idle, backpressure):
    config = Config(width=width)
    rng = random.Random(width)
    beats = make_beats(rng, width, config.buffer_beats + 100)
    dut = PacketBuffer(config)
    got = run_streams(dut, [(dut.i, beats)], [(dut.o, len(beats))], idle=idle, backpressure=backpressure)
    assert got[0] == [bits(config, b) for b in beats]


def test_full_rate_and_full_buffer():
    """A beat a cycle passes through; with the consumer held, exactly `buffer_beats` fit."""
    config = Config(width=64)
    dut = PacketBuffer(config)
    seen = {}

    async def hold(ctx):
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.o.ready, 0)
        await ctx.tick().repeat(config.buffer_beats + 50)
        seen["ready"] = ctx.get(dut.i.ready)
        seen["written"] = ctx.get(dut.written)
        ctx.set(dut.o.ready, 1)
        await ctx.tick().repeat(10)
        before = ctx.get(dut.written)
        await ctx.tick().repeat(1000)
        seen["rate"] = (ctx.get(dut.written) - before) % (1 << config.pointer_bits)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(hold)
    sim.run()
    assert seen == {"ready": 0, "written": config.buffer_beats, "rate": 1000}


@pytest.mark.parametrize("width", [16, 64])
def test_pair_ports(width):
    """A pair port returns every beat that `written` counts in the cycle of the address."""
    config = Config(width=width)
    rng = random.Random(5)
    beats = make_beats(rng, width, 2 * config.buffer_beats + 77)
    dut = PacketBuffer(config)
    checked = {"track": 0, "align": 0}
    mask = (1 << 8 * width) - 1
    state = {"taken": 0, "written": 0, "ended": 0}

    async def count(ctx):
        take, give = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready
        while True:
            _, _, go, last, written, ended, out = await ctx.tick().sample(
                take, dut.i.p.last, dut.written, dut.ended, give
            )
            assert written == state["written"] % (1 << config.pointer_bits) and ended == state["ended"] % 64
            state["written"] += go
            state["ended"] += go & last
            state["taken"] += out

    def reader(port, name, rng):
        async def run(ctx):
            while True:
                low, high = state["taken"], state["written"]
                if low >= high:
                    await ctx.tick()
                    continue
                place = rng.choice([high - 1, rng.randrange(low, high), max(high - 2, low)])
                ctx.set(port.address, place % (1 << config.pointer_bits))
                await ctx.tick()
                value = ctx.get(port.data)
                assert value & mask == beats[place]["data"]
                if place + 1 < high:
                    assert value == PacketBuffer.model([b["data"] for b in beats[: place + 2]], place, width)
                checked[name] += 1

        return run

    run_streams(
        dut,
        [(dut.i, beats)],
        [(dut.o, len(beats))],
        idle=0.1,
        backpressure=0.15,
        processes=[
            count,
            reader(dut.track, "track", random.Random(1)),
            reader(dut.align, "align", random.Random(2)),
        ],
    )
    assert min(checked.values()) > 1000
