"""hw.ingress: all outputs together, under a consumer that behaves like the rooms behind it."""

import random

import pytest
from amaranth.lib import data
from amaranth.sim import Simulator

from hw.checksum import ChecksumUnit
from hw.config import Config
from hw.ingress import Ingress
from hw.layouts import MAX_PACKETS, headers
from hw.parse import Parse
from tests.hw.frames import ipv4, random_frame, tcp, to_beats, udp
from tests.hw.testbench import run_streams


class Consumer:
    """Takes headers and checksums; lets a frame's beats go only when it has both. Order of waiting is a choice."""

    def __init__(self, dut, rng, wait="both", pause=0.0):
        self.dut, self.rng, self.wait, self.pause = dut, rng, wait, pause
        self.headers, self.checksums, self.frames = [], [], []

    def processes(self):
        return [
            self.item(self.dut.headers, self.headers, self.checksums if self.wait == "checksum" else None),
            self.item(self.dut.checksum, self.checksums, self.headers if self.wait == "headers" else None),
            self.beats,
        ]

    def item(self, stream, store, other):
        """`other`: the store that must be ahead before an item is taken."""

        async def run(ctx):
            while True:
                ready = self.rng.random() >= self.pause and (other is None or len(other) > len(store))
                ctx.set(stream.ready, ready)
                _, _, valid, payload = await ctx.tick().sample(stream.valid, stream.p)
                if valid and ready:
                    store.append(payload)

        return run

    async def beats(self, ctx):
        part = b""
        while True:
            free = min(len(self.headers), len(self.checksums)) > len(self.frames)
            ready = free and self.rng.random() >= self.pause
            ctx.set(self.dut.o.ready, ready)
            _, _, valid, beat = await ctx.tick().sample(self.dut.o.valid, self.dut.o.p)
            if valid and ready:
                part += beat.data.to_bytes(64, "little")[: beat.keep.bit_count()]
                if beat.last:
                    self.frames.append(part)
                    part = b""


def run(frames, width, *, wait="both", pause=0.0, idle=0.0, seed=0, cycles=20_000, sbox="rom"):
    config = Config(width=width, sbox=sbox)
    dut = Ingress(config)
    consumer = Consumer(dut, random.Random(seed), wait, pause)

    async def until_done(ctx):
        for _ in range(cycles):
            if len(consumer.frames) == len(frames):
                return
            await ctx.tick()
        raise AssertionError(f"{len(consumer.frames)} of {len(frames)} frames after {cycles} cycles (seed={seed})")

    rng = random.Random(f"{seed}/i")

    async def feed(ctx):
        for frame in frames:
            for beat in to_beats(frame, width):
                while rng.random() < idle:
                    await ctx.tick()
                ctx.set(dut.i.p, beat)
                ctx.set(dut.i.valid, 1)
                ready = False
                while not ready:
                    _, _, ready = await ctx.tick().sample(dut.i.ready)
                ctx.set(dut.i.valid, 0)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    for process in (feed, *consumer.processes()):
        sim.add_testbench(process, background=True)
    sim.add_testbench(until_done)
    sim.run()

    assert consumer.frames == frames
    assert consumer.checksums == [ChecksumUnit.model(f, Parse.model(f)) for f in frames]
    base = 0
    for number, (header, frame) in enumerate(zip(consumer.headers, frames, strict=True)):
        model = Parse.model(frame)
        assert (header.base, header.packet) == (base % (1 << config.pointer_bits), number % 64)
        assert header.parsed == (model is not None)
        if model:
            assert (header.seq, header.payload_length) == (model["seq"], model["payload_length"])
        base += -(-len(frame) // width)


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("count", [100, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "width,wait,pause,idle",
    [
        (16, "both", 0, 0),
        (32, "checksum", 0.3, 0),
        (64, "headers", 0.5, 0.2),
        (64, "checksum", 0.8, 0),
    ],
)
def test_random(width, wait, pause, idle, count):
    rng = random.Random(f"{width}{wait}")
    run([random_frame(rng, 200) for _ in range(count)], width, wait=wait, pause=pause, idle=idle)


@pytest.mark.default_cases(1)
@pytest.mark.parametrize("width", [16, 64])
def test_longer_than_the_buffer(width):
    """Headers and checksum come while the frame arrives, so it can leave before all of it is there."""
    size = Config(width=width).buffer_beats * width
    rng = random.Random(3)
    small = ipv4(tcp(0, b"abc"))
    udp_frame = udp(rng.randbytes(9000))
    frames = [
        small,
        udp_frame + rng.randbytes(size),
        ipv4(tcp(0, rng.randbytes(9000))) + rng.randbytes(size),
        small,
    ]
    run(frames, width, idle=0.02)


@pytest.mark.parametrize(("width", "sbox"), [(16, "rom"), (64, "rom"), (16, "bram")])
def test_packet_limit(width, sbox):
    """31 small frames are taken, late 30, no matter what is not taken behind; one more for each that leaves."""
    config = Config(width=width, sbox=sbox)
    dut = Ingress(config)
    frame = ipv4(tcp(0, b"abc")) + bytes(3)
    beats = to_beats(frame, width)
    taken = {}

    async def bench(ctx):
        async def count(cycles):
            number = 0
            for _ in range(cycles):
                _, _, valid, ready, last = await ctx.tick().sample(dut.i.valid, dut.i.ready, dut.i.p.last)
                if valid and ready:
                    number += last
                    self_at[0] = (self_at[0] + 1) % len(beats)
                    ctx.set(dut.i.p, beats[self_at[0]])
            return number

        self_at = [0]
        ctx.set(dut.i.p, beats[0])
        ctx.set(dut.i.valid, 1)
        taken["first"] = await count(31 * len(beats) + 60)
        for stream in (dut.headers, dut.checksum):
            ctx.set(stream.ready, 1)
        taken["items"] = await count(60)
        ctx.set(dut.o.ready, 1)
        taken["one"] = await count(len(beats))
        ctx.set(dut.o.ready, 0)
        taken["one"] += await count(30)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
    assert taken == {"first": MAX_PACKETS - config.late, "items": 0, "one": 1}


@pytest.mark.default_cases(3)
@pytest.mark.parametrize(("width", "sbox"), [(16, "rom"), (32, "rom"), (64, "rom"), (16, "bram"), (32, "bram")])
def test_full_rate(width, sbox):
    """`i.ready` stays up over small frames and large ones when what comes is taken."""
    rng = random.Random(8)
    frames = [ipv4(tcp(0, rng.randbytes(6))) for _ in range(60)]
    frames += [ipv4(tcp(3, rng.randbytes(rng.randint(1, 1400)))) for _ in range(10)]
    beats = [b for f in frames for b in to_beats(f, width)]
    dut = Ingress(Config(width=width, sbox=sbox))
    stalls = []

    async def watch(ctx):
        while True:
            _, _, valid, ready = await ctx.tick().sample(dut.i.valid, dut.i.ready)
            stalls.append(valid and not ready)

    got, items, checksums = run_streams(
        dut, [(dut.i, beats)], [(dut.o, len(beats)), (dut.headers, 70), (dut.checksum, 70)], processes=[watch]
    )
    assert sum(stalls) == 0 and set(checksums) == {1}
    layout = data.Layout.cast(headers(Config(width=width)))
    assert [layout.from_bits(i).payload_length for i in items] == [Parse.model(f)["payload_length"] for f in frames]
