"""hw.checksum: what scapy builds is GOOD, any flipped bit under a checksum is BAD; then the model as judge."""

import random
import struct

import pytest
from amaranth.sim import Simulator
from scapy.layers.inet6 import IPv6, IPv6ExtHdrRouting

from hw.checksum import ChecksumUnit
from hw.config import Config
from hw.parse import Parse
from model.contract import Checksum
from tests.hw.frames import arp, ipv4, ipv6, random_frame, tcp, to_beats, udp, vlan
from tests.hw.testbench import run_streams

GOOD, BAD, NONE = Checksum.GOOD, Checksum.BAD, Checksum.NONE
WIDTHS = (16, 32, 64)


def plan_of(frame, fold=False):
    """The frame's plan as the parser gives it, the pseudo header's sum folded once or, where it fits, not."""
    model = Parse.model(frame)
    if model is None:
        return {"parsed": 0, "l3_offset": 14, "l4_offset": 99, "end_offset": 5000, "pseudo": 12345}
    pseudo = model["pseudo"]
    if fold or pseudo >> 20:
        pseudo = (pseudo & 0xFFFF) + (pseudo >> 16)
    names = ("ipv6", "l3_offset", "l4_offset", "end_offset")
    return {"parsed": 1, "pseudo": pseudo} | {name: model[name] for name in names}


def judge(cases, width, plans_wait=0.0, seed=0, sbox="rom", **options):
    """`cases` holds (frame, result) pairs, or frames alone for the model to judge."""
    cases = [c if isinstance(c, tuple) else (c, ChecksumUnit.model(c, Parse.model(c))) for c in cases]
    frames = [frame for frame, _ in cases]
    dut = ChecksumUnit(Config(width=width, sbox=sbox))
    rng = random.Random(seed)

    async def plans(ctx):
        for number, frame in enumerate(frames):
            while rng.random() < plans_wait:
                await ctx.tick()
            ctx.set(dut.plan.p, plan_of(frame, number % 2))
            ctx.set(dut.plan.valid, 1)
            await ctx.tick().until(dut.plan.ready)
            ctx.set(dut.plan.valid, 0)

    beats = [b for frame in frames for b in to_beats(frame, width)]
    (got,) = run_streams(
        dut, [(dut.i, beats)], [(dut.o, len(frames))], processes=[plans], extra_cycles=30, seed=seed, **options
    )
    assert len(got) == len(frames)
    for number, (value, (frame, wanted)) in enumerate(zip(got, cases, strict=True)):
        assert Checksum(value) == wanted, f"frame {number} of {len(frame)} bytes: {frame[:200].hex()}"


def flip(frame, bit):
    value = bytearray(frame)
    value[bit // 8] ^= 1 << bit % 8
    return bytes(value)


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("width", WIDTHS)
def test_lengths(width):
    """Every payload length over more than two steps: whole, a byte short, padded, the last byte flipped."""
    rng = random.Random(1)
    cases = []
    for size in range(2 * width + 20):
        frame = ipv4(tcp(size % 11, rng.randbytes(size)), size % 5) if size % 2 else ipv6(tcp(0, rng.randbytes(size)))
        plan = Parse.model(frame)
        cases += [(frame, GOOD), (frame + rng.randbytes(1 + size % 90), GOOD)]
        if size:
            short = frame[:-1]
            cases += [(short, BAD), (flip(frame, 8 * plan["end_offset"] - 1 - size % 8), BAD)]
    random.Random(width).shuffle(cases)
    judge(cases, width)


@pytest.mark.parametrize("width", WIDTHS)
def test_every_byte(width):
    """A bit flipped in each byte: BAD under a checksum, GOOD outside of them."""
    rng = random.Random(2)
    cases = []
    for frame in (
        ipv4(tcp(3, rng.randbytes(31)), 2, (0x8100,)),
        ipv6(tcp(0, rng.randbytes(40)), [(0, 0), (43, 2)]),
        ipv4(tcp(0, rng.randbytes(9))) + bytes(13),
    ):
        plan = Parse.model(frame)
        l3, l4, end = plan["l3_offset"], plan["l4_offset"], plan["end_offset"]
        for at in range(len(frame)):
            broken = flip(frame, 8 * at + rng.randrange(8))
            if Parse.model(broken) is None:
                expected = NONE
            elif at < l3 or at >= end:
                expected = GOOD
            elif plan["ipv6"] and (at < l3 + 8 or l3 + 40 <= at < l4):
                continue  # under no checksum, but may move what is: the model judges these in test_random
            else:
                expected = BAD
            cases.append((broken, expected))
    judge(cases, width)


def test_cut_everywhere():
    frame = ipv4(tcp(0, bytes(range(60))))
    cases = [(frame[:size], NONE if size < 54 else BAD) for size in range(1, len(frame))]
    judge([*cases, (frame, GOOD)], 16)


@pytest.mark.parametrize("width", WIDTHS)
def test_values(width):
    """Fields wrong by what ones' complement may hide, wrong fields one by one, extremes."""
    frame = ipv4(tcp(0, b"hello, world"))
    l3_sum, l4_sum = frame[24:26], frame[50:52]

    def put(at, value):
        return frame[:at] + value + frame[at + len(value) :]

    def inverse(value):
        return struct.pack("!H", ~struct.unpack("!H", value)[0] & 0xFFFF)

    ones = ipv6(tcp(0, b"\xff" * 200), src=":".join(["ffff"] * 8), dst=":".join(["ffff"] * 8))
    full = ipv4(tcp(0, random.Random(3).randbytes(9216 - 54)))
    cases = [
        (frame, GOOD),
        *((put(24, value), BAD) for value in (b"\0\0", b"\xff\xff", inverse(l3_sum), l4_sum)),
        *((put(50, value), BAD) for value in (b"\0\0", b"\xff\xff", inverse(l4_sum), l3_sum)),
        (put(24, frame[24:26][::-1]), BAD),
        (put(28, frame[30:32] + frame[28:30]), GOOD),  # words changed places: no checksum sees it
        (ones, GOOD),
        (flip(ones, 8 * 100), BAD),
        (full, GOOD),
        (flip(full, 8 * 9215), BAD),
        (full + bytes(3 * width + 1), GOOD),
        (full[:-1], BAD),
        (arp(), NONE),
        (udp(b"abc"), NONE),
        (frame, GOOD),
    ]
    # A segment that sums up to 0 without its checksum: the field is right both as 0 and as 0xFFFF.
    zero = ipv4(tcp(0, bytes(2), chksum=0))
    total = sum(struct.unpack("!11H", zero[34:])) + Parse.model(zero)["pseudo"]
    payload = struct.pack("!H", -total % 0xFFFF)
    cases += [(ipv4(tcp(0, payload, chksum=value)), GOOD) for value in (0, 0xFFFF)]
    # Only the IPv6 header's addresses count, also where a routing header names the last one.
    routed = vlan(()) / IPv6(src="2001:db8::1", dst="2001:db8::2") / IPv6ExtHdrRouting(addresses=["2001:db8::3"])
    cases.append((bytes(routed / tcp(0, b"x")), BAD))
    judge(cases, width)


@pytest.mark.default_cases(4)
@pytest.mark.parametrize("count", [100, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "width,idle,backpressure,plans_wait",
    [(16, 0, 0, 0.9), (16, 0.5, 0, 0), (32, 0.2, 0.8, 0.2), (64, 0, 0.95, 0.5), (64, 0.6, 0, 0.5)],
)
@pytest.mark.parametrize("sbox", ["rom", "bram"])
def test_random(width, idle, backpressure, plans_wait, count, sbox):
    rng = random.Random(width + 7)
    frames = [random_frame(rng) for _ in range(count)]
    judge(frames, width, plans_wait, sbox=sbox, idle=idle, backpressure=backpressure)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("late", "sbox"), [(0, "rom"), (18, "rom"), (0, "bram"), (22, "bram")])
def test_latency_and_rate(width, late, sbox):
    """`i.ready` stays up although each plan comes `late`; a long frame's result is `delay` cycles behind its end."""
    frame = ipv4(tcp(0, bytes(61 * width + 5)))
    short = ipv4(tcp(0, b"123456"))
    beats = to_beats(frame, width) + 40 * to_beats(short, width)
    plans = [plan_of(frame)] + 40 * [plan_of(short)]
    starts = [0] + [len(to_beats(frame, width)) + k * len(to_beats(short, width)) for k in range(40)]
    dut = ChecksumUnit(Config(width=width, sbox=sbox))
    seen = []

    async def feed(ctx):
        ctx.set(dut.o.ready, 1)
        number = 0
        for cycle in range(len(beats) + 60):
            ctx.set(dut.i.valid, cycle < len(beats))
            if cycle < len(beats):
                ctx.set(dut.i.p, beats[cycle])
            there = number < len(plans) and cycle >= starts[number] + late
            ctx.set(dut.plan.valid, there)
            if there:
                ctx.set(dut.plan.p, plans[number])
            _, _, ready, plan_ready, valid, value = await ctx.tick().sample(
                dut.i.ready, dut.plan.ready, dut.o.valid, dut.o.p
            )
            assert ready
            number += there and plan_ready
            if valid:
                seen.append((cycle, Checksum(value)))

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(feed)
    sim.run()
    assert [value for _, value in seen] == [GOOD] * 41
    # With a beat a cycle it is as late as the plan, which has a queue to pass.
    assert seen[0][0] == starts[1] - 1 + dut.delay + (late if sbox == "bram" else 0)
