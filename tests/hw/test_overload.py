"""hw.overload against a model of it, and the published tracker told by it."""

import random
from dataclasses import replace

import pytest
from amaranth.lib import data
from amaranth.sim import Simulator

from hw import layouts
from hw.config import Config
from hw.overload import Overload
from hw.track import Track
from hw.walk import CHEAP
from model.contract import Checksum, RxPolicy, Status
from model.tracker import Connection
from sim.traffic import TLS13, Stream
from tests.hw.test_track import buffer_of
from tests.hw.testbench import run_streams

SHAPES = [Config(width=w, connections=8, sbox=s) for w, s in ((16, "rom"), (64, "rom"), (16, "bram"))]


@pytest.mark.parametrize("shape", SHAPES, ids=["16", "64", "late"])
def test_overload(shape):
    """Around both limits, of frames of any length, while beats come in or nothing does; counters wrap around."""
    config = replace(shape, rx_policy=RxPolicy.PUBLISHED, overload="raw")
    dut = Overload(config)
    rng = random.Random(1)
    limit, near = Overload.limits(config)
    seen = []

    async def run(ctx):
        late, waited, written, packet = False, 0, None, 0
        base = end = ended = taken = 0
        for cycle in range(4000):
            same, before = cycle > 0 and rng.random() < 0.9, written
            if not same:
                packet += rng.choice([1, 2])
                base, end = rng.randrange(1 << 20), rng.randrange(60, 9000)
                ended = packet + rng.choice([0, 1, 2, 3, 30])
                taken = base - rng.choice([0, 1, near - 1, near, 2 * near])
                waits = rng.random() < 0.5
                written = base + -(-end // config.width) + rng.choice([-60, -1, 0, limit - 5, limit - 1, limit])
            elif not waits:
                written += rng.randrange(2)
            values = {"written": written, "taken": taken, "ended": ended}
            for name, value in values.items():
                ctx.set(getattr(dut, name), value % (1 << len(getattr(dut, name))))
            offset = rng.randrange(54, 60)
            frame = {"base": base, "packet": packet, "payload_offset": offset, "payload_length": end - offset}
            for name, value in frame.items():
                ctx.set(getattr(dut.frame, name), value % (1 << len(getattr(dut.frame, name))))
            assert ctx.get(dut.overload) == (late and same), f"cycle {cycle}"
            await ctx.tick()
            behind = written - base - -(-end // config.width)
            late = behind + waited >= limit and base - taken < near
            if not same:
                waited = 0
            elif ended - packet >= 2 and written == before:
                waited = min(waited + 1, limit)
            seen.append(late)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(run)
    simulator.run()
    assert 300 < sum(seen) < 3700


@pytest.mark.default_cases(6)
@pytest.mark.parametrize("shape", SHAPES, ids=["16", "64", "late"])
@pytest.mark.parametrize("share,lossy", [(1.0, False), (1.0, True), (0.15, False), (0.03, False)])
def test_published_tracker(shape, share, lossy):
    """`share` of cycles in which the frame at hand is late. Its fragments end where it was given up. `lossy`: the first
    tiny records stand behind one that is given up."""
    config, width = replace(shape, rx_policy=RxPolicy.PUBLISHED, overload="raw"), shape.width
    rng = random.Random(f"{width}/{share}/4")
    first = [3000] if lossy else []
    stream = Stream(TLS13, seed=width, start_seq=2**32 - 3000)
    wire = stream.bulk(first + [rng.choice([0, 16, 60, 300]) for _ in range(300)] + [3000] * 3 + [16, 60] * 40)
    behind = len(stream.records[0].wire)
    cuts = sorted(rng.sample(range(behind + 1000, len(wire)), len(wire) // 400))
    segments = stream.segments(wire, [1000, behind, *cuts] if lossy else cuts)
    if lossy:
        del segments[1]
    requests, base = [], 0
    for number, (seq, payload) in enumerate(segments):
        requests.append({
            "base": base % (1 << config.pointer_bits), "packet": number % 64, "matched": 1, "handle": 3, "seq": seq,
            "payload_offset": 54, "payload_length": len(payload),
        })  # fmt: skip
        base += -(-(54 + len(payload)) // width)
    dut = Track(config)

    async def load(ctx):
        while True:
            ctx.set(dut.overload, rng.random() < share)
            await ctx.tick()

    init = {"kind": layouts.TrackerOperation.INIT, "index": 3, "tls13": 1, "seq": stream.start_seq}
    items: list[int] = []

    async def watch(ctx):
        ends = 0
        while ends < len(requests):
            _, _, valid, ready, item = await ctx.tick().sample(dut.o.valid, dut.o.ready, dut.o.payload)
            if valid and ready:
                items.append(item.as_bits())
                ends += item.end
        ctx.set(dut.operations.payload, {"kind": layouts.TrackerOperation.QUERY, "index": 3})
        ctx.set(dut.operations.valid, 1)

    answers, _ = run_streams(
        dut,
        [(dut.operations, [init]), (dut.i, requests), (dut.checksum, [Checksum.GOOD] * len(requests))],
        [(dut.answers, 2), (dut.o, len(requests))],
        idle=0.2,
        backpressure=0.2,
        seed=width,
        processes=[buffer_of(dut, [payload for _, payload in segments], requests, width), load, watch],
    )
    golden = Connection(stream.add())
    frames, fragments = [], []
    for bits in items:
        item = data.Const(layouts.work(config), bits)
        if item.end:
            frames.append((item.descriptor, fragments))
            fragments = []
        else:
            fragments.append(item)
    given_up = []
    for n, ((seq, payload), (descriptor, walked)) in enumerate(zip(segments, frames, strict=True)):
        status = Status(descriptor.status)
        place = descriptor.request_seq if status is Status.OVERLOAD else None
        taken = golden.take_in(seq, payload, place)
        assert (taken.status, taken.given_up_at) == (status, place), n
        if place is not None and walked:
            assert len(walked) >= CHEAP and walked[-1].completes, n
            assert walked[-1].position + walked[-1].count == 54 + (place - seq) % 2**32, n
        if place is not None:
            given_up.append(len(walked))
    state, expected = data.Const(layouts.tracker_answer(), answers[1]).state, golden.state()
    assert {name: getattr(state, name) for name in expected.__slots__} == {
        name: int(getattr(expected, name)) for name in expected.__slots__
    }
    assert any(given_up) and not (share > 0.1 and all(given_up))
    assert not lossy or Status.DECRYPTED in [d.status for d, _ in frames]
