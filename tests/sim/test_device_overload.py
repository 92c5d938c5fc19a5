"""The whole device with overload raw: records that its crypto is too slow for, beside frames of no connection."""

import random
from dataclasses import replace

import pytest

from hw.config import Config
from model.commands import Query, Read, Resync
from model.contract import COUNTERS, READ_COUNTERS, RxPolicy, Status
from model.device import GoldenDevice
from sim.bench import beats, interleaved, segments_of
from sim.bench import connection as stream_of
from sim.engine import Engine, make_engine

pytestmark = pytest.mark.slow  # a shape is a model to build

FULL = Config(width=16, connections=8, overload="raw")
PUBLISHED = replace(FULL, rx_policy=RxPolicy.PUBLISHED)
SHAPES = {
    "full": FULL,
    "kernel": replace(FULL, rx_policy=RxPolicy.KERNEL),
    "wide": replace(FULL, width=64),
    "published": PUBLISHED,
    "published, wide": replace(PUBLISHED, width=64),
    "late": replace(PUBLISHED, sbox="bram"),
}
READS = [Read(READ_COUNTERS + n) for n in range(len(COUNTERS))]


@pytest.fixture(scope="module", params=SHAPES.values(), ids=SHAPES)
def engine(request):
    with make_engine("auto", request.param) as engine:
        yield engine


class Follower:
    """The golden device, told where frames were given up, says the same of everything.

    Members
    -------
    statuses : list[Status]
    result : BatchResult      of the last frames
    """

    def __init__(self, engine: Engine, streams, **waits):
        engine.reset()
        self.engine, self.waits, self.streams = engine, waits, streams
        config = engine.config
        self.golden = GoldenDevice(config.connections, config.width, policy=config.rx_policy)
        self.handles = [response.handle for response in self.command([s.add() for s in streams])]
        self.statuses: list[Status] = []

    def command(self, commands):
        expected = [self.golden.command(command) for command in commands]
        assert self.engine.run(commands).responses == expected
        return expected

    def frames(self, frames) -> list[tuple[int, int]]:
        """What the device asks: handle and place."""
        self.result = self.engine.run(frames, **self.waits)
        asked = []
        for n, (frame, delivery) in enumerate(zip(frames, self.result.deliveries, strict=True)):
            descriptor = delivery.descriptor
            assert self.golden.receive(frame, descriptor.given_up_at) == delivery, n
            self.statuses.append(descriptor.status)
            if descriptor.request is not None:
                asked.append((descriptor.handle, descriptor.request))
        self.command([*READS, *(Query(handle) for handle in self.handles)])
        return asked

    def answer(self, asked) -> None:
        """As a host does that has read on."""
        for handle, place in asked:
            stream = self.streams[self.handles.index(handle)]
            if (number := next((r.number for r in stream.records if r.seq == place), None)) is not None:
                self.command([Resync(handle, place, number)])


@pytest.mark.parametrize("record", [16, 64])
def test_every_beat_is_taken(engine, record):
    tiny, other = stream_of(1, 1), stream_of(0, 1)
    lots = segments_of(tiny, record, 1448, 240)
    frames = list(interleaved([lots[::3], lots[1::3], lots[2::3], segments_of(other, 5000, 1448, 80)]))
    device = Follower(engine, [tiny])
    device.frames(frames)
    assert {Status.OVERLOAD, Status.BYPASS} <= set(device.statuses)
    result, width = device.result, engine.config.width
    cycles = int(result.last_in[-1] - result.first_in[0]) + 1
    waits = (result.first_out - result.first_in)[3::4] - beats(width, 1448)
    if not engine.config.late:  # there a search that has begun goes on
        assert cycles <= 1.01 * sum(-(-len(frame) // width) for frame in frames)
        assert max(waits) <= 62


@pytest.mark.parametrize("seed", range(4))
def test_random_records_and_waits(engine, seed):
    """Three connections of any records, cut anywhere, and one that is not offloaded; the stack answers."""
    rng = random.Random(seed)
    streams = [stream_of(n, seed) for n in range(4)]
    device = Follower(engine, streams[1:], idle=0.1 * (seed % 2), backpressure=0.1 * (seed // 2), seed=seed)
    queues = []
    for n, stream in enumerate(streams):
        sizes = [(16384,), (0, 1, 5, 16), (64, 300), (16, 9000)][n]
        wire = stream.bulk([rng.choice(sizes) for _ in range(900)])[:100_000]
        cuts = sorted(rng.sample(range(1, len(wire)), 150))
        queues.append(stream.frames(wire, cuts=cuts))
    frames = list(interleaved(queues))
    for at in range(0, len(frames), 60):
        device.answer(device.frames(frames[at : at + 60]))
    assert {Status.DECRYPTED, Status.OVERLOAD} <= set(device.statuses)


@pytest.mark.parametrize("segment,record", [(64, 16384), (256, 16384), (1448, 16384), (9000, 16384), (1448, 1024)])
def test_what_the_crypto_keeps_up_with(engine, segment, record):
    """On a full bus, three connections in turn: nothing is given up."""
    streams = [stream_of(n, 1) for n in (1, 2, 3)]
    device = Follower(engine, streams)
    device.frames([*interleaved([segments_of(stream, record, segment, 60) for stream in streams])])
    assert set(device.statuses) == {Status.DECRYPTED}


def test_host_that_is_slow(engine):
    """Frames wait for the host, not for the crypto: nothing is given up."""
    stream = stream_of(1, 1)
    wire = stream.bulk([16384] * 9 + [64] * 900 + [16384] * 9)
    frames = stream.frames(wire, cuts=[*range(1448, len(wire), 1448)])
    device = Follower(engine, [stream], backpressure=0.7)
    device.frames(frames[:-60])
    device.waits = {}
    device.frames(frames[-60:])
    assert set(device.statuses) == {Status.DECRYPTED}


def test_forged_records(engine):
    """A frame that is given up may hold one; under `kernel` and `full` it closes the connection."""
    forged, other = stream_of(1, 1), stream_of(2, 1)
    device = Follower(engine, [forged, other])
    wire = bytearray(forged.bulk([16] * 3000))
    for record in forged.records[::7]:
        wire[(record.seq - forged.start_seq) % 2**32 + 9] ^= 1
    queues = [forged.frames(bytes(wire), cuts=[*range(1448, len(wire), 1448)]), segments_of(other, 64, 1448, 30)]
    device.frames([*interleaved(queues)])
    assert Status.OVERLOAD in device.statuses
