"""The receive device's RTL against the golden device: the same events to both, every bit of every answer compared."""

import itertools
import random
from collections.abc import Iterable, Sequence

import pytest

from model.commands import Ack, Command, Delete, Delivery, Query, Read, Response, Resync, Seed, Tuple4
from model.contract import COUNTERS, READ_COUNTERS, READ_FREE, READ_POLICY, Result, Status
from model.device import GoldenDevice
from sim.engine import Engine
from sim.traffic import RST, SYN, TLS12, TLS13, Stream, tcp_frame

Event = bytes | Command


def golden_run(golden: GoldenDevice, events: Iterable[Event]) -> tuple[list[Delivery], list[Response]]:
    deliveries, responses = [], []
    for event in events:
        if isinstance(event, bytes):
            deliveries.append(golden.receive(event))
        else:
            responses.append(golden.command(event))
    return deliveries, responses


def compare(engine: Engine, events: Sequence[Event], **waits) -> tuple[list[Delivery], list[Response]]:
    """Run both from power-on, compare everything; return what came out."""
    golden = GoldenDevice(engine.config.connections, engine.config.width, policy=engine.config.rx_policy)
    # The counters are part of what must agree.
    counters = (Read(READ_COUNTERS + n) for n in range(len(COUNTERS)))
    events = [*events, *counters, Read(READ_FREE), Read(READ_POLICY)]
    deliveries, responses = golden_run(golden, events)
    engine.reset()
    result = engine.run(events, **waits)
    for number, (got, want) in enumerate(zip(result.deliveries, deliveries, strict=True)):
        assert got.descriptor == want.descriptor, f"frame {number}"
        if got.frame != want.frame:
            byte = next(k for k, (a, b) in enumerate(zip(got.frame, want.frame, strict=False)) if a != b)
            raise AssertionError(f"frame {number} byte {byte}: got {got.frame[byte]:02x}, want {want.frame[byte]:02x}")
    commands = [e for e in events if not isinstance(e, bytes)]
    for number, (command, got, want) in enumerate(zip(commands, result.responses, responses, strict=True)):
        assert got == want, f"command {number}, {command}"
    return deliveries, responses


def statuses(deliveries: Iterable[Delivery]) -> list[Status]:
    return [d.descriptor.status for d in deliveries]


@pytest.fixture(scope="module")
def engine(device_engine) -> Engine:
    return device_engine(16)


def connections(count: int, version: int, key_size: int) -> list[Stream]:
    """Streams with the same record of 64 bytes each, for one cut a connection."""
    return [
        Stream(
            version,
            seed=3,
            key_size=key_size,
            tuple4=Tuple4(bytes([10, 0, n >> 8, n & 255]), 1000 + n, b"\x0a\1\1\1", 443),
            start_seq=(2**32 - 40 + n) % 2**32,
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("key_size", [16, 32])
def test_every_cut_of_a_record_into_two_and_three_segments(engine, version, key_size):
    size = len(Stream(version).record(bytes(64)))
    cuts = [(a,) for a in range(1, size)] + list(itertools.combinations(range(1, size), 2))
    if key_size == 32:
        cuts = cuts[:: 7 if version == TLS12 else 5]
    n = engine.config.connections
    for start in range(0, len(cuts), n):
        part = cuts[start : start + n]
        streams = connections(len(part), version, key_size)
        frames = [s.frames(s.record(bytes(range(64))), cuts=c) for s, c in zip(streams, part, strict=True)]
        events: list[Event] = [s.add() for s in streams]
        # One segment of each connection in turn, so that every frame changes the key.
        for round_ in itertools.zip_longest(*frames):
            events += [f for f in round_ if f]
        deliveries, _ = compare(engine, events)
        assert set(statuses(deliveries)) == {Status.DECRYPTED}


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_every_byte_of_a_record_flipped(engine, version):
    """The packet that ends the record leaves as it was on the wire, unless the framing itself is gone."""
    size = len(Stream(version).record(bytes(64)))
    streams = connections(size, version, 16)
    events: list[Event] = [s.add() for s in streams]
    for at, stream in enumerate(streams):
        wire = bytearray(stream.record(bytes(range(64))))
        wire[at] ^= 1 << at % 8
        events += stream.frames(bytes(wire), cuts=[40])
    deliveries, _ = compare(engine, events)
    ends = deliveries[1::2]
    frames = [e for e in events if isinstance(e, bytes)][1::2]
    for at, (delivery, frame) in enumerate(zip(ends, frames, strict=True)):
        if at in (3, 4):  # with another length the record ends elsewhere
            continue
        assert delivery.frame == frame and delivery.descriptor.status is not Status.DECRYPTED
    assert statuses(ends).count(Status.AUTH_FAILED) >= size - 4


def impaired(rng: random.Random, stream: Stream, wire: bytes, frames: int) -> list[bytes]:
    """The stream's frames, cut at random, some lost, late, twice, shifted, corrupted or aimed at corner cases."""
    cuts, at = [], 0
    while at < len(wire):
        at += rng.choice([1, 3, 7, 20, 64, 300, 1000, 1448])
        cuts.append(at)
    out: list[bytes] = []
    held: list[tuple[int, bytes]] = []
    options = {
        "vlans": rng.choice([(), ((0x8100, 5),), ((0x88A8, 1), (0x8100, 2))]),
        "tcp_options": bytes(4 * rng.randrange(11)),
        "trailer": rng.choice([b"", b"", bytes(7)]),
    }
    if len(stream.tuple4.remote_address) == 4:
        options["ip_options"] = bytes(4 * rng.randrange(6))
    for seq, payload in stream.segments(wire, cuts)[:frames]:
        x = rng.random()
        frame = stream.frame(seq, payload, **options)
        if x < 0.04:
            continue
        if x < 0.12:
            held.append((rng.randint(1, 4), frame))
            continue
        if x < 0.15:
            frame = stream.frame(seq, payload, bad_tcp=True, **options)
        elif x < 0.18:
            bad = bytearray(payload)
            bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
            frame = stream.frame(seq, bytes(bad), **options)
        elif x < 0.20:
            frame = frame[: rng.randrange(14, len(frame))]
        elif x < 0.22:
            frame = stream.frame((seq - rng.randrange(1, 50)) % 2**32, payload, **options)
        elif x < 0.24:
            out.append(frame)
        elif x < 0.25:
            frame = stream.frame(seq, payload, flags=rng.choice([SYN, RST, 1 | 16]), **options)
        elif x < 0.26:
            out.append(stream.frame(seq, b"", **options))
        elif x < 0.27:
            out.append(rng.randbytes(rng.randrange(14, 200)))
        out.append(frame)
        held = [(n - 1, f) for n, f in held]
        out += [f for n, f in held if n <= 0]
        held = [(n, f) for n, f in held if n > 0]
    return out + [f for _, f in held]


def adversarial_events(rng: random.Random, connections: int) -> list[Event]:
    streams: list[Stream] = []
    queues: list[list[bytes]] = []
    for _ in range(connections):
        stream = Stream(
            rng.choice([TLS12, TLS13]),
            seed=rng.randrange(10**6),
            key_size=rng.choice([16, 32]),
            ipv6=rng.random() < 0.4,
            start_seq=rng.choice([rng.randrange(2**32), 2**32 - 500]),
            record_number=rng.choice([0, 5, 2**32 - 2, 2**64 - 3]),
        )
        size = rng.choice([(0, 1, 5), (10, 64, 300), (1000, 2000), (16384,)])
        wire = stream.bulk([rng.choice(size) for _ in range(3 if size == (16384,) else 12)])
        if rng.random() < 0.2:
            wire += rng.randbytes(400)  # what is no record header
        streams.append(stream)
        queues.append(impaired(rng, stream, wire, 60))
    events: list[Event] = []
    handles: list[int] = []
    for number, stream in enumerate(streams):
        events.append(stream.add())
        handles.append(number)
    while any(queues):
        k = rng.randrange(len(queues))
        if queues[k]:
            events.append(queues[k].pop(0))
        x = rng.random()
        if x < 0.02:
            record = rng.choice(streams[k].records)
            events.append(Resync(handles[k], (record.seq + rng.choice([0, 0, 1])) % 2**32, record.number))
        elif x < 0.04:
            events.append(Query(rng.choice([handles[k], handles[k] + (1 << 16), 60000])))
        elif x < 0.05:
            events.append(Ack(rng.choice([handles[k], 60000]), rng.choice(streams[k].records).seq))
        elif x < 0.055:
            events += [Delete(handles[k]), Query(handles[k])]
    return events + [Query(h) for h in handles]


@pytest.mark.parametrize("seed", range(12))
def test_adversarial_traffic(engine, seed):
    rng = random.Random(seed)
    waits = {"idle": 0.2, "backpressure": 0.3} if seed % 3 == 2 else {}
    compare(engine, adversarial_events(rng, rng.choice([1, 3, 8])), seed=seed, **waits)


@pytest.mark.slow
@pytest.mark.parametrize("width", [16, 64])
def test_adversarial_traffic_at_length(device_engine, width):
    seen: set[Status] = set()
    for seed in range(100, 220):
        rng = random.Random(seed)
        waits = {"idle": rng.random() / 2, "backpressure": rng.random() / 2} if seed % 2 else {}
        deliveries, _ = compare(device_engine(width), adversarial_events(rng, 6), seed=seed, **waits)
        seen |= set(statuses(deliveries))
    assert seen == set(Status), set(Status) - seen


def test_table_full_collisions_and_handles_used_again(engine):
    n = engine.config.connections
    streams = [
        Stream(TLS13, seed=n, tuple4=Tuple4(bytes([10, 9, k >> 8, k & 255]), 7, b"\x0a\0\0\1", 443))
        for k in range(n + 1)
    ]
    record = [s.frame(s.start_seq, s.record(b"abc")) for s in streams]
    colliding = [s.add() for s in streams[:20]]
    _, responses = compare(
        engine,
        [
            *(s.add() for s in streams),  # one more than fits
            streams[0].add(),
            Delete(0),
            Delete(0),
            Delete(5),
            streams[n].add(),  # takes index 0 in generation 1
            record[n],
            record[0],
            record[1],
            Seed(0),  # refused: the table is not empty
            *(Delete(k) for k in range(1, n)),
            Delete(1 << 16),
            Seed(0),  # every hash is the same now: 16 places
            *colliding,
            *record[:20],
            Query(1 << 16),
        ],
    )
    results = [r.result for r in responses]
    assert results[n] is Result.NO_SPACE and results[n + 1] is Result.NO_SPACE
    assert results.count(Result.NO_SPACE) >= 2 + 4


def test_one_bit_between_two_flows(engine):
    base = Tuple4(bytes(range(16)), 0x1234, bytes(range(16, 32)), 443)
    near = [
        Tuple4(bytes([*base.remote_address[:-1], 14]), base.remote_port, base.local_address, base.local_port),
        Tuple4(base.remote_address, base.remote_port, bytes([17, *base.local_address[1:]]), base.local_port),
        Tuple4(base.remote_address, 0x1235, base.local_address, base.local_port),
        Tuple4(base.remote_address, base.remote_port, base.local_address, 442),
    ]
    stream = Stream(TLS13, tuple4=base, seed=1)
    wire = stream.record(b"x" * 100)
    frames = [tcp_frame(t, stream.start_seq, wire) for t in (*near, base)]
    deliveries, _ = compare(engine, [Seed(0), stream.add(), *frames])
    assert statuses(deliveries) == [Status.BYPASS] * 4 + [Status.DECRYPTED]


def test_commands_beside_traffic(engine):
    """ADD, RESYNC, QUERY and DEL while frames of other connections pass: neither side disturbs the other."""
    rng = random.Random(4)
    streams = [Stream(TLS12, seed=k, key_size=32) for k in range(4)]
    others = [Stream(TLS13, seed=50 + k) for k in range(30)]
    frames = [s.frames(s.bulk([500] * 40)) for s in streams]
    events: list[Event] = [s.add() for s in streams]
    traffic = [f for group in zip(*frames, strict=True) for f in group]
    golden = GoldenDevice(engine.config.connections)
    for event in events:
        golden.command(event)  # type: ignore[arg-type]
    want = [golden.receive(f) for f in traffic]
    mixed: list[Event] = []
    for k, frame in enumerate(traffic):
        mixed.append(frame)
        if k < len(others):
            mixed.append(others[k].add())
            if k >= 4 and rng.random() < 0.7:
                mixed.append(Delete(k))
    engine.reset()
    engine.run(events)
    result = engine.run(mixed, ordered=False, backpressure=0.2, seed=4)
    assert result.deliveries == want
    assert all(r.result in (Result.OK, Result.STALE_HANDLE) for r in result.responses)


def test_frames_that_meet_their_install_pass_until_it_is_done(engine):
    """Nothing of the connection is found before its powers of H are there; from then on everything is."""
    stream = Stream(TLS13, seed=9)
    (frame,) = stream.frames(stream.record(b"x" * 20))
    frames = [frame] * 40
    golden = GoldenDevice()
    before = [golden.receive(f) for f in frames]
    golden.command(stream.add())
    after = [golden.receive(f) for f in frames]
    engine.reset()
    result = engine.run([stream.add(), *frames], ordered=False)
    done = statuses(result.deliveries).index(Status.DECRYPTED)
    assert 0 < done < len(frames) - 1
    assert result.deliveries == before[:done] + after[: len(frames) - done]


@pytest.mark.parametrize("sizes", [[16384] * 3, [1] * 1800], ids=["large records", "frames wait for the tracker"])
def test_deleted_under_traffic_no_frame_is_half_decrypted(engine, sizes):
    """DEL while the connection's own frames are inside: each leaves decrypted rightly or as it came, in order."""
    stream = Stream(TLS13, seed=8)
    frames = stream.frames(stream.bulk(sizes))
    golden = GoldenDevice()
    golden.command(stream.add())
    plain = [golden.receive(f).frame for f in frames]
    engine.reset()
    handle = engine.command(stream.add()).handle
    result = engine.run([*frames[:20], Delete(handle), *frames[20:]], ordered=False)
    left = [d.frame for d in result.deliveries]
    gone = next(k for k, f in enumerate(left) if f == frames[k])
    assert 0 < gone <= 21
    assert left == plain[:gone] + frames[gone:]
    assert all(d.descriptor.status is Status.BYPASS for d in result.deliveries[gone:])


def test_oversized_and_endless_frames_pass(engine):
    """Frames longer than the packet buffer: not handled, not cut, nothing stalls."""
    stream = Stream(TLS13, seed=2)
    wire = stream.record(bytes(16384))
    rng = random.Random(1)
    jumbo = stream.frame(stream.start_seq, wire[:9000])
    over = stream.frame(stream.start_seq, wire[:12000])
    events = [stream.add(), rng.randbytes(40000), over, jumbo, over + bytes(30000), stream.frame(9, b"")]
    deliveries, _ = compare(engine, events, backpressure=0.1)
    assert statuses(deliveries)[2] is Status.DECRYPTED
