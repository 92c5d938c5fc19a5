"""Large frames through the transmit device's RTL: each segment as software alone would have sent it, and as the golden
device has it."""

import random
from collections.abc import Callable

import pytest

from driver.transmit import TransmitSide, Way
from driver.tx_context import TxResync
from model.commands import Delete, Query
from model.contract import Result, TxKind, TxStatus
from model.tx_commands import Sent, TxRequest
from model.tx_device import GoldenTxDevice
from sim.engine.toolchain import can_compile
from sim.engine.tx import TxEngine
from sim.schedule import TxEvent, TxFrame
from sim.traffic import ACK, FIN, PSH, RST, TLS12, TLS13, Stream
from tests.driver.tx_host import TxHost
from tests.model.test_tx_segmentation import CWR, ECE, rig_of, segments_of
from tests.model.tx_rig import TxRig
from tests.sim.tx_compare import compare

WAITS = [{}, {"idle": 0.3}, {"backpressure": 0.3}, {"idle": 0.2, "backpressure": 0.4}, {"backpressure": 0.9}]
WIDTHS = [16, pytest.param(32, marks=pytest.mark.slow), pytest.param(64, marks=pytest.mark.slow)]
CONNECTIONS = 256


@pytest.fixture
def device(tx_device_engine) -> Callable[[int], TxEngine]:
    """`device(width)`: the compiled device, reset; the other engine would take hours."""
    if not can_compile():
        pytest.skip("no C++ compiler")
    return tx_device_engine


# --- sends of 64 KB --------------------------------------------------------------------------------
@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("size", [536, 1448, 8960])
@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_sends_of_64_kilobytes(device, width, version, size, ipv6):
    """As software builds each segment, as the golden device has them, and as the RTL sends them singly."""
    rig = rig_of([16384, 1, 300, 16384, 0, 16384, 40, 16384, 16384], version, ipv6=ipv6, key_size=32 if ipv6 else 16)
    largest = 65535 - (40 if ipv6 else 20) - 32
    shape = dict(flags=ACK | PSH | FIN | CWR | ECE, vlans=[(0x8100, 9)] if ipv6 else [])
    frames: list[TxFrame] = []
    single: list[TxFrame] = []
    wire: list[list[bytes]] = []
    for start in range(0, len(rig.wire), largest):
        stop = min(start + largest, len(rig.wire))
        frames.append(TxFrame(rig.frame(start, stop, **shape), rig.request(TxKind.STREAM, segment_size=size)))
        wire.append(segments_of(rig, start, stop, size, **shape))
        plain = segments_of(rig, start, stop, size, data=rig.plain, bad_tcp=True, **shape)
        single += [TxFrame(frame, rig.request(TxKind.STREAM)) for frame in plain]
    engine = device(width)
    sent, _ = compare(engine, [rig.stream.add(), *frames])
    assert sent == [[Sent(f, TxStatus.ENCRYPTED, rig.handle) for f in each] for each in wire]
    engine.reset()
    alone = engine.run([rig.stream.add(), *single]).sent
    assert [one for each in alone for one in each] == [one for each in sent for one in each]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_boundaries_everywhere(device, width, version):
    """Every segment size up to a record's: cuts in headers, explicit nonces and tags."""
    engine = device(width)
    for size in range(1, 70):
        rig = rig_of([20, 0, 35, 1, 64], version, ipv6=bool(size & 1))
        end = len(rig.wire)
        engine.reset()
        events = [rig.stream.add(), TxFrame(rig.frame(0, end), rig.request(TxKind.STREAM, segment_size=size))]
        (sent,) = engine.run(events, **WAITS[size % 3]).sent
        assert [one.frame for one in sent] == segments_of(rig, 0, end, size), size


@pytest.mark.parametrize("width", WIDTHS)
def test_passed_segments_have_right_checksums(device, width):
    """A stack that encrypts for itself has its frames cut, too; what is not cut keeps a wrong checksum."""
    rig = rig_of([3000])
    shape = dict(flags=ACK | PSH, vlans=[(0x88A8, 7)])
    given = rig.stream.frame(rig.at(0), rig.wire[:3000], bad_tcp=True, **shape)
    sizes = (1, 100, 1448, 2999, 3000, 9000, 0)
    result = device(width).run([TxFrame(given, TxRequest(segment_size=size)) for size in sizes])
    for size, sent in zip(sizes, result.sent, strict=True):
        cut = segments_of(rig, 0, 3000, size, **shape) if 0 < size < 3000 else [given]
        assert sent == [Sent(frame, TxStatus.PASSED, 0) for frame in cut], size


@pytest.mark.parametrize("width", WIDTHS)
def test_only_the_segment_that_ends_the_packet_adopts(device, width):
    """Until then the tags that `stream` knows serve the segments of a frame that begins inside a record."""
    engine = device(width)
    for missing, state in ((0, 700), (200, None)):  # without 200 bytes it ends between two segments
        rig = rig_of([300, 300, 300])
        end = len(rig.plain)
        again = rig.frame(100, 700)
        events: list[TxEvent] = [
            rig.stream.add(),
            TxFrame(rig.frame(0, end), rig.request(TxKind.STREAM)),
            TxFrame(again[: len(again) - missing], rig.request(TxKind.PREFIX, segment_size=100, adopt=True)),
            Query(rig.handle),
        ]
        engine.reset()
        result = engine.run(events)
        assert [one.frame for one in result.sent[1]] == segments_of(rig, 100, 700, 100)[: 6 - missing // 100]
        assert result.responses[1].state is not None
        assert result.responses[1].state.expected_seq == rig.at(state or end)


@pytest.mark.parametrize("width", WIDTHS)
def test_every_end_of_a_frame_cut_short(device, width):
    rig = rig_of([200], TLS13)
    whole = rig.frame(0, 200)
    requests = [
        rig.request(TxKind.PREFIX, segment_size=60, adopt=True),
        rig.request(TxKind.PASS, segment_size=60),
        rig.request(TxKind.REPLAY, segment_size=60),
    ]
    frames = [TxFrame(whole[:end], request) for end in range(1, len(whole) + 1) for request in requests]
    compare(device(width), [rig.stream.add(), *frames])


# --- everything at once ----------------------------------------------------------------------------
def sizes_for(rng: random.Random, length: int) -> int:
    """Of a segment: not cut, or into few or many."""
    least = max(1, length // 40)
    return rng.choice(
        [0, length, length + 1, max(1, length - 1), rng.randrange(1, 65536), rng.randint(least, 20 * least)]
    )


class Sender:
    """One connection's host: in order, again, wrongly, in frames of every size."""

    def __init__(self, rng: random.Random, device: GoldenTxDevice, seed: int) -> None:
        self.rng = rng
        stream = Stream(
            rng.choice([TLS12, TLS13]),
            seed=seed,
            key_size=rng.choice([16, 32]),
            ipv6=rng.random() < 0.4,
            start_seq=2**32 - 20000,
            record_number=rng.choice([0, 2**64 - 3]),
        )
        stream.bulk(rng.choice([[0, 1, 13, 60] * 12, [300, 900, 5, 2000] * 6, [16384, 9000, 16384]]))
        self.rig = TxRig(stream, device)
        self.sent = 0

    def shape(self) -> dict:
        rng, ipv6 = self.rng, len(self.rig.stream.tuple4.remote_address) == 16
        shape: dict = dict(
            flags=ACK | rng.choice([0, 0, PSH, FIN | PSH, CWR | ECE]),
            vlans=rng.choice([[], [], [(0x8100, 5)], [(0x88A8, 7), (0x8100, 9)]]),
            tcp_options=bytes(4 * rng.choice([0, 3, 3, 10])),
            trailer=rng.choice([b"", b"", b"", rng.randbytes(rng.randrange(1, 50))]),
            bad_ip=rng.random() < 0.2,
        )
        if ipv6:
            shape["extension_headers"] = rng.choice([[], [(0, bytes(8))]])
        else:
            shape["ip_options"] = bytes(4 * rng.choice([0, 0, 1, 10]))
        return shape

    def frame(self, kind: TxKind, start: int, end: int, flags: int = 0, **options) -> TxFrame:
        rng, rig = self.rng, self.rig
        shape = self.shape()
        shape["flags"] |= flags
        frame = rig.frame(start, end, **shape)
        if rng.random() < 0.06:
            frame = frame[: rng.randrange(1, len(frame))]
        size = sizes_for(rng, end - start)
        record = rig.record_of(min(start, len(rig.plain) - 1))
        return TxFrame(frame, rig.request(kind, record, **({"segment_size": size} | options)))

    def frames(self) -> list[TxFrame]:
        """The next thing this host does."""
        rng, rig, sent = self.rng, self.rig, self.sent
        size = len(rig.plain)
        x = rng.random()
        if x < 0.5 or sent < 40:
            end = min(size, sent + rng.choice([1, 16, 300, 1448, 5000, 30000]))
            if end == sent:
                return []
            return [self.frame(TxKind.STREAM, sent, end)]
        start = rng.randrange(sent)
        end = min(sent, start + rng.choice([1, 20, 200, 1448, 20000]))
        begin = rig.starts[rig.record_of(start)]
        if x < 0.65:
            replay = [self.frame(TxKind.REPLAY, begin, start)] if start > begin else []
            return [*replay, self.frame(TxKind.RETRANSMIT, start, end, adopt=rng.random() < 0.2)]
        if x < 0.85:
            return [self.frame(TxKind.PREFIX, start, end, adopt=rng.random() < 0.5)]
        if x < 0.88:
            return [self.frame(TxKind.PREFIX, start, end, header=b"\x17\x03\x04\x00\x40" + bytes(8))]
        if x < 0.90:
            return [self.frame(rng.choice([TxKind.STREAM, TxKind.RETRANSMIT]), start, end)]
        if x < 0.92:
            return [self.frame(TxKind.STREAM, sent, min(size, sent + 90), handle=rng.choice([1 << 16, 0x7000]))]
        if x < 0.96:
            return [self.frame(TxKind.PASS, start, end)]
        if x < 0.98:
            return [self.frame(TxKind.STREAM, sent, sent)]
        return [self.frame(TxKind.STREAM, sent, min(size, sent + 500), flags=RST)]


def scenario(seed: int, count: int = 50) -> list[TxEvent]:
    """Some connections' frames in turn."""
    rng = random.Random(seed)
    golden = GoldenTxDevice(CONNECTIONS)
    senders = [Sender(rng, golden, 100 * seed + n) for n in range(rng.choice([1, 3]))]
    frames: list[TxEvent] = []
    while len(frames) < count:
        sender = rng.choice(senders)
        for frame in sender.frames() or [sender.frame(TxKind.PASS, 0, 200)]:
            frames.append(frame)
            golden.transmit(frame.frame, frame.request)
            if frame.request.kind is TxKind.STREAM or frame.request.adopt:
                # what the host has sent is what the device took
                sender.sent = (sender.rig.state.expected_seq - sender.rig.at(0)) % 2**32
    return [*(s.rig.stream.add() for s in senders), *frames, *(Query(s.rig.handle) for s in senders)]


def statuses(engine: TxEngine, seed: int) -> set[TxStatus]:
    """Those met in a scenario that went as the golden device's."""
    sent, _ = compare(engine, scenario(seed), seed=seed, **WAITS[seed % len(WAITS)])
    return {one.status for each in sent for one in each}


@pytest.mark.parametrize("width", WIDTHS)
def test_frames_of_every_kind_and_size(device, width):
    engine = device(width)
    met = [statuses(engine, seed) for seed in range(25)]
    assert set().union(*met) == set(TxStatus)


@pytest.mark.slow
@pytest.mark.parametrize("width", [16, 64])
def test_frames_of_every_kind_and_size_at_length(device, width):
    engine = device(width)
    for seed in range(1000, 1300):
        statuses(engine, seed)


# --- the driver ------------------------------------------------------------------------------------
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("resync", TxResync)
@pytest.mark.parametrize("size", [536, 1448, 8960])
def test_the_drivers_large_frames(device, width, resync, size):
    """New, lost on the way down, and again from anywhere: what leaves is software's, by every mechanism."""
    host = TxHost(resync, mss=64_000, ipv6=size == 536, side=TransmitSide(device(width), resync))
    host.write(*[16384] * 6, *[100] * 40)
    host.sender.tcp.transmit()

    def check(start: int, end: int) -> None:
        left = host.give(start, end, size, flags=ACK | PSH).frames
        assert left == cut(host.wire(start, end, flags=ACK | PSH), size), (start, end)
        host.agrees()

    check(0, 60_000)
    check(80_000, host.sent)  # the frame between is lost: a jump
    for start, end in ((60_000, 80_000), (5000, 5001), (16_380, 60_000), (0, 20_000), (40_000, host.sent)):
        check(start, end)
    counters = host.side.counters
    assert counters.drop_device == 0
    assert counters.fallback_packets == (0 if resync is not TxResync.NEXT_RECORD else counters.ooo) < 7
    host.write(5)
    assert host.pump() == [Way.STREAM]


def cut(frame: bytes, size: int) -> list[bytes]:
    """A frame of software's as the golden device cuts it for a stack without offload."""
    return [one.frame for one in GoldenTxDevice().transmit(frame, TxRequest(segment_size=size)) if one.frame]


# --- commands --------------------------------------------------------------------------------------
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("backpressure", [0.3, 0.7, 0.95])
def test_a_connection_deleted_while_its_frame_is_being_cut(device, width, backpressure):
    """What the tracker has not seen is dropped; the next one with its index and other keys is not touched by it."""
    full = [Stream(seed=n, key_size=16) for n in range(CONNECTIONS)]
    old = TxRig(with_records(full[7], [16384] * 4))
    new = TxRig(with_records(Stream(seed=999, key_size=32), [3000]))
    engine = device(width)
    handles = [r.handle for r in engine.run([s.add() for s in full]).responses]
    again = handles[7] + (1 << 16)
    end = min(len(old.plain), 65000)
    request = old.request(TxKind.STREAM, handle=handles[7], segment_size=1448)
    events = [
        TxFrame(old.frame(0, end), request),
        Delete(handles[7]),
        new.stream.add(),
        TxFrame(new.frame(0, 3021), new.request(TxKind.STREAM, handle=again, segment_size=500)),
    ]
    result = engine.run(events, ordered=False, backpressure=backpressure, seed=width)
    assert [r.result for r in result.responses] == [Result.OK] * 2 and result.responses[1].handle == again
    first, second = result.sent
    seen = [one.status for one in first]
    dropped = seen.count(TxStatus.DROPPED_HANDLE)
    assert seen == [TxStatus.ENCRYPTED] * (len(seen) - dropped) + [TxStatus.DROPPED_HANDLE] * dropped
    assert 0 < dropped < len(seen), "the command came too early or too late to say anything"
    expected = segments_of(old, 0, end, 1448)
    for one, wire in zip(first, expected, strict=True):
        assert one.handle == handles[7] and one.frame == (wire if one.status is TxStatus.ENCRYPTED else None)
    assert [one.frame for one in second] == segments_of(new, 0, 3021, 500)


def with_records(stream: Stream, sizes: list[int]) -> Stream:
    stream.bulk(sizes)
    return stream


# --- rate ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("width", WIDTHS)
def test_segments_keep_the_rate_of_single_frames(device, width):
    rig = rig_of([16384] * 12)
    size, largest = 1448, 44 * 1448
    starts = range(0, len(rig.wire) - largest, largest)
    large = [rig.frame(a, a + largest) for a in starts]
    single = [f for a in starts for f in segments_of(rig, a, a + largest, size, data=rig.plain)]
    cycles = []
    for frames, request in (
        (large, rig.request(TxKind.STREAM, segment_size=size)),
        (single, rig.request(TxKind.STREAM)),
    ):
        engine = device(width)
        result = engine.run([rig.stream.add(), *(TxFrame(f, request) for f in frames)])
        assert {one.status for sent in result.sent for one in sent} == {TxStatus.ENCRYPTED}
        cycles.append(int(result.last_out[-1] - result.last_out[20]))
    assert cycles[0] <= 1.01 * cycles[1]
