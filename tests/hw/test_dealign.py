"""hw.dealign: sparse overlays of frame beats."""

import random

import pytest

from hw.config import Config
from hw.dealign import Dealign
from hw.overlay import Overlay
from tests.hw.aligned_items import item, random_frame
from tests.hw.testbench import run_streams


def overlays(config, frames, *, idle=0.0, backpressure=0.0, seed=0):
    """What leaves for each frame: (beat or None, data, mask)."""
    given = [i for frame in frames for i in (*(item(config, *f) for f in frame), {"end": 1})]
    rng, nothing = random.Random(seed), (1 << config.pointer_bits) - 1
    dut = Dealign(config)
    out = [[]]

    async def take(ctx):
        while True:
            ctx.set(dut.o.ready, rng.random() >= backpressure)
            _, _, moves, beat = await ctx.tick().sample(dut.o.valid & dut.o.ready, dut.o.p)
            if moves:
                number = None if beat.beat == nothing else beat.beat
                out[-1].append((number, beat.data.to_bytes(config.width, "little"), beat.mask))
                if beat.end:
                    out.append([])

    run_streams(dut, [(dut.i, given)], [], idle=idle, seed=seed, processes=[take], extra_cycles=9 * len(given) + 50)
    assert out.pop() == []
    return out


@pytest.mark.default_cases(3)
@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("seed,idle,backpressure", [(1, 0.0, 0.0), (2, 0.2, 0.5), (3, 0.5, 0.2)])
def test_items_are_merged(width, seed, idle, backpressure):
    rng = random.Random(f"{width}/{seed}")
    config = Config(width=width)
    frames = [random_frame(rng, width, rng.choice([1, 2, 7, 30])) for _ in range(60)]
    frames[10] = frames[11] = []
    sent = overlays(config, frames, idle=idle, backpressure=backpressure, seed=seed)
    assert len(sent) == len(frames)
    for number, (got, frame) in enumerate(zip(sent, frames, strict=True)):
        beats = [beat for beat, _, _ in got]
        assert None not in beats[:-1] and beats[: len(got) - 1] == sorted(set(beats[:-1])), f"frame {number}"
        placed = [(beat * width, part, mask) for beat, part, mask in got if beat is not None]
        assert Overlay.model(placed, 64 * width) == Overlay.model(frame, 64 * width), f"frame {number}"
        assert all(mask for _, _, mask in placed)


@pytest.mark.parametrize("width", [16, 32, 64])
def test_length_block_behind_the_frame(width):
    """It has no byte in the frame, and its end comes with the last beat that has."""
    body, config = (1 << width) - 1, Config(width=width)
    frames = [
        [(start + k * width, bytes(width), body) for k in range(3)] + [(start + 3 * width, bytes(width), 0)]
        for start in range(0, 2 * width, 3)
    ]
    for frame, got in zip(frames, overlays(config, frames), strict=True):
        last = (frame[-1][0] - 1) // width
        assert [beat for beat, _, _ in got] == [*range(frame[0][0] // width, last + 1)]


@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("header", [5, 13])
def test_an_item_a_cycle(width, header):
    """Records of many sizes in one frame: none of their AAD, body and length blocks has to wait."""
    config, items, start = Config(width=width), [], 0
    for body in range(2 * width, 4 * width):
        for at in range(start + header - 16, start + header + body + 16, width):
            place = range(at, at + width)
            mask = sum(1 << k for k, byte in enumerate(place) if start + header <= byte < start + header + body)
            items.append((at, bytes(width), mask))
        start += header + body + 16
    items = [one for one in items if one[0] >= 0 and one[0] // width < (1 << config.pointer_bits - 1)]
    dut, taken = Dealign(config), []

    async def watch(ctx):
        cycle = 0
        ctx.set(dut.o.ready, 1)
        while True:
            _, _, moves = await ctx.tick().sample(dut.i.valid & dut.i.ready)
            cycle += 1
            if moves:
                taken.append(cycle)

    run_streams(dut, [(dut.i, [item(config, *one) for one in items])], [], processes=[watch], extra_cycles=len(items))
    assert [b - a for a, b in zip(taken, taken[1:], strict=False)] == [1] * (len(items) - 1)
