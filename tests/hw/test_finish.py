"""hw.finish, hw.overlay and hw.dealign with tags: what leaves of a frame, and that nothing leaves before its order."""

import random

import pytest
from amaranth.lib import data

from hw import layouts, tx_layouts
from hw.config import Config
from hw.finish import Finish
from hw.overlay import Overlay
from model.contract import MAX_FRAME, TxStatus
from tests.hw.test_release import frame_beats
from tests.hw.testbench import run_streams

STATUSES = {"sealed": TxStatus.ENCRYPTED, "passed": TxStatus.PASSED, "dropped": TxStatus.DROPPED_TAG}


def item(config, start, part, mask):
    """An aligned beat whose byte 0 is at `start` in the frame."""
    return {
        "rotate": start % config.width,
        "beat": (start // config.width) % (1 << config.pointer_bits),
        "data": int.from_bytes(part, "little"),
        "mask": mask,
    }


class Frames:
    """Frames with records in them, as aligned beats, tags and orders, and what `Finish.model` lets leave of them."""

    def __init__(self, seed, config):
        self.rng = random.Random(seed)
        self.config = config
        self.beats, self.keys, self.patches, self.orders = [], [], [], []
        self.want, self.completions = [], []

    def frame(self, size, kind, *, records=True, beyond=0):
        """`beyond`: so many bytes behind the frame's end have keystream and tags too, as of a frame cut short."""
        rng, width = self.rng, self.config.width
        frame = rng.randbytes(size)
        covers, patches = [], []
        position = rng.choice([0, 3, rng.randrange(54, 90)]) if records else size + beyond
        while position < size + beyond:
            # The first byte of a record's grid may stand before the record, even before the frame.
            body = min(rng.choice([0, 1, 15, 16, 40, 700]), size + beyond - position)
            start = position - rng.randrange(width)
            for at in range(start, position + body, width):
                part = bytearray(rng.randbytes(width))
                mask = 0
                for k in range(width):
                    if position <= at + k < position + body:
                        mask |= 1 << k
                    else:
                        part[k] = 0
                covers.append((at, bytes(part), mask))
            position += body
            if position < size + beyond and rng.random() < 0.8:
                first = rng.choice([0, 0, rng.randrange(16)])
                end = min(rng.choice([16, 16, rng.randrange(first + 1, 17)]), size + beyond - position + first)
                tag = bytearray(rng.randbytes(16))  # zero bytes in a tag are bytes too
                tag[first] = 0
                mask = (1 << end) - (1 << first)
                tag = bytes(byte if mask >> k & 1 else 0 for k, byte in enumerate(tag))
                patches.append((position - first, tag, mask))
                position += end - first
            position += rng.choice([1, 5, 13, 3 * width])
        self.keys += [item(self.config, *cover) for cover in covers] + [{"end": 1}]
        self.patches += [item(self.config, *patch) for patch in patches] + [{"end": 1}]

        order = {"status": STATUSES[kind], "handle": rng.getrandbits(24), "checksum": rng.getrandbits(16)}
        order |= {"send": int(kind != "dropped"), "seal": int(kind == "sealed"), "payload_length": len(self.orders)}
        order["offset"] = self.checksum_place(covers, patches, size)
        self.orders.append(order)
        self.beats += frame_beats(frame, width)
        keystream, _ = Overlay.model(covers, size)
        tags, tagged = Overlay.model(patches, size)
        out = Finish.model(frame, order, keystream, {k: tags[k] for k in range(size) if tagged[k]})
        if out is not None:
            self.want.append(out)
        self.completions.append((order["status"], order["handle"]))

    def checksum_place(self, covers, patches, size):
        """Two bytes at an even place without tag bytes."""
        tagged = Overlay.model(patches, size)[1]
        free = [k for k in range(0, size - 1, 2) if not tagged[k] and not tagged[k + 1]]
        return self.rng.choice(free)

    def late_orders(self, dut, cycles):
        async def run(ctx):
            await ctx.tick().repeat(cycles)
            for order in self.orders:
                ctx.set(dut.orders.payload, order)
                ctx.set(dut.orders.valid, 1)
                await ctx.tick().until(dut.orders.ready)
            ctx.set(dut.orders.valid, 0)

        return run

    def run(self, **options):
        dut = options.pop("dut", None) or Finish(self.config)
        inputs = [(dut.i, self.beats), (dut.keystream, self.keys), (dut.patches, self.patches)]
        orders_after = options.pop("orders_after", 0)
        if orders_after:
            options["processes"] = [*options["processes"], self.late_orders(dut, orders_after)]
        else:
            inputs.append((dut.orders, self.orders))
        leaving = sum(-(-len(frame) // self.config.width) for frame in self.want)
        out, completions = run_streams(
            dut,
            inputs,
            [(dut.o, leaving), (dut.completions, len(self.completions))],
            extra_cycles=20,
            **options,
        )
        frames, frame = [], b""
        for bits in out:
            beat = data.Const(layouts.beat(self.config), bits)
            frame += beat.data.to_bytes(self.config.width, "little")[: beat.keep.bit_count()]
            if beat.last:
                frames.append(frame)
                frame = b""
        assert len(frames) == len(self.want) and not frame
        for number, (got, want) in enumerate(zip(frames, self.want, strict=True)):
            assert got == want, f"frame {number} of those that leave"
        got = [data.Const(tx_layouts.tx_completion(), bits) for bits in completions]
        assert [(c.status, c.handle) for c in got] == self.completions


@pytest.mark.default_cases(3)
@pytest.mark.parametrize("sbox", ["rom", "bram"])
@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("stalls", [0.0, 0.3])
def test_frames_sealed_passed_and_dropped(width, stalls, sbox):
    frames = Frames(f"{width}/{stalls}", Config(width=width, connections=8, sbox=sbox))
    for number in range(50):
        size = frames.rng.choice([60, 61, 118, 300, 1514])
        kind = frames.rng.choice(["sealed", "sealed", "passed", "dropped"])
        frames.frame(size, kind, records=number % 6 != 0, beyond=number % 5 == 0 and 3 * width)
    frames.run(idle=stalls, backpressure=stalls, seed=width)


@pytest.mark.parametrize("sbox", ["rom", "bram"])
@pytest.mark.parametrize("width", [16, 64])
def test_every_place_of_a_tag(width, sbox):
    """A tag, whole and in every cut, at each place of a beat."""
    config = Config(width=width, connections=8, sbox=sbox)
    frames = Frames(width, config)
    for start in range(width, 2 * width):
        cuts = [(0, 16), (start % 16, 16), (0, 1 + start % 16)]
        for first, end in cuts if width == 16 else [cuts[start % 3]]:
            frame = frames.rng.randbytes(4 * width)
            mask = (1 << end) - (1 << first)
            tag = bytes(frames.rng.randrange(256) if mask >> k & 1 else 0 for k in range(16))
            order = {"status": 1, "send": 1, "seal": 1, "offset": 0, "checksum": 0x1234}
            frames.beats += frame_beats(frame, width)
            frames.keys.append({"end": 1})
            frames.patches += [item(config, start, tag, mask), {"end": 1}]
            frames.orders.append(order)
            frames.want.append(
                Finish.model(frame, order, bytes(4 * width), {start + k: tag[k] for k in range(first, end)})
            )
            frames.completions.append((1, 0))
    frames.run()


@pytest.mark.parametrize("sbox", ["rom", "bram"])
def test_frame_before_the_first_byte_of_a_tag(sbox):
    """The rest of a tag at a frame's very first byte: the patch stands at beat -1, or before the beat's byte 0."""
    config = Config(width=16, connections=8, sbox=sbox)
    frames = Frames(0, config)
    for taken in range(1, 16):
        tag = bytes(taken) + frames.rng.randbytes(16 - taken)
        order = {"status": 1, "send": 1, "seal": 1, "offset": 32, "checksum": 0xABCD}
        frame = bytes(64)
        frames.beats += frame_beats(frame, 16)
        frames.keys.append({"end": 1})
        frames.patches += [item(config, -taken, tag, 0xFFFF & -(1 << taken)), {"end": 1}]
        frames.orders.append(order)
        frames.want.append(Finish.model(frame, order, bytes(64), {k: tag[taken + k] for k in range(16 - taken)}))
        frames.completions.append((1, 0))
    frames.run()


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("sbox", ["rom", "bram"])
@pytest.mark.parametrize("kind", ["sealed", "dropped"])
def test_nothing_leaves_before_the_order(kind, sbox):
    """Keystream and tags of a frame of MAX_FRAME bytes all fit inside before its order comes."""
    frames = Frames(kind, Config(width=64, connections=8, sbox=sbox))
    frames.frame(MAX_FRAME, kind)
    accepted = len(frames.keys), len(frames.patches)
    frames.frame(100, "passed")
    dut = Finish(frames.config)
    late = 2 * max(accepted) + 300
    seen = {"keys": 0, "patches": 0, "cycles": 0}

    async def watch(ctx):
        transfers = (s.valid & s.ready for s in (dut.keystream, dut.patches, dut.i))
        async for _, _, key, patch, *leaving in ctx.tick().sample(*transfers, dut.o.valid, dut.completions.valid):
            if seen["cycles"] < late:
                assert not any(leaving), seen
                seen["cycles"] += 1
                seen["keys"] += key
                seen["patches"] += patch

    frames.run(dut=dut, processes=[watch], orders_after=late)
    assert seen["cycles"] == late
    assert seen["keys"] >= accepted[0] and seen["patches"] >= accepted[1]


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("sbox", ["rom", "bram"])
@pytest.mark.parametrize("kind", ["passed", "dropped", "sealed"])
def test_frame_longer_than_the_beat_count(kind, sbox):
    """Streams through, and nothing goes over beats whose number has the same low bits as one with something."""
    config = Config(width=64, connections=8, sbox=sbox)
    frames = Frames(kind, config)
    frames.frame(60, "passed", records=False)
    rng = frames.rng
    frame = rng.randbytes(64 * ((1 << config.pointer_bits) + 300))
    order = {
        "status": 1,
        "send": int(kind != "dropped"),
        "seal": int(kind == "sealed"),
        "offset": 50,
        "checksum": 0x55AA,
    }
    # The frame's last item stands for a beat: it is kept to the frame's end.
    frames.beats += frame_beats(frame, 64)
    part = rng.randbytes(64)
    frames.keys += [item(config, 640, part, 2**64 - 1), {"end": 1}]
    frames.patches += [item(config, 704, bytes(range(16)), 0xFFFF), {"end": 1}]
    frames.orders.append(order)
    keystream, _ = Overlay.model([(640, part, 2**64 - 1)], len(frame))
    out = Finish.model(frame, order, keystream, {704 + k: k for k in range(16)})
    if out is not None:
        frames.want.append(out)
    frames.completions.append((1, 0))
    frames.frame(1514, "sealed")
    frames.run()


@pytest.mark.parametrize("sbox", ["rom", "bram"])
def test_a_beat_a_cycle(sbox):
    """Frames whose orders and overlays are there leave without a gap, sealed or not."""
    frames = Frames(1, Config(width=16, connections=8, sbox=sbox))
    for kind in ("sealed", "passed", "sealed"):
        frames.frame(512, kind)
    dut = Finish(frames.config)
    cycles = []

    async def watch(ctx):
        cycle = 0
        async for _, _, valid in ctx.tick().sample(dut.o.valid & dut.o.ready):
            cycles.extend([cycle] * valid)
            cycle += 1

    frames.run(dut=dut, processes=[watch], orders_after=300)
    assert cycles == list(range(cycles[0], cycles[0] + 3 * 32))


def test_left_and_counted():
    frames = Frames(3, Config(width=32, connections=8))
    for kind in ("sealed", "dropped", "passed", "sealed", "dropped"):
        frames.frame(frames.rng.choice([60, 300]), kind)
    dut = Finish(frames.config)
    counted = []

    async def watch(ctx):
        async for _, _, left, order in ctx.tick().sample(dut.left, dut.counted):
            if left:
                counted.append((order.status, order.handle, order.payload_length))

    frames.run(dut=dut, processes=[watch], idle=0.2, backpressure=0.4)
    assert counted == [(o["status"], o["handle"], o["payload_length"]) for o in frames.orders]


def test_completions_closed_for_long():
    """Every frame's completion comes, however late somebody takes them."""
    frames = Frames(4, Config(width=64, connections=8))
    for number in range(30):
        frames.frame(60, ("sealed", "dropped", "passed")[number % 3])
    dut = Finish(frames.config)
    got = []

    async def late(ctx):
        await ctx.tick().repeat(200)
        ctx.set(dut.completions.ready, 1)
        async for _, _, valid, payload in ctx.tick().sample(dut.completions.valid, dut.completions.payload):
            if valid:
                got.append((payload.status, payload.handle))

    inputs = [(dut.i, frames.beats), (dut.orders, frames.orders)]
    inputs += [(dut.keystream, frames.keys), (dut.patches, frames.patches)]
    run_streams(dut, inputs, [(dut.o, len(frames.want))], processes=[late], extra_cycles=100)
    assert got == frames.completions
