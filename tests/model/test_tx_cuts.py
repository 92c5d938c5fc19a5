"""Small and exhaustive: every cut and every retransmitted range of 64-byte records leaves as TLS_SW sends it."""

import itertools

import pytest

from model.contract import TxKind, TxStatus
from sim.traffic import TLS12, Stream
from tests.model.tx_rig import KINDS, TxRig, prefix_size

SIZE = 64


def record_stream(version: int, key_size: int = 16, records: int = 1) -> Stream:
    """Records of 64 bytes on the wire, and a small one behind them."""
    stream = Stream(version, seed=version + key_size, key_size=key_size, record_number=2**32 - 1, start_seq=2**32 - 70)
    stream.bulk([SIZE - (29 if version == TLS12 else 22)] * records + [3])
    assert len(stream.records[0].wire) == SIZE
    return stream


@pytest.mark.parametrize("version, key_size", KINDS)
def test_every_cut_into_two_and_three_segments(version: int, key_size: int):
    stream = record_stream(version, key_size)
    for cut in [(a,) for a in range(1, SIZE + 1)] + list(itertools.combinations(range(1, SIZE + 1), 2)):
        rig = TxRig(stream)
        for start, end in zip((0, *cut), (*cut, len(rig.wire)), strict=True):
            rig.encrypts(start, end)


@pytest.mark.parametrize("version, key_size", KINDS)
def test_one_byte_segments(version: int, key_size: int):
    rig = TxRig(record_stream(version, key_size, records=3))
    for start in range(len(rig.wire)):
        rig.encrypts(start, start + 1)
    assert rig.counters() == {"encrypted": len(rig.wire), "encrypted_bytes": len(rig.wire)}


def sent_rig(version: int) -> TxRig:
    """Two records and a small one, all sent."""
    rig = TxRig(record_stream(version, records=2))
    rig.encrypts(0, len(rig.wire))
    return rig


def ranges(stop: int) -> list[tuple[int, int]]:
    return list(itertools.combinations(range(stop + 1), 2))


@pytest.mark.parametrize("version, key_size", KINDS)
def test_replay_then_retransmit_of_every_range(version: int, key_size: int):
    """Number 42, by rebuilding; the range may span records (43)."""
    rig = TxRig(record_stream(version, key_size, records=2))
    rig.encrypts(0, len(rig.wire))
    before = rig.state
    for start, end in ranges(2 * SIZE):
        record = rig.record_of(start)
        head = rig.starts[record]
        if start > head:
            rig.replays(head, start)
        kind = TxKind.RETRANSMIT if start > head else TxKind.PREFIX
        rig.encrypts(start, end, kind)
        assert rig.state.seen_seq == rig.at(end)
    after = rig.state
    assert (after.expected_seq, after.record_number, after.remaining) == (
        before.expected_seq,
        before.record_number,
        before.remaining,
    )


@pytest.mark.parametrize("cut", range(1, SIZE))
def test_replay_in_two_frames(cut: int):
    rig = sent_rig(TLS12)
    rig.replays(0, cut)
    if cut < SIZE - 1:
        rig.replays(cut, SIZE - 1, record=1)
    rig.encrypts(SIZE - 1, SIZE + 3, TxKind.RETRANSMIT)


@pytest.mark.parametrize("version, key_size", KINDS)
def test_prefix_of_every_range(version: int, key_size: int):
    """Number 42, without replay: tags come from the ring."""
    rig = TxRig(record_stream(version, key_size, records=2))
    rig.encrypts(0, len(rig.wire))
    for start, end in ranges(2 * SIZE):
        rig.encrypts(start, end, TxKind.PREFIX)
    assert rig.counters()["encrypted"] == 1 + len(ranges(2 * SIZE))


@pytest.mark.parametrize("version, key_size", KINDS)
def test_prefix_without_the_tag(version: int, key_size: int):
    """The ring is empty: what needs a tag of a record whose beginning is missing is dropped, the rest leaves."""
    rig = TxRig(record_stream(version, key_size, records=2))
    prefix = prefix_size(rig.stream)
    rig.encrypts(0, len(rig.wire))
    rig.resync(2)
    for start, end in ranges(2 * SIZE):
        offset, tag = start % SIZE, (start // SIZE + 1) * SIZE - 16
        if offset > prefix and end > tag:
            rig.drops(TxStatus.DROPPED_TAG, start, end, TxKind.PREFIX)
        else:
            rig.encrypts(start, end, TxKind.PREFIX)


@pytest.mark.parametrize("version, key_size", KINDS)
def test_prefix_then_retransmit_at_every_cut(version: int, key_size: int):
    """RETRANSMIT goes on where PREFIX ended, in header, nonce, body or tag."""
    rig = TxRig(record_stream(version, key_size, records=2))
    rig.encrypts(0, len(rig.wire))
    for start, cut in ranges(2 * SIZE):
        rig.encrypts(start, cut, TxKind.PREFIX)
        if cut < len(rig.wire):
            rig.encrypts(cut, len(rig.wire), TxKind.RETRANSMIT)
