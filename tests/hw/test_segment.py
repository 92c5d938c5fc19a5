"""hw.segment: every segment as scapy builds it for itself; then the model as judge, judged by the golden model."""

import functools
import itertools
import random
import struct

import pytest
from amaranth.lib import data

from hw.config import Config
from hw.segment import Segment
from hw.tx_layouts import tx_beat
from model import segmentation
from model.contract import TxKind
from sim.engine.component import ComponentEngine
from tests.hw.frames import arp, extension, ipv4, ipv6, random_frame, tcp, to_beats, udp
from tests.hw.testbench import run_streams

WIDTHS = (16, 32, 64)
FIN, PSH, CWR = 0x01, 0x08, 0x80
REQUEST = {"kind": TxKind.STREAM, "handle": 0x123456, "record_seq": 7, "record_number": 1 << 63, "header": 1 << 103}


@functools.cache
def layout(width):
    return data.Layout.cast(tx_beat(Config(width=width)))


@functools.cache
def compiled(width):
    return ComponentEngine(lambda: Segment(Config(width=width)))


def beats_of(frame, request, width):
    return [layout(width).const(beat | {"request": request}) for beat in to_beats(frame, width)]


def bits_of(frame, request, width):
    return [beat.as_bits() for beat in beats_of(frame, request, width)]


def frames_of(beats, width):
    """(frame, request) of each outgoing frame; a request differs from beat to beat in none."""
    out, frame, requests = [], b"", set()
    for bits in beats:
        beat = layout(width).from_bits(bits)
        size = beat.keep.bit_count()
        assert beat.keep == (1 << size) - 1 and (beat.last or size == width)
        assert beat.data >> 8 * size == 0, "bytes behind the frame's end"
        frame += beat.data.to_bytes(width, "little")[:size]
        requests.add(beat.request.as_bits())
        if beat.last:
            assert len(requests) == 1
            out.append((frame, beat.request))
            frame, requests = b"", set()
    assert not frame
    return out


def judge(cases, width, expected=None, engine=None, **options):
    """Send `cases` (frame, request), compare with `expected`: a list of (frame, request) for each; else the model."""
    expected = expected or [Segment.model(*case) for case in cases]
    wanted = list(itertools.chain.from_iterable(expected))
    beats = [b for case in cases for b in beats_of(*case, width)]
    count = sum(-(-len(frame) // width) for frame, _ in wanted)
    if engine:
        engine.reset()
        beats = [beat.as_bits() for beat in beats]
        got = engine.run({"i": beats}, {"o": count}, settle=60, **options).outputs["o"]
    else:
        dut = Segment(Config(width=width))
        (got,) = run_streams(dut, [(dut.i, beats)], [(dut.o, count)], extra_cycles=60, **({"cycles": 30_000} | options))
        assert len(got) == count
    got = frames_of(got, width)
    assert len(got) == len(wanted)
    origins = [(n, k) for n, pieces in enumerate(expected) for k in range(len(pieces))]
    for (n, k), (frame, request), (wanted_frame, wanted_request) in zip(origins, got, wanted, strict=True):
        note = f"frame {n}, segment {k}, of {cases[n]}"
        assert frame == wanted_frame, f"{note}: {frame.hex()} is not {wanted_frame.hex()}"
        for name, value in wanted_request.items():
            assert getattr(request, name) == value, f"{note}: {name}"


def built(build, payload, size, seq=0x12345678, flags=0x18, identification=77, options=0):
    """A frame, and its segments each built on its own. `build(segment, identification)` puts the headers in front."""

    def segment(part, at, flag_bits, number):
        # The checksum is given: who cuts leaves it as it is.
        header = tcp(options, part, seq=(seq + at) % 2**32, flags=flag_bits, chksum=0xABCD)
        return build(header, (identification + number) % 2**16)

    parts = [payload[k : k + size] for k in range(0, len(payload), size)]
    segments = []
    for number, part in enumerate(parts):
        bits = flags
        if number < len(parts) - 1:
            bits &= ~(FIN | PSH)
        if number:
            bits &= ~CWR
        segments.append(segment(part, number * size, bits, number))
    return segment(payload, 0, flags, 0), segments


def requests_of(request, count):
    """Of each segment, by contract-tx section 5."""
    out = []
    for k in range(count):
        kind = TxKind.RETRANSMIT if k and request["kind"] == TxKind.PREFIX else request["kind"]
        size = request["segment_size"] if kind == TxKind.PASS else 0
        adopt = request.get("adopt", 0) if k == count - 1 else 0
        out.append(request | {"kind": kind, "segment_size": size, "adopt": adopt})
    return out


def header_builders():
    """Every length of headers there is: name and function of a TCP segment and identification."""
    tags = [(), (0x8100,), (0x88A8, 0x8100)]
    builders = []
    for options, tag in itertools.product((0, 1, 2, 3, 7, 10), tags):
        builders.append(
            lambda segment, number, options=options, tag=tag: ipv4(segment, options, tag, id=number, flags="DF")
        )
    for chain, tag in itertools.product(
        ([], [(0, 0)], [(60, 1)], [(43, 2), (60, 0)], [(0, 0), (43, 0), (60, 0)]), tags
    ):
        if 54 + 4 * len(tag) + sum(len(extension(*item)) for item in chain) + 20 <= 128:
            builders.append(lambda segment, number, chain=chain, tag=tag: ipv6(segment, chain, tag))
    builders.append(lambda segment, number: ipv6(segment, [(60, 4)], (0x8100, 0x8100), src="::", dst="::"))
    return builders


def built_cases(rng, sizes, most_segments, options=None):
    cases, expected = [], []
    for build in header_builders():
        size = rng.choice(sizes)
        payload = rng.randbytes(rng.randint(size + 1, most_segments * size))
        flags = rng.choice((0x10, 0x18, 0x19, 0xD8, 0x80, 0xFF & ~6))
        frame, segments = built(
            build,
            payload,
            size,
            seq=rng.choice((rng.getrandbits(32), 2**32 - size - 1)),
            flags=flags,
            identification=rng.choice((0, 77, 0xFFFE, 0xFFFF)),
            options=rng.randint(0, 10) if options is None else options,
        )
        request = REQUEST | {"kind": rng.choice(list(TxKind)), "segment_size": size, "adopt": rng.randint(0, 1)}
        cases.append((frame + rng.randbytes(rng.choice((0, 0, 1, 40))), request))
        expected.append(list(zip(segments, requests_of(request, len(segments)), strict=True)))
    return cases, expected


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("width", WIDTHS)
def test_built(width):
    cases, expected = built_cases(random.Random(width), (1, 2, 5, 16, 31, 64, 100), 4)
    judge(cases, width, expected)


@pytest.mark.default_cases(1)
@pytest.mark.parametrize("width,size", [(64, 1448), (64, 8960), (32, 536)])
def test_large(width, size):
    rng = random.Random(size)
    cases, expected = [], []
    for build, payload in (
        (lambda segment, number: ipv4(segment, 0, (), id=number), 3 * size),
        (lambda segment, number: ipv6(segment, [(0, 0)]), 2 * size + 1),
    ):
        frame, segments = built(build, rng.randbytes(payload), size, options=3)
        request = REQUEST | {"segment_size": size}
        cases.append((frame, request))
        expected.append(list(zip(segments, requests_of(request, len(segments)), strict=True)))
    judge(cases, width, expected)


def uncut_cases():
    plain, plain6 = ipv4(tcp(0, b"hello world")), ipv6(tcp(3, b"hello world"))
    frames = [
        arp(), udp(bytes(100)), b"x", bytes(64), bytes(65), ipv4(tcp(0)), ipv6(tcp(0)),
        ipv4(tcp(0, bytes(100)), flags="MF"), ipv4(tcp(0, bytes(100)), 0, (0x8100,) * 3),
        ipv6(tcp(0, bytes(100)), ["fragment"]), plain[:53], plain6[:60],
        plain[:46] + b"\xf0" + plain[47:],  # TCP header longer than the packet
    ]  # fmt: skip
    cases = [(frame, REQUEST | {"kind": kind, "segment_size": 1}) for frame in frames for kind in (0, 1, 4)]
    cases += [(f, REQUEST | {"segment_size": size}) for f in (plain, plain6 + bytes(99)) for size in (0, 11, 12, 65535)]
    cases += [(f, REQUEST | {"segment_size": 10, "kind": TxKind.PREFIX, "adopt": 1}) for f in (plain, plain6)]
    cases += [(plain, REQUEST | {"adopt": 1, "kind": TxKind.PREFIX})]
    return cases


@pytest.mark.parametrize("width", WIDTHS)
def test_uncut(width):
    """What is not cut stays as it is, alone and between frames that are."""
    cases = uncut_cases()
    random.Random(width).shuffle(cases)
    expected = []
    for frame, request in cases:
        pieces = Segment.model(frame, request)
        cut = len(pieces) > 1
        assert cut == (request.get("segment_size") == 10)
        expected.append(pieces if cut else [(frame, request | {"segment_size": 0})])
    judge(cases, width, expected)


def truncated_cases(rng, size=20, step=1):
    cases = []
    for build in (lambda s, n: ipv4(s, 0, (), id=n), lambda s, n: ipv6(s, [(60, 1)])):
        frame, _ = built(build, rng.randbytes(3 * size + 5), size, options=3)
        for end in range(1 + rng.randrange(step), len(frame), step):
            request = REQUEST | {"segment_size": size, "kind": rng.choice((0, 1, 4)), "adopt": 1}
            cases.append((frame[:end], request))
    return cases


def test_truncated_model():
    """The segments that begin in the frame, the last of them short, and none has `adopt`."""
    frame, segments = built(lambda s, n: ipv4(s, 0, (), id=n), bytes(range(65)), 20, options=0)
    for end in range(54, len(frame)):
        pieces = Segment.model(frame[:end], REQUEST | {"segment_size": 20, "adopt": 1})
        whole, rest = divmod(end - 54, 20)
        assert [f for f, _ in pieces[:whole]] == segments[:whole]
        assert len(pieces) == max(whole + (rest > 0), 1)
        if rest or not whole:
            assert pieces[-1][0] == segments[whole][: 54 + rest]
        assert pieces[-1][1]["adopt"] == (end > 54 + 60)


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("width", WIDTHS)
def test_truncated(width):
    judge(truncated_cases(random.Random(width), step=3), width)


def random_cases(rng, count, most=600):
    cases = []
    while len(cases) < count:
        size = rng.choice((0, 1 + rng.randrange(most), 17, 100, 300))
        frame = random_frame(rng, most=min(most, 12 * size or most))
        request = REQUEST | {
            "kind": rng.choice(list(TxKind)),
            "segment_size": size,
            "adopt": rng.randint(0, 1),
            "handle": rng.getrandbits(24),
        }
        assert [f for f, _ in Segment.model(frame, request)] == segmentation.segments(frame, size), "the golden model"
        cases.append((frame, request))
    return cases


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("width,idle,backpressure", [(16, 0.4, 0), (32, 0, 0.5), (64, 0.3, 0.3)])
def test_random(width, idle, backpressure):
    judge(random_cases(random.Random(width), 70), width, idle=idle, backpressure=backpressure, seed=width)


def test_limits_model():
    """65,535 bytes of IP packet are cut, one more (IPv6) is not parsed."""
    for size, cut in ((65535, True), (65536, False)):
        frame = bytearray(ipv6(tcp(0, bytes(size - 60))))
        frame[18:20] = struct.pack("!H", size - 40)
        assert (len(Segment.model(bytes(frame), {"segment_size": 1448})) > 1) == cut
    frame = ipv4(tcp(0, bytes(65495)))
    assert len(Segment.model(frame, {"segment_size": 1448})) == 46


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_limits(width):
    cases = []
    for size in (65535, 65536, 65575):
        frame = bytearray(ipv6(tcp(0, random.Random(size).randbytes(size - 60))))
        frame[18:20] = struct.pack("!H", size - 40)
        cases.append((bytes(frame), REQUEST | {"segment_size": 8960}))
    cases.append((ipv4(tcp(0, bytes(65495))), REQUEST | {"segment_size": 1}))
    cases.append((ipv4(tcp(0, bytes(65495))), REQUEST | {"segment_size": 65494}))
    cases.append((ipv4(tcp(0, bytes(65495)))[:3000], REQUEST | {"segment_size": 1448}))
    judge(cases, width, engine=compiled(width), watchdog=100)


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_every_size(width):
    """Every segment size up to three beats, over every kind of headers; every cut of a frame."""
    rng = random.Random(width)
    for size in range(1, 3 * width + 2):
        cases, expected = built_cases(rng, (size,), 5)
        judge(cases, width, expected, engine=compiled(width))
    for size in (1, width - 1, width, 40):
        judge(truncated_cases(rng, size), width, engine=compiled(width))
    for options in range(11):
        cases, expected = built_cases(rng, (100, 536, 1448, 8960), 3, options)
        judge(cases, width, expected, engine=compiled(width))


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("idle,backpressure", [(0, 0), (0.5, 0), (0, 0.5), (0.3, 0.3), (0.9, 0), (0, 0.9)])
def test_random_long(width, idle, backpressure):
    rng = random.Random(f"{width} {idle} {backpressure}")
    cases = random_cases(rng, 400, most=3000)
    judge(cases, width, engine=compiled(width), idle=idle, backpressure=backpressure, seed=width)


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_rate(width):
    """A beat a cycle, but for what a frame costs before its first segment; latency of what is not cut."""
    engine = compiled(width)
    for size in (1, 20, 100, 536, 1448, 8960):
        frame = ipv4(tcp(3, bytes(min(65000, 100 * size))))
        engine.reset()
        count = sum(-(-len(f) // width) for f, _ in Segment.model(frame, {"segment_size": size}))
        beats = bits_of(frame, {"segment_size": size}, width)
        cycles = engine.run({"i": 3 * beats}, {"o": 3 * count}).given_out["o"]
        assert cycles[-1] - cycles[0] + 1 - 3 * count == 2 * max(6, 66 // width + 3)
    for size, latency in ((0, 3), (1460, {16: 14, 32: 12, 64: 11}[width])):
        engine.reset()
        beats = bits_of(ipv4(tcp(0, bytes(6))), {"segment_size": size}, width)
        result = engine.run({"i": 100 * beats}, {"o": 100 * len(beats)})
        taken, given = result.taken_in["i"], result.given_out["o"]
        assert taken[-1] - taken[0] + 1 == given[-1] - given[0] + 1 == 100 * len(beats)
        assert given[0] - taken[0] == latency
