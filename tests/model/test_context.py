"""The context cache of the cycle model: against a cache of dicts, and where reasoning says what comes out."""

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.cycles import ContextCache, Memory, rooms_of, simulate
from model.cycles.context import MEMORIES, PARTS, lru
from model.cycles.population import population, zipf
from model.cycles.rooms import INSIDE

MEMORY = Memory(latency=100, bandwidth=64, efficiency=1, burst=64)


def cache(entries: int, **other) -> ContextCache:
    """Cycles of 1 ns; a miss moves 256 + 192 bytes, 7 cycles."""
    given = {"memory": MEMORY, "read": 250, "written": 192, "cycle": 1.0, "ways": min(8, entries)}
    return ContextCache(entries, **(given | other))


def by_dicts(connections: list[int], sets: int, ways: int) -> list[tuple[bool, bool, int]]:
    """Hit, evicts, and how far back the victim was used."""
    lines: list[OrderedDict[int, int]] = [OrderedDict() for _ in range(sets)]
    out = []
    for now, connection in enumerate(connections):
        line = lines[connection % sets]
        hit, evicts, back = connection in line, False, 0
        if not hit and len(line) == ways:
            evicts = True
            _, last = line.popitem(last=False)
            back = now - last if now - last < INSIDE else 0
        line[connection] = now
        line.move_to_end(connection)
        out.append((hit, evicts, back))
    return out


@settings(max_examples=150)
@given(st.lists(st.integers(0, 23), max_size=120), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 3, 8]))
def test_as_a_cache_of_dicts(connections: list[int], sets: int, ways: int):
    found = lru(np.array(connections, np.int64), sets, ways)
    assert list(zip(found.hit, found.evicts, found.victim, strict=True)) == by_dicts(connections, sets, ways)


@pytest.mark.parametrize("ways", [1, 8, 256])
def test_as_a_cache_of_dicts_at_length(ways: int):
    connection = zipf(2000, 0.9, 20_000, np.random.default_rng(ways))
    found = lru(connection, 256 // ways, ways)
    assert list(zip(found.hit, found.evicts, found.victim, strict=True)) == by_dicts(
        connection.tolist(), 256 // ways, ways
    )


def test_packets_that_are_not_offloaded_do_not_count():
    """Connections 7, none, 8, 7 in a cache of one: the victim of 8 was used two packets back, that of 7 one."""
    packets = population(np.array([7, 7, 8, 7]), 100, 1000, np.random.default_rng(1))
    packets.matched[1] = False
    uses = cache(1).uses(packets)
    assert uses.used.tolist() == [True, False, True, True] and uses.miss.tolist() == [True, False, True, True]
    assert uses.evicts.tolist() == [False, False, True, True] and uses.victim.tolist() == [0, 0, 2, 1]
    assert (uses.hit_rate, uses.read_bytes, uses.written_bytes) == (0, 3 * 256, 2 * 192)


@pytest.mark.parametrize("ways", [1, 4, 64])
def test_no_miss_behind_the_first_if_all_fit(ways: int):
    connection = np.random.default_rng(2).permutation(np.repeat(np.arange(64), 40))
    packets = population(connection, 300, 1000, np.random.default_rng(2))
    uses = cache(64, ways=ways).uses(packets)
    assert uses.miss.sum() == 64 and not uses.evicts.any()
    assert np.array_equal(np.flatnonzero(uses.miss), np.sort(np.unique(connection, return_index=True)[1]))
    assert not cache(64, ways=ways).uses(packets, np.arange(64)).miss.any()


def timings(connection, used: ContextCache, segment: int = 1448, before=None):
    """Without a cache, and with one."""
    packets = population(np.asarray(connection), segment, 16384, np.random.default_rng(3))
    rooms = rooms_of("rx", 64)
    return simulate(packets, rooms), simulate(packets, rooms, used.uses(packets, before))


def test_one_connection_waits_once():
    """Its first packet: there when the flow table has found it, 4 cycles of 256 bytes and 100 later."""
    alone, cached = timings(np.zeros(300, np.int64), cache(4))
    assert cached.stalls["context"][0] == 104 - 2 and not cached.stalls["context"][1:].any()
    assert 0 < cached.last_out[-1] - alone.last_out[-1] <= 102


def test_hits_take_nothing():
    """Only the queue in front of the tracker is longer than in a device without a cache, which packets of any size do
    not mind."""
    connection = np.arange(500) % 16
    alone, cached = timings(connection, cache(16), before=np.arange(16))
    assert np.array_equal(alone.last_out, cached.last_out)
    assert not cached.stalls["context"].any()


def spacing(timing) -> float:
    return float(np.diff(timing.last_out)[100:].mean())


def test_latency_is_hidden_by_packets_that_wait():
    """Every packet misses, and takes 24 beats: those that wait are worth more than the 104 cycles of a fetch."""
    every = np.arange(600)
    alone, cached = timings(every, cache(8))
    assert spacing(cached) == pytest.approx(spacing(alone), rel=0.01)


def test_one_miss_at_a_time():
    """Each takes 4 cycles for 256 bytes and a latency of 100; the memory is free again by then."""
    _, cached = timings(np.arange(600), cache(8, misses=1))
    assert spacing(cached) == pytest.approx(104, abs=0.5)
    _, four = timings(np.arange(600), cache(8, misses=4))
    assert spacing(four) == pytest.approx(104 / 4, rel=0.05)


def test_one_packet_that_waits():
    """One in front of the tracker: nothing is fetched ahead but while the tracker is at the one before."""
    _, one = timings(np.arange(600), cache(8, waiting=1))
    _, two = timings(np.arange(600), cache(8, waiting=2))
    _, many = timings(np.arange(600), cache(8))
    assert spacing(many) < spacing(two) < spacing(one) <= 104 + 20
    assert spacing(two) == pytest.approx(spacing(one) / 2, rel=0.1)


@pytest.mark.parametrize("bandwidth, read, written", [(8, 250, 192), (16, 1000, 1000), (5, 60, 1)])
def test_bandwidth_is_the_limit(bandwidth: int, read: int, written: int):
    """Every packet moves a context in and one out; then the bytes of both over the bandwidth is the packets' pace."""
    memory = Memory(latency=100, bandwidth=bandwidth, efficiency=1, burst=64)
    used = cache(8, memory=memory, read=read, written=written)
    _, cached = timings(np.arange(800), used)
    moved = memory.moved(read) + memory.moved(written)
    assert spacing(cached) == pytest.approx(max(moved / bandwidth, 24), rel=0.02)
    share = used.parts(read) / PARTS * bandwidth
    assert share == pytest.approx(memory.moved(read), rel=0.01)


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from([16, 64]), st.sampled_from(["rx", "tx"]))
def test_a_cache_is_never_faster_and_order_stays(seed: int, width: int, direction: str):
    rng = np.random.default_rng(seed)
    packets = population(zipf(50, 1.0, 200, rng), int(rng.choice([100, 1448])), 1000, rng)
    packets.matched &= rng.random(200) < 0.8
    rooms = rooms_of(direction, width)
    ends = []
    for entries, latency in ((64, 0), (64, 100), (16, 100), (16, 400)):
        memory = Memory(latency=latency, bandwidth=50, efficiency=1, burst=32)
        uses = cache(entries, memory=memory).uses(packets)
        timing = simulate(packets, rooms, uses)
        assert np.all(timing.first_out[1:] > timing.last_out[:-1])
        assert all(np.all(waited >= 0) for waited in timing.stalls.values())
        entered = np.searchsorted(timing.last_out, timing.first_in)
        assert np.all(np.arange(200) - entered <= INSIDE + rooms.lead_beats)
        ends.append(timing.last_out)
    assert all(np.all(a <= b) for a, b in ((ends[0], ends[1]), (ends[2], ends[3])))


@pytest.mark.parametrize("bandwidth", [6, 20, 460])
def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch, bandwidth: int):
    rng = np.random.default_rng(4)
    packets = population(zipf(4096, 0.8, 6000, rng), 1448, 16384, rng)
    memory = Memory(latency=150, bandwidth=bandwidth, efficiency=1, burst=32)
    uses = cache(512, memory=memory, waiting=12).uses(packets)
    whole = simulate(packets, rooms_of("rx", 64), uses)
    monkeypatch.setattr("model.cycles.chain.BLOCK", 500)
    cut = simulate(packets, rooms_of("rx", 64), uses)
    assert np.array_equal(whole.last_out, cut.last_out)
    assert all(np.array_equal(whole.stalls[room], cut.stalls[room]) for room in whole.stalls)


def test_zipf():
    drawn = zipf(1000, 1.0, 200_000, np.random.default_rng(5))
    counts = np.bincount(drawn, minlength=1000)
    harmonic = (1 / np.arange(1, 1001)).sum()
    assert counts[0] / 200_000 == pytest.approx(1 / harmonic, rel=0.02)
    assert counts[9] / counts[0] == pytest.approx(0.1, rel=0.1)
    even = np.bincount(zipf(8, 0, 80_000, np.random.default_rng(5)))
    assert even.min() > 9_500
    trains = zipf(1 << 20, 1.0, 4000, np.random.default_rng(5), burst=4)
    assert np.array_equal(trains[::4], trains[3::4]) and len(trains) == 4000


def test_population():
    """Two connections in turn: each stream goes on, and each packet is full of records but for their headers."""
    packets = population(np.array([5, 900, 5, 900]), 1448, 1024, np.random.default_rng(6))
    assert packets.matched.all() and packets.connection.tolist() == [5, 900, 5, 900]
    held = np.zeros(4, np.int64)
    np.add.at(held, packets.frame, packets.count)
    assert np.all((held > 1448 - 3 * 5) & (held < 1448))


@pytest.mark.parametrize("wrong", [{"entries": 10, "ways": 4}, {"entries": 0}, {"misses": 0}, {"waiting": 0}])
def test_what_cannot_be(wrong):
    given = {"entries": 8, "memory": MEMORIES["hbm2"], "read": 1, "written": 1, "cycle": 1.0} | wrong
    with pytest.raises(ValueError):
        ContextCache(**given)
