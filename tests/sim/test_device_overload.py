"""The whole device with overload raw: records that its crypto is too slow for, beside frames of no connection."""

import random
from dataclasses import replace

import pytest

from hw.config import Config
from model.commands import Read
from model.contract import COUNTERS, READ_COUNTERS, RxPolicy, Status
from model.device import GoldenDevice
from sim.bench import beats, interleaved, segments_of
from sim.bench import connection as stream_of
from sim.engine import Engine, make_engine

pytestmark = pytest.mark.slow  # a policy is a model to build

FULL = Config(width=16, connections=8, overload="raw")
PUBLISHED = replace(FULL, rx_policy=RxPolicy.PUBLISHED)
SHAPES = [FULL, PUBLISHED, replace(PUBLISHED, sbox="bram")]
READS = [Read(READ_COUNTERS + n) for n in range(len(COUNTERS))]


@pytest.fixture(scope="module", params=SHAPES, ids=["full", "published", "late"])
def engine(request):
    with make_engine("auto", request.param) as engine:
        yield engine


def golden_follows(engine: Engine, adds, events, result) -> list[Status]:
    """The golden device, told which frames found the crypto behind, says the same of everything."""
    golden = GoldenDevice(engine.config.connections, engine.config.width, policy=engine.config.rx_policy)
    for add in adds:
        golden.command(add)
    statuses = []
    for n, (frame, delivery) in enumerate(zip(events, result.deliveries, strict=True)):
        assert golden.receive(frame, delivery.descriptor.status is Status.OVERLOAD) == delivery, n
        statuses.append(delivery.descriptor.status)
    assert [golden.command(read) for read in READS] == engine.run(READS).responses
    return statuses


def test_every_beat_is_taken(engine):
    engine.reset()
    tiny, other = stream_of(1, 1), stream_of(0, 1)
    engine.run([tiny.add()])
    lots = segments_of(tiny, 16, 1448, 160)
    frames = list(interleaved([lots[::2], lots[1::2], segments_of(other, 5000, 1448, 80)]))
    result = engine.run(frames)
    statuses = golden_follows(engine, [tiny.add()], frames, result)
    assert {Status.DECRYPTED, Status.OVERLOAD, Status.BYPASS} <= set(statuses)
    cycles = int(result.last_in[-1] - result.first_in[0]) + 1
    assert cycles <= 1.01 * sum(-(-len(frame) // engine.config.width) for frame in frames)
    waits = (result.first_out - result.first_in)[2::3] - beats(engine.config.width, 1448)
    assert max(waits) < (350 if engine.config.late else 130)


@pytest.mark.parametrize("seed", range(4))
def test_random_records_and_waits(engine, seed):
    """Three connections of any records, cut anywhere, and one that is not offloaded."""
    engine.reset()
    rng = random.Random(seed)
    streams = [stream_of(n, seed) for n in range(4)]
    adds = [stream.add() for stream in streams[1:]]
    engine.run(adds)
    queues = []
    for n, stream in enumerate(streams):
        sizes = [(16384,), (0, 1, 5, 16), (64, 300), (16, 9000)][n]
        wire = stream.bulk([rng.choice(sizes) for _ in range(900)])[:60_000]
        cuts = sorted(rng.sample(range(1, len(wire)), 90))
        queues.append(stream.frames(wire, cuts=cuts))
    frames = list(interleaved(queues))
    result = engine.run(frames, idle=0.1 * (seed % 2), backpressure=0.1 * (seed // 2), seed=seed)
    golden_follows(engine, adds, frames, result)


def test_host_that_is_slow(engine):
    """Frames wait for the host, not for the crypto: nothing is given up."""
    engine.reset()
    stream = stream_of(1, 1)
    engine.run([stream.add()])
    frames = segments_of(stream, 16384, 1448, 150)
    for backpressure in (0.7, 0.0):
        result = engine.run(frames[:75], backpressure=backpressure)
        frames = frames[75:]
        assert {d.descriptor.status for d in result.deliveries} == {Status.DECRYPTED}
