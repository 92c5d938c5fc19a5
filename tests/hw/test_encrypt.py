"""hw.encrypt and hw.word_sum against their models: blocks, keystream handed on, and the sum of the difference."""

import random

import pytest
from amaranth.sim import Simulator

from hw import layouts
from hw.config import Config
from hw.encrypt import DELTA_DEPTH, DEPTH, Encrypt
from hw.word_sum import WordSum
from tests.hw.testbench import run_streams


def beats_of(rng, width, count):
    """Beats of a frame: body bytes with keystream, tag bytes beside them, blocks of AAD and lengths between."""
    extremes = rng.random() < 0.2
    for _ in range(count):
        plain, keystream, tag, mask = bytearray(width), bytearray(width), bytearray(width), 0
        for lane in range(0, width, 16):
            kind = rng.choice(["body", "body", "ends", "block", "block over tag", "empty"])
            body_end = {"body": 16, "ends": rng.randrange(1, 16)}.get(kind, 0)
            for k in range(16):
                if k < body_end:
                    plain[lane + k] = 0xFF if extremes else rng.randrange(256)
                    keystream[lane + k] = rng.choice([0, 0xFF]) if extremes else rng.randrange(256)
                    mask |= 1 << (lane + k)
                elif kind in ("ends", "block over tag"):
                    tag[lane + k] = rng.randrange(256)
                if kind.startswith("block"):
                    plain[lane + k] = rng.randrange(256)
        yield bytes(plain), bytes(keystream), bytes(tag), rng.random() < 0.5, mask


def as_int(block):
    return int.from_bytes(block, "little")


@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("stalls", [0.0, 0.3])
def test_frames_against_the_model(width, stalls):
    rng = random.Random(f"{width}/{stalls}")
    config = Config(width=width, connections=8)
    plain, keystream, want_blocks, want_aligned, want_delta = [], [], [], [], []
    for _ in range(60):
        beats = list(beats_of(rng, width, rng.choice([0, 0, 1, 2, 9, 20])))
        cipher, delta = Encrypt.model([beat[:4] for beat in beats])
        want_delta.append(delta)
        for (p, k, t, odd, mask), c in zip(beats, cipher, strict=True):
            rest = {"index": rng.randrange(8), "first": rng.randrange(2), "last": rng.randrange(2)}
            rest |= {"left": rng.randrange(5), "exponent": rng.randrange(1, 1100)}
            plain.append({"blocks": as_int(p), "tag": as_int(t), "odd": int(odd), **rest})
            place = {"rotate": rng.randrange(width), "beat": rng.randrange(500)}
            keystream.append({"data": as_int(k), "mask": mask, **place})
            want_blocks.append(layouts.hash_beat(config).const({"blocks": as_int(c), **rest}).as_bits())
        # What stands beside an end is nobody's.
        plain.append({"end": 1, "blocks": rng.getrandbits(100), "tag": rng.getrandbits(100), "odd": 1})
        keystream.append({"end": 1})
    want_aligned = [layouts.aligned_beat(config).const(item).as_bits() for item in keystream]

    dut = Encrypt(config)
    blocks, aligned, delta = run_streams(
        dut,
        [(dut.i, plain), (dut.keystream, keystream)],
        [(dut.o, len(want_blocks)), (dut.aligned, len(want_aligned)), (dut.delta, len(want_delta))],
        idle=stalls,
        backpressure=stalls,
        seed=width,
        extra_cycles=20,
    )
    assert blocks == want_blocks
    assert aligned == want_aligned
    assert delta == want_delta


def test_model_is_the_difference_between_frames():
    """A frame's sum changes by delta and the tag's words, wherever the record stands."""
    rng = random.Random(1)
    for _ in range(200):
        before = rng.randbytes(rng.randrange(40))
        plain, keystream, tag = rng.randbytes(rng.randrange(1, 17)), rng.randbytes(16), rng.randbytes(16)
        old = before + plain + rng.randbytes(16)
        place = len(before) + len(plain)
        pad = bytes(16 - len(plain))
        beats = [
            (plain + pad, keystream[: len(plain)] + pad, bytes(16), len(before) % 2 == 1),
            (bytes(16), bytes(16), old[place:], place % 2 == 1),
        ]
        (cipher, _), delta = Encrypt.model(beats)
        new = before + cipher[: len(plain)] + tag
        parts = [(old, False), (delta.to_bytes(2, "big"), False), (tag, place % 2 == 1)]
        assert WordSum.model(parts) % 0xFFFF == WordSum.model([(new, False)]) % 0xFFFF


@pytest.mark.parametrize("width", [16, 64])
def test_a_beat_a_cycle_and_the_delay(width):
    config = Config(width=width, connections=8)
    dut = Encrypt(config)
    count = 50
    plain = [{"blocks": 1}] * count + [{"end": 1}]
    taken, shown = [], []

    async def watch(ctx):
        cycle = 0
        async for _, _, go, end, valid in ctx.tick().sample(dut.i.ready & dut.i.valid, dut.i.p.end, dut.delta.valid):
            if go:
                taken.append(cycle)
            if go and end:
                taken.append(cycle)
            if valid:
                shown.append(cycle)
            cycle += 1

    keystream = [{}] * count + [{"end": 1}]
    run_streams(
        dut,
        [(dut.i, plain), (dut.keystream, keystream)],
        [(dut.o, count), (dut.aligned, count + 1), (dut.delta, 1)],
        processes=[watch],
    )
    assert taken[-1] - taken[0] == count
    assert shown[0] - taken[-1] == dut.delay


@pytest.mark.parametrize("stalled", ["o", "aligned", "delta"])
def test_an_output_that_stalls_holds_up_only_what_it_must(stalled):
    """With one output closed the others still give what went in before its queue was full."""
    dut = Encrypt(Config(width=16, connections=8))
    frames = 60
    streams = {"o": dut.o, "aligned": dut.aligned, "delta": dut.delta}
    counts = dict.fromkeys(streams, 0)
    before = {}

    async def count(ctx):
        async for values in ctx.tick().sample(*(s.valid & s.ready for s in streams.values())):
            for name, transfer in zip(streams, values[2:], strict=True):
                counts[name] += transfer

    async def open_late(ctx):
        await ctx.tick().repeat(300)
        before.update(counts)
        ctx.set(streams[stalled].ready, 1)

    total = {"o": frames, "aligned": 2 * frames, "delta": frames}
    run_streams(
        dut,
        [
            (dut.i, [{"blocks": 5}, {"end": 1}] * frames),
            (dut.keystream, [{"data": 3, "mask": 1}, {"end": 1}] * frames),
        ],
        [(s, total[name]) for name, s in streams.items() if name != stalled],
        processes=[count, open_late],
        extra_cycles=20,
    )
    queued = {"o": DEPTH, "aligned": DEPTH // 2, "delta": DELTA_DEPTH}[stalled]  # in frames
    assert before.pop(stalled) == 0
    assert all(queued - 1 <= n <= 2 * queued + 2 for n in before.values()), before
    assert counts == total


@pytest.mark.parametrize("count", [1, 4, 5, 64])
def test_word_sum(count):
    rng = random.Random(count)
    dut = WordSum(count)
    frames = []
    for number in range(40):
        value = {0: lambda: bytes(2 * count), 1: lambda: b"\xff" * (2 * count)}.get(
            number % 4, lambda: rng.randbytes(2 * count)
        )
        frames.append([(value(), rng.random() < 0.5) for _ in range(rng.choice([1, 2, 7]))])
    got, ends = [], []

    async def run(ctx):
        for frame in frames:
            for k, (piece, odd) in enumerate(frame):
                if rng.random() < 0.2:
                    ctx.set(dut.valid, 0)
                    await ctx.tick()
                ctx.set(dut.words, as_int(piece))
                ctx.set(dut.odd, odd)
                ctx.set(dut.end, k == len(frame) - 1)
                ctx.set(dut.valid, 1)
                await ctx.tick()
        ctx.set(dut.valid, 0)
        await ctx.tick().repeat(dut.delay + 2)

    async def watch(ctx):
        cycle = 0
        async for _, _, ending, valid, value in ctx.tick().sample(dut.valid & dut.end, dut.o_valid, dut.o):
            if ending:
                ends.append(cycle)
            if valid:
                got.append((cycle, value))
            cycle += 1

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(run)
    sim.add_testbench(watch, background=True)
    sim.run()
    assert got == [(end + dut.delay, WordSum.model(frame)) for end, frame in zip(ends, frames, strict=True)]
