"""hw.dealign and hw.release: keystream back in the frame's grid, and the gate."""

import random

import pytest
from amaranth.lib import data

from hw import layouts
from hw.config import Config
from hw.plan import Plan
from hw.release import Release
from model.contract import Status
from tests.hw.testbench import run_streams


def frame_beats(frame: bytes, width: int):
    for at in range(0, len(frame), width):
        part = frame[at : at + width]
        yield {
            "data": int.from_bytes(part, "little"),
            "keep": (1 << len(part)) - 1,
            "last": int(at + width >= len(frame)),
        }


def aligned(keystream: bytes, covered: list[tuple[int, int, int, int]], config: Config):
    """Aligned beats of fragments (body_length, ext_first, count, position), from `keystream` in the frame's grid."""
    width = config.width
    for body, first, count, position in covered:
        plan = Plan.model(config.lanes, body, first, count, position)
        for number in range(plan["beats"]):
            start = plan["start"] + number * width
            part = bytearray(width)
            mask = 0
            for j in range(width):
                if position <= start + j < position + min(count, body + 16 - first):
                    part[j] = keystream[start + j]
                    mask |= 1 << j
            yield {
                "rotate": start % width,
                "beat": (start // width) % (1 << config.pointer_bits),
                "data": int.from_bytes(part, "little"),
                "mask": mask,
            }
    yield {"end": 1}


@pytest.mark.default_cases(5)
@pytest.mark.parametrize("sbox", ["rom", "bram"])
@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("stalls", [0.0, 0.3])
def test_frames_leave_raw_or_decrypted(width, stalls, sbox):
    rng = random.Random(f"{width}/{stalls}")
    config = Config(width=width, connections=8, sbox=sbox)
    beats, keys, orders, want = [], [], [], []
    for number in range(40):
        size = rng.choice([60, 118, 300, 1514])
        frame = rng.randbytes(size)
        keystream = bytearray(size + 2 * width)
        covered, position = [], rng.randrange(54, 90)
        while position < size and number % 5:
            body = rng.choice([1, 16, 40, 64, 700])
            first = 16 if covered or rng.random() < 0.5 else rng.randrange(16, body + 32)
            # a frame cut short has fragments beyond its end: the keystream for them goes nowhere
            count = min(body + 32 - first, (size + width if number % 7 == 0 else size) - position)
            covered.append((body, first, count, position))
            inside = max(0, min(count, body + 16 - first))
            keystream[position : position + inside] = rng.randbytes(inside)
            position += count + rng.choice([5, 13, 70])
        status = rng.choice([Status.DECRYPTED, Status.GAP, Status.AUTH_FAILED])
        beats += frame_beats(frame, width)
        keys += aligned(bytes(keystream) + bytes(100), covered, config)
        orders.append({"descriptor": {"status": status, "handle": number}})
        if status == Status.DECRYPTED:
            frame = bytes(a ^ b for a, b in zip(frame, keystream, strict=False))
        want.append((status, number, frame))

    dut = Release(config)
    counted = []

    async def count(ctx):
        while True:
            _, _, left, order = await ctx.tick().sample(dut.left, dut.counted)
            if left:
                counted.append((Status(order.descriptor.status), order.descriptor.handle))

    (out,) = run_streams(
        dut,
        [(dut.i, beats), (dut.keystream, keys), (dut.orders, orders)],
        [(dut.o, len(beats))],
        idle=stalls,
        backpressure=stalls,
        seed=width,
        extra_cycles=20,
        processes=[count],
    )
    got, frame = [], b""
    for bits in out:
        beat = data.Const(layouts.output_beat(config), bits)
        frame += beat.data.to_bytes(width, "little")[: beat.keep.bit_count()]
        if beat.last:
            got.append((Status(beat.descriptor.status), beat.descriptor.handle, frame))
            frame = b""
    assert [g[:2] for g in got] == [w[:2] for w in want] == counted
    for g, w in zip(got, want, strict=True):
        assert g[2] == w[2]
