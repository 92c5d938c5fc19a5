"""The receive device's RTL against the golden device under loss, by policy: loss, reordering, forged headers and tags,
answers of the stack, acknowledgements, connections deleted and opened anew."""

import itertools
import random

import pytest

from driver.netdev import NetDevice
from model.commands import Ack, Delete, Query
from model.contract import COUNTERS, INDEX_BITS, Result, RxPolicy, Status
from model.device import GoldenDevice
from sim.engine import Engine
from sim.schedule import Recorder
from sim.traffic import TLS12, TLS13, Stream
from tests.model.resync_rig import STORM_CONNECTIONS, storm
from tests.sim.loss_traffic import loss_events
from tests.sim.test_device import compare, connections, statuses

POLICIES = pytest.mark.parametrize("policy", [RxPolicy.FULL, pytest.param(RxPolicy.KERNEL, marks=pytest.mark.slow)])


def check(engine: Engine, seed: int, size: int = 60_000):
    """Deliveries and responses of the traffic of that seed."""
    rng = random.Random(seed)
    golden = GoldenDevice(engine.config.connections, engine.config.width, policy=engine.config.rx_policy)
    events, _, _ = loss_events(golden, rng, size=size)
    waits = {"idle": rng.random() / 2, "backpressure": rng.random() / 2} if seed % 2 else {}
    return compare(engine, events, seed=seed, **waits)


def orders(pieces: int) -> list[tuple[int, ...]]:
    """In which they may come, but for the one they were sent in."""
    return list(itertools.permutations(range(pieces)))[1:]


@POLICIES
@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("step", [41, pytest.param(1, marks=pytest.mark.slow)])
def test_every_order_of_three_segments_of_two_records(device_engine, version, policy, step):
    """Cut anywhere, come in any order; one connection a cut, one segment of each in turn."""
    engine = device_engine(16, rx_policy=policy)
    size = len(Stream(version).bulk([30, 20]))
    cases = list(itertools.product(itertools.combinations(range(1, size), 2), orders(3)))[::step]
    seen: set[Status] = set()
    n = engine.config.connections
    for start in range(0, len(cases), n):
        events, turns = [], []
        for (cuts, order), stream in zip(cases[start:], connections(n, version, 16), strict=False):
            frames = stream.frames(stream.bulk([30, 20]), cuts=cuts)
            # what follows in order shows what has become of the connection
            follows = stream.frames(stream.record(b"end"), start_seq=stream.records[-1].seq)
            events.append(stream.add())
            turns.append([*(frames[k] for k in order), *follows])
        events += [frame for turn in zip(*turns, strict=True) for frame in turn]
        deliveries, _ = compare(engine, events)
        seen |= set(statuses(deliveries))
    late = set() if policy is RxPolicy.FULL else {Status.RETRANSMISSION}
    assert seen == {Status.DECRYPTED, Status.WAIT, Status.GAP, Status.OUT_OF_SYNC} | late


@POLICIES
@pytest.mark.parametrize("seed", range(6))
def test_loss(device_engine, policy, seed):
    check(device_engine(16, rx_policy=policy), seed, 30_000)


@pytest.mark.slow
@POLICIES
@pytest.mark.parametrize("width", [16, 64])
def test_loss_at_length(device_engine, width, policy):
    seen: set[Status] = set()
    requests, proven = 0, set()
    for seed in range(100, 200):
        deliveries, _ = check(device_engine(width, rx_policy=policy), seed)
        seen |= set(statuses(deliveries))
        requests += sum(d.descriptor.request is not None for d in deliveries)
        proven |= {d.descriptor.status for d in deliveries if d.descriptor.proven}
    assert seen == set(Status) - {Status.BYPASS}
    assert requests > 100
    if policy is RxPolicy.FULL:
        assert proven >= {Status.WAIT, Status.DECRYPTED}
    else:
        assert not proven


@pytest.mark.parametrize("version", [TLS12, TLS13])
@POLICIES
def test_closed_until_opened_anew(device_engine, policy, version):
    """A failed tag closes its connection and no other; a new connection of the same handle index is open."""
    one, other, again = (Stream(version, seed=seed) for seed in (1, 2, 1))
    wire = bytearray(one.bulk([50, 100, 10, 300]))
    wire[120] ^= 1
    events = [one.add(), other.add(), *one.frames(bytes(wire), mss=70)]
    events += [*other.frames(other.bulk([100, 200]), mss=100), Query(0), Delete(0), *other.frames(other.bulk([9]))]
    # index 0 is given out last
    events += [Stream(seed=100 + n).add() for n in range(device_engine(16).config.connections - 2)]
    handle = 1 << INDEX_BITS
    events += [again.add(), *again.frames(again.bulk([70, 80]), mss=60), Query(handle), Ack(handle, again.next_seq)]
    deliveries, responses = compare(device_engine(16, rx_policy=policy), events)
    seen = statuses(deliveries)
    assert seen[:7].count(Status.AUTH_FAILED) == 1 and Status.CLOSED in seen[:7]
    assert Status.CLOSED not in seen[len(one.frames(bytes(wire), mss=70)) :]
    assert responses[-len(COUNTERS) - 3].result is Result.OK


@pytest.mark.slow
@pytest.mark.parametrize("policy", [RxPolicy.KERNEL, RxPolicy.FULL])
@pytest.mark.parametrize("width", [16, 64])
def test_resync_storm(device_engine, width, policy):
    """256 connections out of sync at once: the RTL asks and comes back as the golden device does, packet by packet."""
    engine = device_engine(width, rx_policy=policy)
    recorder = Recorder(GoldenDevice(STORM_CONNECTIONS, width, policy=policy))
    storm(NetDevice(recorder))
    entries = recorder.schedule.entries
    result = engine.run([e.event for e in entries], idle=0.1, backpressure=0.1, seed=30)
    assert result.deliveries == [e.output for e in entries if e.is_frame]
    assert result.responses == [e.output for e in entries if not e.is_frame]
    assert sum(d.descriptor.request is not None for d in result.deliveries) == STORM_CONNECTIONS
