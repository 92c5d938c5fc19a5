"""hw.merge, hw.deep_queue: sparse overlays with the distance to the one before, and the queue behind them."""

import random

import pytest
from amaranth.lib import data

from hw.config import Config
from hw.deep_queue import DeepQueue
from hw.merge import Merge, sparse_beat
from hw.overlay import Overlay
from tests.hw.aligned_items import item, random_frame
from tests.hw.testbench import run_streams


@pytest.mark.default_cases(3)
@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("seed,closed", [(1, 0.0), (2, 0.2), (3, 0.5)])
def test_items_are_merged(width, seed, closed):
    """`closed`: how often `room` falls; no more than 6 items leave then."""
    rng = random.Random(f"{width}/{seed}")
    config = Config(width=width, sbox="bram")
    frames = [random_frame(rng, width, rng.choice([1, 2, 7, 30])) for _ in range(60)]
    frames[10] = frames[11] = []
    given = [i for frame in frames for i in (*(item(config, *f) for f in frame), {"end": 1})]
    dut = Merge(config)
    got = []

    async def take(ctx):
        room, behind = True, 0
        while True:
            ctx.set(dut.room, room)
            _, _, valid, beat = await ctx.tick().sample(dut.o_valid, dut.o)
            if valid:
                got.append(beat)
                behind = 0 if room else behind + 1
                assert behind <= 6
            if room or rng.random() < 0.3:
                room, behind = rng.random() >= closed, 0

    run_streams(dut, [(dut.i, given)], [], idle=0.1, seed=seed, processes=[take], extra_cycles=9 * len(given) + 50)

    sent, at, number = [], 0, 0
    for beat in got:
        assert beat.near == (beat.skip == 0)
        if beat.mask:
            at = (at + beat.skip) % (1 << config.pointer_bits)
            sent.append((at * width, beat.data.to_bytes(width, "little"), beat.mask))
            at += 1
        if beat.end:
            size = 64 * width
            assert [s[0] for s in sent] == sorted({s[0] for s in sent})
            assert Overlay.model(sent, size) == Overlay.model(frames[number], size), f"frame {number}"
            sent, at, number = [], 0, number + 1
        else:
            assert beat.mask
    assert number == len(frames)
    assert data.Layout.cast(sparse_beat(config)).size == 2 + config.pointer_bits + 9 * width


@pytest.mark.parametrize("given,taken", [(1.0, 1.0), (1.0, 0.3), (0.3, 1.0), (0.5, 0.5), (0.9, 0.9)])
def test_deep_queue(given, taken):
    """What a source gives that heeds `room` three cycles late comes out in order, a payload a cycle if it can."""
    rng = random.Random(f"{given}/{taken}")
    dut = DeepQueue(16, depth=32, slack=8)
    count = 2000
    first_full = []

    async def give(ctx):
        number, rooms = 0, [1, 1, 1]
        while number < count:
            go = rooms[0] and rng.random() < given
            ctx.set(dut.i_valid, bool(go))
            ctx.set(dut.i, number)
            number += bool(go)
            _, _, room = await ctx.tick().sample(dut.room)
            rooms = [*rooms[1:], room]
            if not room and number > 8:
                first_full.append(number)
        ctx.set(dut.i_valid, 0)

    cycles = []

    async def watch(ctx):
        cycle = 0
        while True:
            _, _, moved = await ctx.tick().sample(dut.o.valid & dut.o.ready)
            cycle += 1
            if moved:
                cycles.append(cycle)

    (out,) = run_streams(dut, [], [(dut.o, count)], backpressure=1 - taken, processes=[give, watch], extra_cycles=10)
    assert out == list(range(count))
    assert first_full or taken >= given
    if given == taken == 1.0:
        assert cycles[-1] - cycles[0] == count - 1 and cycles[0] <= 8
