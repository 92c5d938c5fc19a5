"""The cycle model by itself: cases worked by hand, and what holds for any packets."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.cycles import Packets, packets_of, rooms_of, simulate
from model.cycles.costs import Costs, Hashed, cost_blocks, costs_of
from model.cycles.packets import Records
from model.cycles.rooms import INSIDE

WIDTHS = (16, 32, 64)
SOONER = 6
"""Cycles by which a packet may leave earlier because another came later."""


def test_one_packet_that_is_passed_by():
    """W=16, 66 bytes of headers, no payload: 5 beats, on the bus 0 to 4; the window is full behind the fourth, headers
    come 8 later, at 12. The checksum works off 2 beats a cycle from there and is ready 8 later, at 22. The aligner has
    the end 2 later, at 24; AES and the overlay take 3 + 17 + 1, its queue 2: 47. A cycle more to the way out."""
    timing = simulate(Packets.plain([66], [0]), rooms_of("rx", 16))
    assert (timing.first_in[0], timing.last_in[0]) == (0, 4)
    assert (timing.first_out[0], timing.last_out[0]) == (48, 52)


def test_one_packet_with_a_fragment():
    """W=16, 1448 bytes of a record of 16 KB: header at the frame's begin. Headers at 12, connection found at 20, its
    state there at 22; the tracker walks at 25, has the header at 26, the fragment leaves at 27; the aligner steps from
    29 over 92 beats of blocks to 120; hash, placing and verdict are at 134, the way out begins at 135."""
    timing = simulate(packets_of(1448, 16384, 1), rooms_of("rx", 16))
    assert timing.last_in[0] == 94
    assert (timing.first_out[0], timing.last_out[0]) == (136, 230)


def test_the_bus_is_the_limit():
    timing = simulate(packets_of(1448, 16384, 400), rooms_of("rx", 16))
    each = np.diff(timing.last_out)
    assert each.min() == 95 and each.mean() == pytest.approx(95, rel=0.001)


def test_tiny_records_hold_the_aligner():
    """W=64: records of 64 bytes are 7 blocks, two aligned beats each; there is one for each 86 bytes, and parts of
    two more at a packet's ends. The tracker takes two cycles each, so it is not slower."""
    timing = simulate(packets_of(1448, 64, 400), rooms_of("rx", 64))
    each = np.diff(timing.last_out)[40:].mean()
    assert 2 * 1448 / 86 < each < 2 * (1448 / 86 + 2)
    waits = {room: int(waited.sum()) for room, waited in timing.stalls.items()}
    assert waits["release"] < waits["track"] + waits["align"] + waits["buffer"]


@pytest.mark.parametrize("direction", ["rx", "tx"])
def test_short_fragments_share_the_multipliers(direction: str):
    """W=64, segments of 64 bytes: a fragment takes a product for each digit of its exponent, and powers wait for one
    another, which loses some cycles. With more multipliers the bus is the limit."""
    packets = packets_of(64, 16384, 2000)
    _, hashed = costs_of(packets, rooms_of(direction, 64))
    one, many = (replace(rooms_of(direction, 64), multipliers=n) for n in (1, 4))
    each = np.diff(simulate(packets, one).last_out)[100:].mean()
    assert hashed.digits.mean() <= each < hashed.digits.mean() + 1
    assert np.diff(simulate(packets, many).last_out)[100:].mean() == pytest.approx(3, rel=0.02)


def test_records_are_cut_at_packets():
    packets = Packets.plain([66, 66], [20, 100])
    at = np.zeros(1, np.int64)
    packets.hold(np.zeros(2, np.int64), np.array([0, 20]), Records(at, at, at + 5, at + 60))
    assert packets.frame.tolist() == [0, 1]
    assert packets.header_end.tolist() == [71, 0]
    assert packets.position.tolist() == [71, 66] and packets.count.tolist() == [15, 61]
    assert packets.first.tolist() == [16, 31] and packets.matched.all()


def test_a_header_is_cut():
    packets = Packets.plain([66, 66], [3, 78])
    at = np.zeros(1, np.int64)
    packets.hold(np.zeros(2, np.int64), np.array([0, 3]), Records(at, at, at + 5, at + 60))
    assert packets.header_end.tolist() == [69, 68] and packets.whole.tolist() == [False, True]
    assert packets.count.tolist() == [0, 76]


def mixed(seed: int, count: int) -> Packets:
    """Packets of 1 to 9000 bytes over 5 connections, some of which are not offloaded."""
    rng = np.random.default_rng(seed)
    length = np.where(rng.random(count) < 0.3, rng.integers(0, 64, count), rng.choice([300, 1448, 9000], count))
    connection = rng.integers(-1, 5, count)
    packets = Packets.plain(np.full(count, 66), length)
    start = np.zeros(count, np.int64)
    records: list[tuple[int, int, int, int]] = []
    for c in range(5):
        of = np.flatnonzero(connection == c)
        start[of] = np.cumsum(length[of]) - length[of]
        at = 0
        while at < length[of].sum():
            body = int(rng.choice([1, 40, 64, 1000, 16384]))
            records.append((c, at, 5, body))
            at += 5 + body + 16
    packets.hold(np.where(length > 0, connection, -1), start, Records(*np.array(records, np.int64).T))
    return packets


@pytest.mark.parametrize("direction", ["rx", "tx"])
@pytest.mark.parametrize("width", WIDTHS)
def test_bus_and_order(direction: str, width: int):
    packets = mixed(width, 400)
    timing = simulate(packets, rooms_of(direction, width))
    beats = -(-packets.size // width)
    assert np.all(timing.last_in[1:] - timing.last_in[:-1] >= beats[1:])
    assert np.all(timing.last_out - timing.first_out >= beats - 1)
    assert np.all(timing.first_out[1:] > timing.last_out[:-1])
    assert np.all(timing.first_out > timing.first_in)
    assert all(np.all(waited >= 0) for waited in timing.stalls.values())
    lead = rooms_of(direction, width).lead_beats
    entered = np.searchsorted(timing.last_out, timing.first_in)  # packets out by then
    assert np.all(np.arange(len(packets)) - entered <= INSIDE + lead)


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from(WIDTHS), st.sampled_from(["rx", "tx"]), st.integers(1, 400))
def test_later_in_is_hardly_ever_earlier_out(seed: int, width: int, direction: str, delay: int):
    """A packet that waits for the one it goes on from is begun some cycles sooner; a power may let a hash go first."""
    packets = mixed(seed, 60)
    rng = np.random.default_rng(seed)
    packets.arrival = np.sort(rng.integers(0, 4000, len(packets)))
    before = simulate(packets, rooms_of(direction, width))
    packets.arrival = packets.arrival + np.where(rng.random(len(packets)) < 0.3, delay, 0)
    after = simulate(packets, rooms_of(direction, width))
    assert np.all(after.last_out >= before.last_out - SOONER)


@pytest.mark.parametrize("size", [1, 7, 300])
def test_costs_are_the_same_in_blocks(size: int):
    packets, rooms = mixed(5, 900), rooms_of("rx", 64)
    whole, hashed = costs_of(packets, rooms)
    blocks = list(cost_blocks(packets, rooms, size))
    assert [begin for begin, *_ in blocks] == list(range(0, 900, size))
    for name in Costs._fields:
        assert np.array_equal(np.concatenate([getattr(one, name) for _, one, _ in blocks]), getattr(whole, name))
    for name in Hashed._fields:
        assert np.array_equal(np.concatenate([getattr(one, name) for *_, one in blocks]), getattr(hashed, name))


@pytest.mark.parametrize("direction", ["rx", "tx"])
@pytest.mark.parametrize("width", WIDTHS)
def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch, direction: str, width: int):
    """What a block of packets leaves is all that the next one needs: back to back, with arrivals and with pauses."""
    packets, rooms = mixed(3, 1000), rooms_of(direction, width)
    packets.gap[::7] = 7
    rng = np.random.default_rng(3)
    for packets.arrival, packets.pause[100] in (
        (np.zeros(1000, np.int64), -1),
        (np.cumsum(rng.integers(0, 60, 1000)), -1),
        (np.cumsum(rng.integers(0, 260, 1000)), 50),
    ):
        monkeypatch.setattr("model.cycles.chain.BLOCK", 1 << 20)
        whole = simulate(packets, rooms)
        monkeypatch.setattr("model.cycles.chain.BLOCK", 9)
        cut = simulate(packets, rooms)
        assert np.array_equal(cut.last_out, whole.last_out) and np.array_equal(cut.first_in, whole.first_in)
        assert all(np.array_equal(cut.stalls[room], whole.stalls[room]) for room in whole.stalls)
