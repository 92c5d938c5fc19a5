"""Trackers at W=64: headers taken beside the fragment in front of them, wherever they lie and whenever they come."""

import random

import pytest
from amaranth.lib import data

from hw import layouts
from hw.config import Config
from hw.loss_track import LossTrack
from hw.track import Track
from model.contract import TAG_SIZE, Checksum, RxPolicy, Status
from sim.traffic import TLS12, TLS13, Stream
from tests.hw.testbench import run_streams

WIDTH = 64
FIELDS = (
    "position", "count", "ext_first", "record_number", "body_length", "content_type", "explicit_nonce", "completes"
)  # fmt: skip
POLICIES = {Track: RxPolicy.PUBLISHED, LossTrack: RxPolicy.FULL}


def arriving(dut, frames, bases, seed):
    """The packet buffer: beats come one by one, with pauses; what is not there yet reads as garbage."""

    async def run(ctx):
        rng = random.Random(seed)
        number, there = 0, 0
        size = 1 << len(dut.buffer.address)
        while True:
            _, _, address, *end = await ctx.tick().sample(dut.buffer.address, dut.o.valid, dut.o.ready, dut.o.p.end)
            if all(end):
                number, there = number + 1, 0
            if number >= len(frames):
                return
            frame, base = frames[number], bases[number]
            beat = (address - base + size // 2) % size - size // 2
            known = frame[beat * WIDTH : min(beat + 2, there) * WIDTH] if beat >= 0 else b""
            ctx.set(dut.buffer.data, int.from_bytes(known + rng.randbytes(2 * WIDTH - len(known)), "little"))
            if rng.random() < 0.8:
                there = min(there + 1, -(-len(frame) // WIDTH))
            whole = there * WIDTH >= len(frame)
            ctx.set(dut.written, (base + there) % size)
            ctx.set(dut.ended, (number + whole) % 64)

    return run


def fragments_of(stream, seq, payload, offset):
    """Of a frame: what of each record's body and tag is in it, and where."""
    header = 5 if stream.version == TLS13 else 13
    found = []
    for record in stream.records:
        first = record.seq + header - seq  # in the payload
        low, high = max(first, 0), min(record.seq + len(record.wire) - seq, len(payload))
        if low < high:
            nonce = 0 if header == 5 else int.from_bytes(record.wire[5:13], "little")
            size = len(record.wire) - header
            values = (
                offset + low, high - low, 16 + low - first, record.number, size - TAG_SIZE, record.wire[0], nonce,
                high - first == size,
            )  # fmt: skip
            found.append(dict(zip(FIELDS, values, strict=True)))
    return found


@pytest.mark.default_cases(3)
@pytest.mark.parametrize("backpressure", [0.0, 0.3])
@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("tracker", [Track, LossTrack])
def test_fragments_of_tiny_records(tracker, version, backpressure):
    rng = random.Random(f"{version}/{backpressure}")
    stream = Stream(version, seed=version, start_seq=1000)
    for size in [*range(1, 80), *(rng.randrange(1, 80) for _ in range(80))]:
        stream.bulk([size], content_type=rng.choice([21, 23]))
    wire, cuts, at = stream.wire, [], 0
    while at < len(wire):
        at += rng.choice([1448, 700, 201, 64, 3])
        cuts.append(at)
    segments = stream.segments(wire, cuts)
    config = Config(width=WIDTH, connections=8, rx_policy=POLICIES[tracker])
    frames, requests, want, base = [], [], [], 0
    for number, (seq, payload) in enumerate(segments):
        offset = rng.randrange(54, 140)
        frames.append(rng.randbytes(offset) + payload)
        requests.append(
            {
                "base": base, "packet": number % 64, "matched": 1, "handle": 3, "seq": seq,
                "payload_offset": offset, "payload_length": len(payload),
            }
        )  # fmt: skip
        base = (base - (-len(frames[-1]) // WIDTH)) % (1 << config.pointer_bits)
        want.append(fragments_of(stream, seq, payload, offset))
    dut = tracker(config)
    init = {"kind": layouts.TrackerOperation.INIT, "index": 3, "tls13": version == TLS13, "seq": stream.start_seq}
    (items,) = run_streams(
        dut,
        [(dut.operations, [init]), (dut.i, requests), (dut.checksum, [Checksum.GOOD] * len(frames))],
        [(dut.o, len(frames) + sum(map(len, want)))],
        backpressure=backpressure,
        processes=[arriving(dut, frames, [r["base"] for r in requests], 1), answers_taken(dut)],
    )
    got: list[list[dict]] = [[]]
    for item in (data.Const(layouts.work(config), bits) for bits in items):
        if item.end:
            assert item.descriptor.status == Status.DECRYPTED, f"frame {len(got) - 1}"
            got.append([])
        else:
            got[-1].append({name: int(getattr(item, name)) for name in FIELDS})
    assert got[:-1] == want


def answers_taken(dut):
    async def run(ctx):
        ctx.set(dut.answers.ready, 1)

    return run
