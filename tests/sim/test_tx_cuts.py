"""Small and exhaustive, on the RTL: every cut and every retransmitted range of a record of 64 bytes leaves as TLS_SW
sends it. One connection a cut, and one segment of each in turn, so that every frame changes the key."""

import itertools
from collections.abc import Iterator, Sequence

import pytest

from model.commands import Tuple4
from model.contract import TxKind, TxStatus
from model.tx_commands import Sent
from model.tx_device import GoldenTxDevice
from sim.engine import TxEngine
from sim.schedule import TxEvent, TxFrame
from sim.traffic import TLS12, TLS13, Stream
from tests.model.tx_rig import KINDS, TxRig
from tests.sim.tx_compare import compare

PAYLOAD = bytes(range(64))
SIZES = {TLS12: 5 + 8 + 64 + 16, TLS13: 5 + 64 + 1 + 16}


@pytest.fixture(scope="module")
def engine(tx_device_engine) -> TxEngine:
    return tx_device_engine(16)


def rig_of(golden: GoldenTxDevice, number: int, version: int, key_size: int, records: int = 1) -> TxRig:
    """The same record for each connection; only addresses and sequence numbers differ."""
    stream = Stream(
        version,
        seed=3,
        key_size=key_size,
        tuple4=Tuple4(bytes([10, 0, number >> 8, number & 255]), 1000 + number, b"\x0a\1\1\1", 443),
        start_seq=(2**32 - 40 + number) % 2**32,
        record_number=2**32 - 1,
    )
    for _ in range(records):
        assert len(stream.record(PAYLOAD)) == SIZES[version]
    return TxRig(stream, golden)


def batched(items: Sequence[tuple[int, ...]], size: int) -> Iterator[Sequence[tuple[int, ...]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def check_cuts(engine: TxEngine, version: int, key_size: int, cuts: list[tuple[int, ...]], **waits: float) -> None:
    """Each of `cuts` on a connection of its own; what leaves is the stream of `cryptography`, cut likewise."""
    for part in batched(cuts, engine.config.connections):
        golden = GoldenTxDevice(engine.config.connections)
        rigs = [rig_of(golden, n, version, key_size) for n in range(len(part))]
        rounds = itertools.zip_longest(
            *(
                [(rig, a, b) for a, b in itertools.pairwise((0, *cut, len(rig.wire)))]
                for rig, cut in zip(rigs, part, strict=True)
            )
        )
        pieces = [piece for turn in rounds for piece in turn if piece]
        events: list[TxEvent] = [rig.stream.add() for rig in rigs]
        events += [TxFrame(rig.frame(a, b), rig.request(TxKind.STREAM)) for rig, a, b in pieces]
        sent, _ = compare(engine, events, **waits)
        for (rig, a, b), got in zip(pieces, sent, strict=True):
            wire = rig.stream.frame(rig.at(a), rig.wire[a:b])
            assert got == [Sent(wire, TxStatus.ENCRYPTED, rig.handle)], (a, b)


@pytest.mark.parametrize("version, key_size", KINDS)
def test_every_cut_into_two_segments(engine, version, key_size):
    check_cuts(engine, version, key_size, [(a,) for a in range(1, SIZES[version])])


def cuts_in_three(version: int) -> list[tuple[int, ...]]:
    return list(itertools.combinations(range(1, SIZES[version]), 2))


@pytest.mark.parametrize("version, key_size", KINDS)
def test_every_cut_into_three_segments(engine, version, key_size):
    """With the longer key a sample: the cuts are the same to all rooms but one."""
    check_cuts(engine, version, key_size, cuts_in_three(version)[:: 1 if key_size == 16 else 13])


@pytest.mark.slow
@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("version, key_size", KINDS)
def test_every_cut_into_three_segments_at_all_widths(tx_device_engine, width, version, key_size):
    check_cuts(tx_device_engine(width), version, key_size, cuts_in_three(version), backpressure=0.1)


def test_one_byte_segments(engine):
    for version, key_size in KINDS:
        check_cuts(engine, version, key_size, [tuple(range(1, SIZES[version]))])


@pytest.mark.parametrize("version, key_size", KINDS)
def test_cut_by_the_device_into_segments_of_every_size(engine, version, key_size):
    """One frame with two records, a connection for each size."""
    golden = GoldenTxDevice(engine.config.connections)
    rigs = [rig_of(golden, n, version, key_size, records=2) for n in range(2 * SIZES[version])]
    events: list[TxEvent] = [rig.stream.add() for rig in rigs]
    for size, rig in enumerate(rigs, 1):
        events.append(TxFrame(rig.frame(0, len(rig.wire)), rig.request(TxKind.STREAM, segment_size=size)))
    sent, _ = compare(engine, events)
    for size, (rig, got) in enumerate(zip(rigs, sent, strict=True), 1):
        assert b"".join(one.frame[66:] for one in got if one.frame) == rig.wire
        assert [len(one.frame or b"") - 66 for one in got[:-1]] == [size] * (len(got) - 1)
        assert {one.status for one in got} == {TxStatus.ENCRYPTED}


def check_ranges(engine: TxEngine, version: int, ranges: list[tuple[int, ...]], kind: TxKind) -> None:
    """Two records are sent whole; then each range again, behind a replay of its record's beginning or without."""
    for part in batched(ranges, engine.config.connections):
        golden = GoldenTxDevice(engine.config.connections)
        rigs = [rig_of(golden, n, version, 16, records=2) for n in range(len(part))]
        events: list[TxEvent] = [rig.stream.add() for rig in rigs]
        events += [TxFrame(rig.frame(0, len(rig.wire)), rig.request(TxKind.STREAM)) for rig in rigs]
        pieces: list[tuple[TxRig, int, int] | None] = [(rig, 0, len(rig.wire)) for rig in rigs]
        for rig, (a, b) in zip(rigs, part, strict=True):
            record = rig.record_of(a)
            head = rig.starts[record]
            rebuilt = kind is TxKind.RETRANSMIT and a > head
            if rebuilt:
                events.append(TxFrame(rig.frame(head, a), rig.request(TxKind.REPLAY, record)))
                pieces.append(None)
            events.append(TxFrame(rig.frame(a, b), rig.request(kind if rebuilt else TxKind.PREFIX, record)))
            pieces.append((rig, a, b))
        sent, _ = compare(engine, events)
        for piece, got in zip(pieces, sent, strict=True):
            if piece is None:
                assert got[0].frame is None and got[0].status is TxStatus.REPLAYED
                continue
            rig, a, b = piece
            wire = rig.stream.frame(rig.at(a), rig.wire[a:b])
            assert got == [Sent(wire, TxStatus.ENCRYPTED, rig.handle)], (a, b)


def ranges_of(version: int) -> list[tuple[int, ...]]:
    return list(itertools.combinations(range(2 * SIZES[version] + 1), 2))


@pytest.mark.parametrize("kind", [TxKind.RETRANSMIT, TxKind.PREFIX])
@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_retransmitted_ranges(engine, version, kind):
    check_ranges(engine, version, ranges_of(version)[kind % 2 :: 41], kind)


@pytest.mark.slow
@pytest.mark.parametrize("width", [16, 64])
@pytest.mark.parametrize("kind", [TxKind.RETRANSMIT, TxKind.PREFIX])
@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_every_retransmitted_range(tx_device_engine, width, version, kind):
    check_ranges(tx_device_engine(width), version, ranges_of(version), kind)
