"""hw.checksum and hw.ingress on transmit: scapy's checksums as judge, then the model."""

import random

import pytest
from amaranth.lib import data
from amaranth.sim import Simulator
from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether

from hw.checksum import ChecksumUnit
from hw.config import Config
from hw.ingress import Ingress
from hw.parse import Parse
from hw.tx_layouts import tx_checksum
from tests.hw.frames import arp, ipv4, ipv6, random_frame, tcp, to_beats, udp
from tests.hw.testbench import run_streams

WIDTHS = (16, 32, 64)


def run(frames, width, **options):
    """What the unit inside a transmit ingress says of each frame: dicts, or None where it is not whole."""
    dut = Ingress(Config(width=width), transmit=True)
    beats = [b for frame in frames for b in to_beats(frame, width)]
    count = len(frames)
    outputs = [(dut.checksum, count), (dut.headers, count)]

    async def leave(ctx):
        """The frames leave when their items are taken, as the contract of the ingress asks."""
        ended, taken = 0, 0
        while True:
            ctx.set(dut.o.ready, taken > ended)
            _, _, valid, ready, last, item, item_ready = await ctx.tick().sample(
                dut.o.valid, dut.o.ready, dut.o.p.last, dut.checksum.valid, dut.checksum.ready
            )
            ended += valid & ready & last
            taken += item & item_ready

    got = run_streams(dut, [(dut.i, beats)], outputs, processes=[leave], **options)[0]
    results = []
    for bits in got:
        item = data.Layout.cast(tx_checksum()).from_bits(bits)
        results.append({"whole": 1, "sum": item.sum, "offset": item.offset} if item.whole else None)
    return results


def scapy_checksum(frame: bytes) -> int:
    """The TCP checksum scapy puts into the frame."""
    packet = Ether(frame)
    del packet[TCP].chksum
    return Ether(bytes(packet))[TCP].chksum


def built_frames():
    rng = random.Random(4)
    frames = []
    for size in (0, 1, 2, 3, 15, 16, 17, 63, 64, 65, 200, 1447, 1448):
        payload = rng.randbytes(size)
        tags = rng.choice(((), (0x8100,), (0x88A8, 0x8100)))
        field = rng.getrandbits(16)  # the frame's own checksum does not matter
        frames.append(ipv4(tcp(rng.randint(0, 10), payload, chksum=field), rng.randint(0, 10), tags))
        frames.append(ipv6(tcp(rng.randint(0, 10), payload, chksum=field), [(60, 1)] * rng.randint(0, 3), tags))
    frames.append(ipv4(tcp(0, b"\xff" * 8960)))
    frames.append(ipv6(tcp(0, b"\xff" * 1000, seq=0xFFFFFFFF, ack=0xFFFFFFFF), src=":".join(["ffff"] * 8)))
    frames.append(ipv4(tcp(0, b"abc")) + b"\xff" * 40)
    return frames


@pytest.mark.default_cases(1)
@pytest.mark.parametrize("width", WIDTHS)
def test_scapy(width):
    frames = built_frames()
    for frame, got in zip(frames, run(frames, width), strict=True):
        assert got is not None
        checksum = ~got["sum"] & 0xFFFF
        assert checksum == scapy_checksum(frame), frame[:80].hex()
        at = got["offset"]
        sent = frame[:at] + checksum.to_bytes(2, "big") + frame[at + 2 :]
        assert Ether(sent)[TCP].chksum == checksum


def test_carry_of_the_carry():
    """A sum that folded once is 0x10000: of hundreds of words, with the last one chosen for it."""
    payload = random.Random(1).randbytes(1400)
    sum_before = ~scapy_checksum(ipv4(tcp(0, payload + bytes(2)))) & 0xFFFF
    frame = ipv4(tcp(0, payload + ((0x0100 - sum_before) % 0xFFFF).to_bytes(2, "big")))
    assert scapy_checksum(frame) == 0xFEFF
    (got,) = run([frame], 16)
    assert got is not None and got["sum"] == 0x0100


@pytest.mark.parametrize("width", WIDTHS)
def test_not_whole(width):
    """Not parsed: no item waits for anything. Parsed, and cut before the end of the IP packet: not whole."""
    frame = ipv4(tcp(1, bytes(range(60))))
    frames = [frame[:size] for size in range(1, len(frame) + 1)]
    frames += [arp(), udp(b"x"), ipv4(tcp(0, b"x"), flags="MF")]
    whole = [got is not None for got in run(frames, width)]
    assert whole == [False] * (len(frame) - 1) + [True] + [False] * 3


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("count", [75, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize("width,idle,backpressure", [(16, 0.4, 0), (32, 0, 0.6), (64, 0.2, 0.9)])
def test_random_frames(width, idle, backpressure, count):
    rng = random.Random(width)
    frames = [random_frame(rng) for _ in range(count)]
    expected = [ChecksumUnit.tx_model(frame, Parse.model(frame)) for frame in frames]
    assert sum(e is not None for e in expected) > count // 3
    assert run(frames, width, idle=idle, backpressure=backpressure, seed=width) == expected


@pytest.mark.parametrize("width", WIDTHS)
def test_latency(width):
    """Behind the last beat of a long frame, and with frames back to back at full rate."""
    dut = Ingress(Config(width=width), transmit=True)
    frame = ipv4(tcp(0, bytes(1000)))
    beats = to_beats(frame, width)
    cycles = []

    async def feed(ctx):
        for port in (dut.headers, dut.checksum, dut.o):
            ctx.set(port.ready, 1)
        for cycle in range(4 * len(beats) + 40):
            busy = cycle < 4 * len(beats)
            ctx.set(dut.i.valid, busy)
            ctx.set(dut.i.p, beats[cycle % len(beats)])
            _, _, ready, valid = await ctx.tick().sample(dut.i.ready, dut.checksum.valid)
            assert ready or not busy
            if valid:
                cycles.append(cycle)

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(feed)
    sim.run()
    delay = 7 + {16: 2, 32: 3, 64: 3}[width]
    ends = [(k + 1) * len(beats) - 1 for k in range(4)]
    late = [c - e for c, e in zip(cycles, ends, strict=True)]
    assert all(delay <= x <= delay + 1 for x in late), (late, delay)
