"""hw.parse, hw.parse_stream: frames by scapy, known from how they were built; then the model as judge."""

import itertools
import random
import struct

import pytest
from amaranth.lib import data
from amaranth.sim import Simulator

from hw.config import Config
from hw.layouts import checksum_plan, headers
from hw.parse import Parse
from hw.parse_stream import StreamParse
from tests.hw.frames import arp, extension, ipv4, ipv6, random_frame, tcp, to_beats, udp
from tests.hw.testbench import run_streams

WIDTHS = (16, 32, 64)
PARSERS = (Parse, StreamParse)


def judge(parser, frames, width, expected=None, **options):
    """Run `frames` through the parser and compare with `expected` (dicts, or None for not parsed) or the model."""
    config = Config(width=width)
    dut = parser(config)
    beats = [b for frame in frames for b in to_beats(frame, width)]
    got, plans = run_streams(dut, [(dut.i, beats)], [(dut.o, len(frames)), (dut.plan, len(frames))], **options)
    base = 0
    for number, (frame, header_bits, plan_bits) in enumerate(zip(frames, got, plans, strict=True)):
        header = data.Layout.cast(headers(config)).from_bits(header_bits)
        plan = data.Layout.cast(checksum_plan(config)).from_bits(plan_bits)
        note = f"frame {number} of {len(frame)} bytes: {frame[:130].hex()}"
        assert (header.base, header.packet) == (base % (1 << config.pointer_bits), number % 64), note
        base += -(-len(frame) // width)
        model = Parse.model(frame)
        wanted = model if expected is None else expected[number]
        assert header.parsed == plan.parsed == (wanted is not None) == (model is not None), note
        if wanted is None:
            assert header.candidate == 0, note
            continue
        have = {}
        for name in model:
            value = getattr(header if name in headers(config).members else plan, name)
            have[name] = value.to_bytes(16, "little") if name.endswith("address") else value
        assert plan.ipv6 == header.ipv6
        assert have["pseudo"] < 1 << 17 and have["pseudo"] % 0xFFFF == model["pseudo"] % 0xFFFF, note
        assert {k: v for k, v in have.items() if k != "pseudo"} == {
            k: v for k, v in (model | wanted).items() if k != "pseudo"
        }, note


def fields(l4, options, payload, end=None, **more):
    start = l4 + 20 + 4 * options
    return {
        "l4_offset": l4,
        "payload_offset": start,
        "payload_length": len(payload),
        "end_offset": start + len(payload),
        "candidate": int(len(payload) > 0),
    } | more  # fmt: skip


def built_frames():
    """(frame, fields or None): every length of every header, every kind of thing that is not parsed."""
    rng = random.Random(9)
    cases = []
    tags = [(), (0x8100,), (0x88A8,), (0x88A8, 0x8100), (0x8100, 0x8100)]
    for ihl_options, tag in itertools.product(range(11), tags):
        payload, options = rng.randbytes(rng.choice((0, 1, 50))), rng.randint(0, 10)
        frame = ipv4(tcp(options, payload, sport=1, dport=65535, seq=0xFFFFFFFF), ihl_options, tag)
        addresses = {
            "remote_address": bytes(12) + bytes((192, 0, 2, 1)),
            "local_address": bytes(12) + bytes((198, 51, 100, 7)),
            "remote_port": 1,
            "local_port": 65535,
            "seq": 0xFFFFFFFF,
            "ipv6": 0,
        }
        l3 = 14 + 4 * len(tag)
        cases.append((frame, fields(l3 + 20 + 4 * ihl_options, options, payload, l3_offset=l3, **addresses)))
    for options in range(11):
        payload = rng.randbytes(options)
        cases.append((ipv4(tcp(options, payload)), fields(34, options, payload, ipv6=0)))
        cases.append((ipv6(tcp(options, payload)), fields(54, options, payload, ipv6=1)))
    for hops in range(5):
        for kinds in itertools.product((0, 43, 60), repeat=hops):
            chain = [(kind, 0) for kind in kinds]
            payload = rng.randbytes(3)
            frame = ipv6(tcp(0, payload), chain, src="fe80::1", dst="ff02::2")
            if hops == 4 and rng.random() < 0.8:
                continue
            cases.append((frame, None if hops > 3 else fields(54 + 8 * hops, 0, payload)))
    for words, tag, split in itertools.product(range(12), tags[:4], (1, 2)):
        parts = [(60, words)] if split == 1 else [(0, 0), (60, words)]
        l4 = 54 + 4 * len(tag) + sum(len(extension(*p)) for p in parts)
        frame = ipv6(tcp(2, b"abc"), parts, tag)
        cases.append((frame, fields(l4, 2, b"abc") if l4 + 20 <= 128 else None))
    far = ipv6(tcp(0, b"abc"), [(60, 254), (60, 254), (60, 254)])
    cases.append((far, None))
    for flags, candidate in (("S", 0), ("SA", 0), ("R", 0), ("RA", 0), ("FA", 1), ("UA", 1), ("ECPA", 1), ("", 1)):
        cases.append((ipv4(tcp(0, b"x", flags=flags)), fields(34, 0, b"x", candidate=candidate)))
    plain, plain6 = ipv4(tcp(0, b"hello")), ipv6(tcp(0, b"hello"))

    def changed(frame, at, value):
        return frame[:at] + value + frame[at + len(value) :]

    cases += [
        (ipv4(tcp(0, b"x"), 0, (0x8100, 0x88A8, 0x8100)), None),
        (ipv6(tcp(0, b"x"), (), (0x8100,) * 3), None),
        (ipv4(tcp(0, b"x"), flags="MF"), None),
        (ipv4(tcp(0, b"x"), frag=1), None),
        (ipv4(tcp(0, b"x"), frag=0x1FFF), None),
        (ipv4(tcp(0, b"x"), flags="DF"), fields(34, 0, b"x")),
        (ipv4(tcp(0, b"x"), flags="evil"), fields(34, 0, b"x")),
        (ipv6(tcp(0, b"x"), ["fragment"]), None),
        (ipv6(tcp(0, b"x"), [(0, 0), "fragment"]), None),
        (udp(b"x"), None),
        (arp(), None),
        (changed(plain, 12, b"\x00\x30"), None),  # an 802.3 length
        (changed(plain, 14, b"\x65"), None),
        (changed(plain, 14, b"\x44"), None),
        (changed(plain, 14, b"\x40"), None),
        (changed(plain6, 14, b"\x40"), None),
        (changed(plain, 12, b"\x86\xdd"), None),
        (changed(plain6, 12, b"\x08\x00"), None),
        *((changed(plain, 23, bytes([p])), None) for p in (0, 1, 17, 41, 43, 60, 132)),
        *((changed(plain6, 20, bytes([p])), None) for p in (4, 17, 44, 50, 51, 58, 59, 135, 139, 140, 253)),
        *((changed(plain, 46, bytes([d << 4])), None) for d in (0, 1, 4, 7, 15)),
        *((changed(plain6, 66, bytes([d << 4])), None) for d in (0, 1, 4, 7, 15)),
        (changed(plain, 46, b"\x60"), fields(34, 1, b"o")),
        (changed(plain, 16, struct.pack("!H", 40)), fields(34, 0, b"")),
        *((changed(plain, 16, struct.pack("!H", n)), None) for n in (0, 19, 20, 39, 9203, 65535)),
        (changed(plain, 16, struct.pack("!H", 9202)), fields(34, 0, bytes(9162))),
        (changed(plain6, 18, struct.pack("!H", 20)), fields(54, 0, b"")),
        *((changed(plain6, 18, struct.pack("!H", n)), None) for n in (0, 19, 9163, 65535)),
        (changed(plain6, 18, struct.pack("!H", 9162)), fields(54, 0, bytes(9142))),
        (plain + bytes(30), fields(34, 0, b"hello")),
        (plain6 + b"\xff" * 300, fields(54, 0, b"hello")),
        (ipv6(tcp(0, b"x"), src=":".join(["ffff"] * 8), dst=":".join(["ffff"] * 8)), fields(54, 0, b"x")),
        (plain[:1], None),
    ]  # fmt: skip
    return cases


@pytest.mark.default_cases(3)
@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("width", WIDTHS)
def test_built(parser, width):
    cases = built_frames()
    random.Random(width).shuffle(cases)
    judge(parser, [f for f, _ in cases], width, [e for _, e in cases])


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("width", WIDTHS)
def test_cut_everywhere(parser, width):
    """A frame is parsed from the byte on that completes the TCP header, wherever the rest is cut."""
    frames, expected = [], []
    for frame, l4 in (
        (ipv4(tcp(3, bytes(30)), 1, (0x8100,)), 42),
        (ipv6(tcp(0, bytes(20)), [(0, 0), (43, 2)]), 86),
        (ipv6(tcp(0, bytes(5))), 54),
    ):
        for size in range(1, len(frame) + 1):
            frames.append(frame[:size])
            expected.append({"l4_offset": l4} if size >= l4 + 20 else None)
    judge(parser, frames, width, expected)


@pytest.mark.default_cases(3)
@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("count", [100, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("width,idle,backpressure", [(16, 0.4, 0), (32, 0, 0.6), (64, 0.2, 0.9), (16, 0.1, 0.95)])
def test_random_frames(parser, width, idle, backpressure, count):
    rng = random.Random(width)
    frames = [random_frame(rng) for _ in range(count)]
    judge(parser, frames, width, idle=idle, backpressure=backpressure, seed=width)


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("count", [300, pytest.param(1200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("width", WIDTHS)
def test_fuzz(parser, width, count):
    """Random bytes behind what makes the parser go on; frames of 1 to 150 bytes."""
    rng = random.Random(100 + width)
    frames = []
    for _ in range(count):
        frame = bytearray(rng.randbytes(150))
        at = 12
        for _ in range(rng.choice((0, 0, 1, 2, 3))):
            frame[at : at + 2] = rng.choice((b"\x81\x00", b"\x88\xa8"))
            at += 4
        if rng.random() < 0.5:
            frame[at : at + 3] = b"\x08\x00" + bytes([0x40 | rng.randint(4, 15)])
            frame[at + 4 : at + 6] = struct.pack("!H", rng.choice((rng.randint(30, 150), rng.randint(0, 9300))))
            frame[at + 8 : at + 10] = bytes([rng.choice((0x40, 0, 0, 0x20)), rng.choice((0, 0, 0, 1))])
            frame[at + 11] = rng.choice((6, 6, 6, 6, 17))
        else:
            frame[at : at + 3] = b"\x86\xdd\x60"
            frame[at + 6 : at + 8] = struct.pack("!H", rng.choice((rng.randint(30, 150), rng.randint(0, 9300))))
            frame[at + 8] = rng.choice((0, 43, 60, 6, 6))
            place = at + 42
            for _ in range(rng.randint(0, 4)):
                frame[place : place + 2] = bytes([rng.choice((0, 43, 60, 6, 6)), rng.choice((0, 0, 0, 1, 2, 255))])
                place += 8 * (frame[place + 1] + 1)
                if place > 140:
                    break
        frames.append(bytes(frame[: rng.choice((150, 128, rng.randint(1, 150)))]))
    assert sum(Parse.model(f) is not None for f in frames) > count // 12
    judge(parser, frames, width)


@pytest.mark.default_cases(6)
@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("size", [1, 60, 64, 128, 129])
def test_full_rate(parser, width, size):
    """Frames back to back, of one beat every other cycle: `i.ready` never falls, the latency is as documented."""
    frame = (ipv4(tcp(0, bytes(100))) + bytes(60))[:size]
    beats = to_beats(frame, width)
    dut = parser(Config(width=width))
    first = []
    alternate = parser is not Parse and len(beats) == 1

    async def feed(ctx):
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.plan.ready, 1)
        for cycle in range(300):
            ctx.set(dut.i.valid, not (alternate and cycle % 2))
            ctx.set(dut.i.p, beats[cycle % len(beats)])
            _, _, ready, valid = await ctx.tick().sample(dut.i.ready, dut.o.valid)
            assert ready
            if valid and not first:
                first.append(cycle)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(feed)
    sim.run()
    if parser is Parse:  # IPv4 without tags: complete with byte 53, but not before the second cycle after byte 31
        assert first == [min(len(beats), max(-(-54 // width), -(-32 // width) + 1)) - 1 + 9]
    else:  # the header ends with byte 39 of the IP packet
        assert first == [min(len(beats) - 1, 39 // width) + 17]
