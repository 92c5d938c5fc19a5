"""hw.track against the golden tracker: random loss, reordering, duplication and cuts, frame by frame."""

import random

import pytest
from amaranth.lib import data

from hw import layouts
from hw.config import Config
from hw.track import Track
from model.commands import Resync
from model.contract import Checksum, Result, RxPolicy, Status
from model.tracker import Connection
from sim.traffic import TLS12, TLS13, Stream
from tests.hw.testbench import run_streams
from tests.model.decoys import decoy, sealed_as


def buffer_of(dut, payloads: list[bytes], requests: list[dict], width: int):
    """The packet buffer: each frame is there until its end is out; garbage around it."""

    async def run(ctx):
        rng = random.Random(1)
        number = 0
        size = 1 << len(dut.buffer.address)
        while True:
            _, _, address, *end = await ctx.tick().sample(dut.buffer.address, dut.o.valid, dut.o.ready, dut.o.p.end)
            number += all(end)
            if number >= len(requests):
                return
            request = requests[number]
            frame = rng.randbytes(request["payload_offset"]) + payloads[number]
            beat = (address - request["base"] + size // 2) % size - size // 2
            pair = frame[beat * width : (beat + 2) * width] if beat >= 0 else b""
            ctx.set(dut.buffer.data, int.from_bytes(pair + rng.randbytes(2 * width - len(pair)), "little"))
            ctx.set(dut.ended, (request["packet"] + 1) % 64)

    return run


def impaired(rng, segments):
    """Lose, hold back, duplicate and shift segments; what is lost may come later."""
    out, held = [], []
    for segment in segments:
        x = rng.random()
        if x < 0.05:
            continue
        if x < 0.15:
            held.append((rng.randint(1, 4), segment))
            continue
        out.append(segment)
        if x > 0.95:
            out.append(segment)
        held = [(n - 1, s) for n, s in held]
        out += [s for n, s in held if n <= 0]
        held = [(n, s) for n, s in held if n > 0]
    return out + [s for _, s in held]


SHAPES = [
    Config(width=16, connections=8),
    Config(width=64, connections=8),
    Config(width=16, connections=8, sbox="bram", rx_policy=RxPolicy.PUBLISHED),
]
by_shape = pytest.mark.parametrize("config", SHAPES, ids=["16", "64", "late"])


@pytest.mark.default_cases(5)
@by_shape
@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("sizes", [(16384, 5000), (300, 900), (0, 1, 13, 60)])
def test_track_is_the_golden_tracker(config, version, sizes):
    width = config.width
    rng = random.Random(f"{width}/{version}/{sizes}")
    stream = Stream(version, seed=rng.randrange(1000), start_seq=2**32 - 3000)
    wire = stream.bulk([rng.choice(sizes) for _ in range(40 if max(sizes) < 100 else 12)])
    if sizes == (300, 900):
        wire += b"\x17\x03\x04\x00\x30" + bytes(60)  # a bad header at the end
    cuts, at = [], 0
    while at < len(wire):
        at += rng.choice([1, 2, 5, 40, 200, 1448])
        cuts.append(at)
    segments = impaired(rng, stream.segments(wire, cuts))[:250]
    index = rng.randrange(8)
    handle = rng.randrange(256) << 16 | index

    # frames that the table did not find, with the connection's numbers: nothing may come of them
    frames = [(*s, matched) for s in segments for matched in ((0, 1) if rng.random() < 0.1 else (1,))]
    golden = Connection(stream.add())
    requests, checksums, want, base = [], [], [], 0
    for number, (seq, payload, matched) in enumerate(frames):
        offset = rng.randrange(54, 140)
        good = number % 7 != 3
        requests.append(
            {
                "base": base % (1 << config.pointer_bits),
                "packet": number % 64,
                "matched": matched,
                "handle": handle if matched or number % 2 else 0,
                "seq": seq,
                "payload_offset": offset,
                "payload_length": len(payload),
            }
        )
        base += -(-(offset + len(payload)) // width)
        checksums.append(Checksum.GOOD if good else Checksum.BAD)
        if not matched:
            want.append(Status.BYPASS)
        else:
            want.append(golden.take_in(seq, payload).status if good else Status.BAD_CHECKSUM)

    dut = Track(config)
    init = {
        "kind": layouts.TrackerOperation.INIT,
        "index": index,
        "tls13": version == TLS13,
        "seq": stream.start_seq,
        "record_number": stream.record_number,
    }
    items: list[int] = []

    async def query_at_the_end(ctx):
        ends = 0
        while ends < len(requests):
            _, _, valid, ready, item = await ctx.tick().sample(dut.o.valid, dut.o.ready, dut.o.payload)
            if valid and ready:
                items.append(item.as_bits())
                ends += item.end
        ctx.set(dut.operations.payload, {"kind": layouts.TrackerOperation.QUERY, "index": index})
        ctx.set(dut.operations.valid, 1)

    answers, _ = run_streams(
        dut,
        [(dut.operations, [init]), (dut.i, requests), (dut.checksum, checksums)],
        [(dut.answers, 2), (dut.o, len(requests))],
        idle=0.0 if version == TLS12 else 0.2,
        backpressure=0.2,
        seed=width,
        processes=[buffer_of(dut, [p for _, p, _ in frames], requests, width), query_at_the_end],
    )
    work = [data.Const(layouts.work(config), bits) for bits in items]
    got = [Status(w.descriptor.status) for w in work if w.end]
    assert got == want
    assert {Status.DECRYPTED, Status.BAD_CHECKSUM} <= set(got)
    state = data.Const(layouts.tracker_answer(), answers[1]).state
    expected = golden.state()
    for field in ("expected_seq", "seen_seq", "record_number", "remaining", "header_count"):
        assert getattr(state, field) == getattr(expected, field), field
    assert (bool(state.out_of_sync), bool(state.skipping)) == (expected.out_of_sync, expected.skipping)


@by_shape
def test_resync_is_taken_only_behind_a_gap_and_ahead_of_what_was_seen(config):
    stream = Stream(TLS13, seed=3)
    wire = stream.bulk([16384] * 4)
    segments = stream.segments(wire)
    far = segments[:2] + segments[20:22]  # beyond one maximum record
    next_header = stream.records[2].seq
    golden = Connection(stream.add())
    for seq, payload in far:
        golden.take_in(seq, payload)
    assert golden.out_of_sync
    seen = golden.seen

    operations = layouts.TrackerOperation
    init = {"kind": operations.INIT, "index": 2, "tls13": 1, "seq": stream.start_seq}

    def resync(seq):
        return {"kind": operations.RESYNC, "index": 2, "seq": seq, "record_number": 2}

    dut = Track(config)
    requests = [
        {
            "base": 100 * n,
            "packet": n,
            "matched": 1,
            "handle": 2,
            "seq": seq,
            "payload_offset": 54,
            "payload_length": len(payload),
        }
        for n, (seq, payload) in enumerate(far)
    ]

    async def operate(ctx):
        ends = 0
        while ends < len(requests):
            _, _, go, end = await ctx.tick().sample(dut.o.valid & dut.o.ready, dut.o.p.end)
            ends += go & end
        for operation in (resync((seen - 1) % 2**32), resync(next_header), resync(next_header)):
            ctx.set(dut.operations.payload, operation)
            ctx.set(dut.operations.valid, 1)
            await ctx.tick().until(dut.operations.ready)
            ctx.set(dut.operations.valid, 0)

    answers, _ = run_streams(
        dut,
        [(dut.operations, [init]), (dut.i, requests), (dut.checksum, [Checksum.GOOD] * 4)],
        [(dut.answers, 4), (dut.o, 4)],
        processes=[buffer_of(dut, [p for _, p in far], requests, config.width), operate],
    )
    results = [Result(data.Const(layouts.tracker_answer(), a).result) for a in answers]
    # The second one is taken; after it nothing has been seen past what is expected.
    assert results == [Result.OK, Result.IGNORED, Result.OK, Result.IGNORED]


def lost_stream(rng: random.Random, version: int) -> tuple[Stream, list[tuple[int, bytes]]]:
    """Segments of a stream that loses more than a record of any size, and what comes behind, decoys in it."""
    stream = Stream(version, seed=rng.randrange(1000), start_seq=2**32 - rng.choice([20_000, 34_000]))
    wire = stream.bulk([50, 16384, 16384])
    behind = len(wire) - 30
    for _ in range(25):
        size = rng.choice([0, 1, 13, 60, 300])
        body = bytearray(rng.randbytes(size))
        for at in range(rng.randrange(40), size - 4, rng.choice([5, 17, 40, 100])):
            body[at : at + 5] = decoy(rng.choice([24, 30, 31, 77, 16401, rng.randrange(65536)]))
        wire += sealed_as(stream, bytes(body))
    cuts, at = [40, behind], behind
    while at < len(wire):
        at += rng.choice([1, 2, 3, 4, 5, 9, 40, 200, 700])
        cuts.append(at)
    first, _, *rest = stream.segments(wire, cuts)
    segments = [first, *impaired(rng, rest)]
    for n in range(2, len(segments), 7):  # some begin before what has been seen
        seq, payload = segments[n]
        back = min(rng.choice([1, 4, 30]), (seq - stream.start_seq) % 2**32)
        at = (seq - stream.start_seq) % 2**32
        segments[n] = ((seq - back) % 2**32, wire[at - back : at + len(payload)])
    return stream, segments


def played(seed: int, config: Config, version: int):
    """What golden and RTL tracker say to each frame, to RESYNC at the chain tracked, and to QUERY before and after."""
    rng = random.Random(seed)
    width = config.width
    stream, segments = lost_stream(rng, version)
    golden = Connection(stream.add())
    requests, checksums, want, base = [], [], [], 0
    for number, (seq, payload) in enumerate(segments):
        offset = rng.randrange(54, 140)
        good = number % 9 != 4
        requests.append(
            {
                "base": base % (1 << config.pointer_bits),
                "packet": number % 64,
                "matched": 1,
                "handle": 3,
                "seq": seq,
                "payload_offset": offset,
                "payload_length": len(payload),
            }
        )
        base += -(-(offset + len(payload)) // width)
        checksums.append(Checksum.GOOD if good else Checksum.BAD)
        taken = golden.take_in(seq, payload) if good else None
        want.append((taken.status, taken.request) if taken else (Status.BAD_CHECKSUM, None))
    states = [golden.state()]
    place = golden._search.guess  # pyright: ignore[reportPrivateUsage]
    place = golden.seen if place is None else place
    assert golden.resync(Resync(3, place, 2**64 - 5))
    states.append(golden.state())

    dut = Track(config)
    operations = layouts.TrackerOperation
    init = {"kind": operations.INIT, "index": 3, "tls13": version == TLS13, "seq": stream.start_seq}
    items: list[int] = []

    async def operate(ctx):
        ends = 0
        while ends < len(requests):
            _, _, valid, ready, item = await ctx.tick().sample(dut.o.valid, dut.o.ready, dut.o.payload)
            if valid and ready and item.end:
                items.append(item.as_bits())
                ends += 1
        query = {"kind": operations.QUERY, "index": 3}
        resync = {"kind": operations.RESYNC, "index": 3, "seq": place, "record_number": 2**64 - 5}
        for operation in (query, resync, query):
            ctx.set(dut.operations.payload, operation)
            ctx.set(dut.operations.valid, 1)
            await ctx.tick().until(dut.operations.ready)
            ctx.set(dut.operations.valid, 0)

    answers, _ = run_streams(
        dut,
        [(dut.operations, [init]), (dut.i, requests), (dut.checksum, checksums)],
        [(dut.answers, 4), (dut.o, len(requests))],
        backpressure=0.2,
        seed=seed,
        processes=[buffer_of(dut, [p for _, p in segments], requests, width), operate],
    )
    got = []
    for bits in items:
        descriptor = data.Const(layouts.work(config), bits).descriptor
        got.append((Status(descriptor.status), descriptor.request_seq if descriptor.request else None))
    told = [data.Const(layouts.tracker_answer(), a) for a in answers]
    assert Result(told[2].result) is Result.OK
    return got, want, [told[1].state, told[3].state], states


@pytest.mark.default_cases(3)
@by_shape
@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("seed", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 12))])
def test_search_is_the_golden_search(seed, version, config):
    got, want, states, expected = played(seed, config, version)
    assert got == want
    assert Status.OUT_OF_SYNC in {status for status, _ in got} and any(place is not None for _, place in got)
    for state, golden in zip(states, expected, strict=True):
        for field in ("expected_seq", "seen_seq", "record_number", "remaining", "header_count"):
            assert getattr(state, field) == getattr(golden, field), field
        assert (bool(state.out_of_sync), bool(state.skipping)) == (golden.out_of_sync, golden.skipping)


@by_shape
@pytest.mark.parametrize("length", [1, 60])
def test_search_in_front_of_a_frame_of_another_connection(config, length):
    """A search that finds nothing leaves nothing behind: the next frame goes on inside a record of its own."""
    lost, other = Stream(TLS13, seed=1), Stream(TLS13, seed=2)
    wires = [stream.bulk([3000] * 12) for stream in (lost, other)]
    golden = [Connection(stream.add()) for stream in (lost, other)]
    at = 30_000  # beyond one maximum record
    plan = [(1, 0, 1000), (0, at, at + 100), (0, at + 100, at + 100 + length), (1, 1000, 3500), (1, 3500, 4000)]
    payloads = [wires[n][start:end] for n, start, end in plan]
    requests, want, base = [], [], 0
    for packet, ((n, start, _), payload) in enumerate(zip(plan, payloads, strict=True)):
        seq = ((lost, other)[n].start_seq + start) % 2**32
        requests.append({
            "base": base % (1 << config.pointer_bits), "packet": packet, "matched": 1, "handle": 2 + n, "seq": seq,
            "payload_offset": 54, "payload_length": len(payload),
        })  # fmt: skip
        base += -(-(54 + len(payload)) // config.width)
        want.append(golden[n].take_in(seq, payload).status)
    assert want[1:] == [Status.OUT_OF_SYNC, Status.OUT_OF_SYNC, Status.DECRYPTED, Status.DECRYPTED]
    inits = [
        {"kind": layouts.TrackerOperation.INIT, "index": 2 + n, "tls13": 1, "seq": stream.start_seq}
        for n, stream in ((1, other), (0, lost))  # each in front of its frames
    ]
    dut = Track(config)
    _, items = run_streams(
        dut,
        [(dut.operations, inits), (dut.i, requests), (dut.checksum, [Checksum.GOOD] * len(plan))],
        [(dut.answers, 2), (dut.o, len(plan) + 4)],
        processes=[buffer_of(dut, payloads, requests, config.width)],
    )
    ends = [work for bits in items if (work := data.Const(layouts.work(config), bits)).end]
    assert [Status(end.descriptor.status) for end in ends] == want
