"""Resynchronisation: the points of the adversarial list (reference, section 8) that concern it, by number.

Elsewhere: what the published rules do about 13, 23 and 29 is in test_adversarial.py, next-record hints in test_ktls.py.
"""

import errno

import pytest

from driver.netdev import Direction, NetDevice, ResyncMode
from driver.resync import PATIENCE
from model import ktls
from model.commands import Resync
from model.contract import OPEN_RECORDS, Result, RxPolicy, Status
from model.device import GoldenDevice
from model.ktls import KtlsReceiver, ResyncType
from sim.traffic import TLS12, TLS13, Stream
from tests.model.decoys import decoy, sealed_as
from tests.model.resync_rig import STORM_CONNECTIONS, NetRig, frames_of, storm
from tests.model.rig import Rig, crypto_info

BOTH = pytest.mark.parametrize("version", [TLS12, TLS13])
MODES = pytest.mark.parametrize("mode", list(ResyncMode))
POLICIES = pytest.mark.parametrize("policy", [RxPolicy.KERNEL, RxPolicy.FULL])
HOLE = range(1, 26)
"""Frames of 700 bytes that are lost: more than a record of any size."""


def thousands(version: int, seed: int, count: int = 70) -> Stream:
    """Records of about 1000 bytes."""
    stream = Stream(version, seed=seed, start_seq=2**32 - 30_000)
    stream.bulk(980 + n % 40 for n in range(count))
    return stream


def searching(rig: NetRig, frames: list[bytes], beyond: int) -> int:
    """The first frame, none of the hole's, and `beyond` behind them; the frame that comes next."""
    after = HOLE.stop + beyond
    rig.all([frames[0], *frames[HOLE.stop : after]])
    return after


# --- 21 decoys -----------------------------------------------------------------------------------------
@BOTH
@MODES
def test_21_chain_of_decoys_that_breaks(version: int, mode: ResyncMode):
    """The search latches on to headers inside a record, asks for nothing that is there, and starts again."""
    stream = Stream(version, seed=21)
    stream.bulk([1000] * 18)
    sealed_as(stream, bytes(600) + decoy(95) + bytes(95) + decoy(195) + bytes(1200))
    decoys = stream.records[-1].seq
    stream.bulk([1000] * 30)
    frames = frames_of(stream)
    rig = NetRig(stream, RxPolicy.KERNEL, mode)
    first = (decoys + 20 - stream.start_seq) // 700 + 1  # the frame behind that of the header
    rig.all([frames[0], *frames[first : first + 8]])
    assert [place in rig.numbered() for place in rig.requests] == [False, True]
    statuses = rig.all(frames[1:first] + frames[first + 8 :])
    assert statuses[-10:] == [Status.DECRYPTED] * 10
    assert rig.resyncs.confirmed == 1
    rig.expect_true_answers(mode is ResyncMode.SYNC)
    rig.expect_everything()


@MODES
@POLICIES
def test_21_chain_of_decoys_that_never_ends(policy: RxPolicy, mode: ResyncMode):
    """A chain beside the real one, as long as the stream: nothing breaks it. Hints bring the device back."""
    stream = Stream(seed=22)
    stream.bulk([1000] * 18)
    for _ in range(1000):
        sealed_as(stream, bytes(700) + decoy(1022 - 5) + bytes(295))
    stream.bulk([1000] * 10)
    frames = frames_of(stream, 511)
    rig = NetRig(stream, policy, mode)
    at = 18 * 2 + 1  # behind the header of the first of them
    rig.all([frames[0], *frames[at : at + 2], *frames[1:at]])
    if policy is RxPolicy.KERNEL:
        assert rig.state.out_of_sync
        assert len(rig.requests) == 1 and rig.requests[0] not in rig.numbered()
    statuses = rig.all(frames[at + 2 :])
    back = statuses.index(Status.DECRYPTED)
    assert back < PATIENCE + 20
    assert set(statuses[back + 10 :]) == {Status.DECRYPTED}
    rig.expect_everything()


# --- 22 to 25 answers ----------------------------------------------------------------------------------
@BOTH
@POLICIES
def test_22_answer_to_a_guess_that_is_held_no_longer(version: int, policy: RxPolicy):
    """The chain has broken since: a true answer about its first header comes too late and changes nothing."""
    stream = Stream(version, seed=23)
    stream.bulk([1000] * 22)
    guess = stream.records[19].seq
    stream.records.pop()
    device = GoldenDevice(4, policy=policy)
    rig = Rig(stream, device, hints=False)
    wire = stream.wire
    place = guess - stream.start_seq
    rig.segment(0, 700)
    assert rig.segment(place, place + 900) in (Status.OUT_OF_SYNC, Status.WAIT)
    assert rig.deliveries[-1].descriptor.request == guess
    end = place + 900
    junk = bytes(5000)
    assert rig.receive(stream.frame(stream.start_seq + end, junk)) in (Status.OUT_OF_SYNC, Status.WAIT)
    before = rig.state
    assert rig.resync(guess, stream.records[19].number) is Result.IGNORED
    assert rig.state == before
    assert len(wire) > end


@BOTH
def test_23_which_byte_of_the_header_each_type_names(version: int):
    """The last of five in a synchronous request and its answer, the first in an asynchronous one and in a hint."""
    stream = thousands(version, 24, 10)
    seqs = [record.seq for record in stream.records]
    for kind, ask, said in (
        (ResyncType.DRIVER_REQ, 4, 4),
        (ResyncType.DRIVER_REQ, 0, None),
        (ResyncType.DRIVER_REQ, 5, None),
        (ResyncType.DRIVER_REQ_ASYNC, 0, 0),
        (ResyncType.DRIVER_REQ_ASYNC, 4, None),
        (ResyncType.CORE_NEXT_HINT, 4, None),
    ):
        told: list[tuple[int, int]] = []
        stack = KtlsReceiver(crypto_info(stream), stream.start_seq, lambda seq, n, told=told: told.append((seq, n)))
        stack.tls_offload_rx_resync_set_type(kind)
        place = (seqs[2] + ask) % 2**32
        stack.tls_offload_rx_resync_request(place)
        stack.tls_offload_rx_resync_async_request_start(seqs[0], 60000)
        stack.tls_offload_rx_resync_async_request_end(place)
        for seq, payload in stream.segments(stream.wire[:4000]):
            stack.segment(seq, payload)
        if kind is ResyncType.CORE_NEXT_HINT:
            assert told and all((seqs[number], number) == (seq, number) for seq, number in told)
        else:
            assert told == ([] if said is None else [((seqs[2] + said) % 2**32, 2)])


@MODES
@POLICIES
@pytest.mark.parametrize("off", [-4, 4])
def test_23_answer_off_by_four_is_refused(policy: RxPolicy, mode: ResyncMode, off: int):
    stream = thousands(TLS13, 25)
    frames = frames_of(stream)
    rig = NetRig(stream, policy, mode)
    after = searching(rig, frames, 4)
    (place,) = rig.requests
    handle = rig.deliveries[-1].descriptor.handle
    before = rig.state
    number = rig.numbered()[place]
    device = rig.netdev._device  # pyright: ignore[reportPrivateUsage]
    assert device.command(Resync(handle, (place + off) % 2**32, number)).result is Result.IGNORED
    assert rig.state == before
    assert device.command(Resync(handle, place, number)).result is Result.OK
    rig.all([*frames[1 : HOLE.stop], *frames[after:]])
    rig.expect_everything()


@BOTH
@MODES
@pytest.mark.parametrize("beyond", range(2, 15, 3))
def test_24_records_counted_since_are_added(version: int, mode: ResyncMode, beyond: int):
    stream = thousands(version, 26)
    frames = frames_of(stream)
    rig = NetRig(stream, RxPolicy.KERNEL, mode)
    after = searching(rig, frames, beyond)
    assert len(rig.requests) == 1
    rig.all(frames[1 : HOLE.stop])
    if mode is ResyncMode.ASYNC:
        rig.receive(frames[after])
        after += 1
    assert rig.resyncs.confirmed == 1
    passed = (rig.state.seen_seq - stream.start_seq) % 2**32
    headers = [(r.seq - stream.start_seq) % 2**32 + (13 if version == TLS12 else 5) for r in stream.records]
    assert rig.state.record_number == sum(end <= passed for end in headers)
    statuses = rig.all(frames[after:])
    assert set(statuses[2:]) == {Status.DECRYPTED}
    rig.expect_true_answers(mode is ResyncMode.SYNC)
    rig.expect_everything()


@BOTH
@POLICIES
def test_25_no_answer_at_all(version: int, policy: RxPolicy):
    """Everything passes raw; the requests stay few; an answer about what comes next is taken when it does come."""
    stream = thousands(version, 27, 200)
    frames = frames_of(stream)
    rig = NetRig(stream, policy, acks=False)
    rig.sk.rx = None
    after = searching(rig, frames, 180)
    assert {d.descriptor.status for d in rig.deliveries[1:]} <= {Status.OUT_OF_SYNC, Status.WAIT}
    records = 180 * 700 // 1000
    assert 1 <= len(rig.requests) <= records // OPEN_RECORDS + 2
    following = min(n for n, r in enumerate(stream.records) if (r.seq - stream.start_seq) % 2**32 >= after * 700)
    record = stream.records[following]
    assert rig.netdev.tls_dev_resync(rig.sk, (record.seq + 4) % 2**32, record.number, Direction.RX) == 0
    statuses = rig.all(frames[after:])
    assert statuses[-20:] == [Status.DECRYPTED] * 20
    rig.all(frames[1 : HOLE.stop])
    rig.expect_everything()


# --- 26 to 29 ------------------------------------------------------------------------------------------
def test_26_second_request_takes_the_place_of_the_first():
    stream = thousands(TLS13, 28, 10)
    told: list[tuple[int, int]] = []
    stack = KtlsReceiver(crypto_info(stream), stream.start_seq, lambda *answer: told.append(answer))
    stack.tls_offload_rx_resync_set_type(ResyncType.DRIVER_REQ)
    for n in (2, 4):
        stack.tls_offload_rx_resync_request((stream.records[n].seq + 4) % 2**32)
    stack.segment(stream.start_seq, stream.wire)
    assert told == [((stream.records[4].seq + 4) % 2**32, 4)]
    assert stack.statistics["TlsRxDeviceResync"] == 1


def two_requests() -> tuple[Stream, list[bytes]]:
    """A chain of decoys first, which breaks, and then the real one."""
    stream = Stream(seed=29)
    stream.bulk([1000] * 18)
    sealed_as(stream, bytes(600) + decoy(95) + bytes(95) + decoy(195) + bytes(1200))
    stream.bulk([1000] * 30)
    return stream, frames_of(stream)


def test_26_request_while_one_is_in_flight():
    """The device's answer to the first one is four packets away: the second one is counted and not started."""
    stream, frames = two_requests()
    rig = NetRig(stream, RxPolicy.KERNEL, ResyncMode.ASYNC, delay=4)
    rig.all([frames[0], *frames[27:31]])  # the requests are in the first and the third of these
    counters = rig.netdev.counters
    assert len(rig.requests) == counters.resync_req_pkt == 2
    assert (counters.resync_req_start, counters.resync_req_end, counters.resync_req_skip) == (1, 0, 0)
    rig.all(frames[1:27] + frames[31:])
    assert counters.resync_req_start == counters.resync_req_end + counters.resync_req_skip
    rig.expect_everything()


@MODES
@POLICIES
def test_26_request_while_deleting(policy: RxPolicy, mode: ResyncMode):
    """The connection is gone before the stack meets the header: no answer reaches the device, or it is stale."""
    stream = thousands(TLS12, 30)
    frames = frames_of(stream)
    rig = NetRig(stream, policy, mode, delay=100)
    searching(rig, frames, 4)
    assert len(rig.requests) == 1
    rig.netdev.tls_dev_del(rig.sk, Direction.RX)
    again = NetRig(Stream(TLS12, seed=31, tuple4=stream.tuple4), netdev=rig.netdev)  # the same index and 4-tuple
    before = again.state
    for seq, payload in stream.segments(stream.wire, mss=700)[1 : HOLE.stop]:
        rig.hw.segment(seq, payload)
    counters = rig.netdev.counters
    started = int(mode is ResyncMode.ASYNC)
    assert (counters.resync_req_start, counters.resync_req_end, counters.resync_req_skip) == (started, 0, started)
    assert counters.resync_res_ok == 0
    assert len(rig.told) == (mode is ResyncMode.SYNC)
    assert rig.netdev.tls_dev_resync(rig.sk, 0, 0, Direction.RX) == -errno.EINVAL
    assert again.state == before


def test_26_end_behind_a_cancellation():
    stream = thousands(TLS13, 32, 10)
    told: list[tuple[int, int]] = []
    stack = KtlsReceiver(crypto_info(stream), stream.start_seq, lambda *answer: told.append(answer))
    stack.tls_offload_rx_resync_set_type(ResyncType.DRIVER_REQ_ASYNC)
    stack.tls_offload_rx_resync_async_request_start(stream.records[1].seq, 60000)
    stack.segment(stream.start_seq, stream.wire[:5000])
    stack.tls_offload_rx_resync_async_request_cancel()
    stack.tls_offload_rx_resync_async_request_end(stream.records[1].seq)
    stack.segment((stream.start_seq + 5000) % 2**32, stream.wire[5000:])
    assert told == []


@BOTH
@MODES
@POLICIES
def test_27_loss_while_tracking(version: int, mode: ResyncMode, policy: RxPolicy):
    """Between request and answer any two frames that the chain needs are lost, and come late or last."""
    stream = thousands(version, 33, 60)
    frames = frames_of(stream)
    for gap in range(HOLE.stop + 2, HOLE.stop + 10, 3):
        for late in (gap + 4, len(frames)):
            rig = NetRig(stream, policy, mode)
            order = [0, *range(HOLE.stop, gap), *range(gap + 2, gap + 4), *HOLE]
            order += [*range(gap + 4, late), gap, gap + 1, *range(late, len(frames))]
            statuses = rig.all(frames[n] for n in order)
            rig.expect_true_answers(mode is ResyncMode.SYNC)
            rig.expect_everything()
            if late != len(frames):
                assert statuses[-20:] == [Status.DECRYPTED] * 20


@BOTH
@MODES
@POLICIES
@pytest.mark.parametrize("swapped", [False, True])
def test_28_pattern_split_over_packets(version: int, mode: ResyncMode, policy: RxPolicy, swapped: bool):
    """The first header that could be found is cut at each of its bytes; in order it is the one asked about."""
    stream = thousands(version, 34, 40)
    header = stream.records[25].seq
    at = (header - stream.start_seq) % 2**32
    for byte in (1, 2, 3, 5, 8, 12):
        cuts = [*range(700, at - 50, 700), at - 40, at + byte, at + 500, *range(at + 1200, len(stream.wire), 700)]
        frames = stream.frames(stream.wire, cuts=cuts)
        cut = cuts.index(at - 40) + 1
        order = [0, *range(cut, cut + 4), *range(1, cut), *range(cut + 4, len(frames))]
        if swapped:
            order[1], order[2] = order[2], order[1]
        rig = NetRig(stream, policy, mode)
        statuses = rig.all(frames[n] for n in order)
        assert rig.requests
        assert (rig.requests[0] == header) is not swapped
        assert set(rig.requests) <= set(rig.numbered())
        assert statuses[-8:] == [Status.DECRYPTED] * 8
        rig.expect_everything()


@POLICIES
@BOTH
def test_29_hints_in_the_past_the_present_and_the_future(version: int, policy: RxPolicy):
    """A hint about a place that has passed is ignored; the next place, and one far ahead, are taken, once."""
    stream = thousands(version, 35)
    rig = Rig(stream, GoldenDevice(4, policy=policy), hints=False)
    frames = frames_of(stream)
    rig.all([frames[0], *frames[HOLE.stop : HOLE.stop + 2]])
    passed = (HOLE.stop + 2) * 700
    starts = [(r.seq - stream.start_seq) % 2**32 for r in stream.records]
    after = next(n for n, start in enumerate(starts) if start >= passed)
    records = stream.records
    requests = [d.descriptor.request for d in rig.deliveries if d.descriptor.request is not None]
    assert len(requests) == 1
    for n in range(after):
        if records[n].seq not in requests:
            assert rig.resync(records[n].seq, n) is Result.IGNORED
    assert rig.resync(records[after].seq, after) is Result.OK
    assert rig.resync(records[after + 20].seq, after + 20) is Result.IGNORED  # in sync
    statuses = rig.all(frames[HOLE.stop + 2 :])
    assert set(statuses[3:]) == {Status.DECRYPTED}
    rig.all(frames[1 : HOLE.stop])
    rig.expect_everything()

    rig = Rig(stream, GoldenDevice(4, policy=policy), hints=False)
    rig.all([frames[0], *frames[HOLE.stop : HOLE.stop + 2]])
    assert rig.resync(records[after + 20].seq, after + 20) is Result.OK
    statuses = rig.all(frames[HOLE.stop + 2 :])
    there = starts[after + 20] // 700 - (HOLE.stop + 2)
    assert set(statuses[:there]) == {Status.GAP}
    assert set(statuses[there + 2 :]) == {Status.DECRYPTED}
    rig.all(frames[1 : HOLE.stop])
    rig.expect_everything()


# --- 30 resync storm -----------------------------------------------------------------------------------
STORM = [
    pytest.param(policy, mode, marks=() if default else pytest.mark.slow)
    for policy, mode, default in (
        (RxPolicy.KERNEL, ResyncMode.SYNC, True),
        (RxPolicy.KERNEL, ResyncMode.ASYNC, False),
        (RxPolicy.FULL, ResyncMode.SYNC, False),
        (RxPolicy.FULL, ResyncMode.ASYNC, False),
        (RxPolicy.PUBLISHED, ResyncMode.SYNC, False),
    )
]


@pytest.mark.parametrize("policy, mode", STORM)
def test_30_every_connection_loses_sync_in_one_burst(policy: RxPolicy, mode: ResyncMode):
    """256 connections lose a record and more of each at the same time; what is lost comes late, for all in turn.

    The device holds no queue of requests: one travels with the packet that bears the header, and a connection asks
    again only when its chain has broken or is full.
    """
    netdev = NetDevice(GoldenDevice(STORM_CONNECTIONS, policy=policy), resync_mode=mode)
    rigs = storm(netdev)
    count = len(rigs)
    counters = netdev.counters
    for rig in rigs:
        assert len(rig.deliveries) == len(rig.sent) and rig.deliveries[-1].descriptor.decrypted
        assert len(rig.requests) == 1 and len(rig.told) <= 1
        rig.expect_everything()
    assert counters.resync_req_pkt == count == sum(rig.resyncs.requests for rig in rigs)
    assert counters.resync_req_start == counters.resync_req_end + counters.resync_req_skip
    assert counters.resync_req_start == count * (mode is ResyncMode.ASYNC)
    if policy is not RxPolicy.FULL:  # whose late packets bring it back
        assert counters.resync_res_ok == count == sum(rig.resyncs.confirmed for rig in rigs)


# --- 31 the asynchronous log ---------------------------------------------------------------------------
class Asynchronous:
    """A stack with 40 records of `size` bytes of payload, and a request begun at the first."""

    def __init__(self, size: int, length: int) -> None:
        self.stream = Stream(seed=36, start_seq=2**32 - 200, record_number=2**64 - 60)
        self.stream.bulk([size] * 40)
        self.told: list[tuple[int, int]] = []
        self.stack = KtlsReceiver(
            crypto_info(self.stream), self.stream.start_seq, lambda *answer: self.told.append(answer)
        )
        self.stack.tls_offload_rx_resync_set_type(ResyncType.DRIVER_REQ_ASYNC)
        self.stack.tls_offload_rx_resync_async_request_start(self.stream.start_seq, length)
        self._at = 0

    def through(self, record: int) -> None:
        """The stack reads up to the end of that record."""
        wire = b"".join(r.wire for r in self.stream.records[self._at : record + 1])
        self.stack.segment(self.stream.records[self._at].seq, wire)
        self._at = record + 1

    def end(self, record: int) -> None:
        self.stack.tls_offload_rx_resync_async_request_end(self.stream.records[record].seq)


@pytest.mark.parametrize("asked", range(20))
@pytest.mark.parametrize("read", [12, 13, 25])
def test_31_thirteen_headers_are_logged(asked: int, read: int):
    """A place among the first 13 is found however many records have gone by; a later one only if it is still ahead."""
    a = Asynchronous(20, 1000)
    a.through(read)
    a.end(asked)
    a.through(39)
    record = a.stream.records[asked]
    found = asked < 13 or asked > read
    assert a.told == ([(record.seq, record.number)] if found else [])


@pytest.mark.parametrize("length", [65535, 65536, 65536 + 3 * 16406])
def test_31_length_has_16_bits(length: int):
    """Window of 65535 bytes: the headers at 0 to 3 times 16406. What is longer is cut to 16 bits, as in C."""
    a = Asynchronous(16384, length)
    a.through(10)
    inside = (length % 65536) // 16406
    a.end(inside)
    a.through(11)
    assert a.told == [(a.stream.records[inside].seq, a.stream.records[inside].number)]
    b = Asynchronous(16384, length)
    b.through(10)
    b.end(inside + 1)
    b.through(11)
    assert b.told == []


def test_31_headers_before_the_window_do_not_count():
    a = Asynchronous(20, 1000)
    a.stack.tls_offload_rx_resync_async_request_start(a.stream.records[20].seq, 1000)
    a.through(35)
    a.end(25)
    a.through(36)
    assert a.told == [(a.stream.records[25].seq, a.stream.records[25].number)]


def test_31_count_that_would_overflow_is_called_off(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ktls, "USHRT_MAX", 20)
    for read, answered in ((19, True), (20, False)):
        a = Asynchronous(20, 1000)
        a.through(read)
        a.end(3)
        a.through(30)
        assert bool(a.told) is answered


def test_31_request_of_an_empty_log_waits_for_its_header():
    a = Asynchronous(20, 0)
    a.end(7)
    a.through(6)
    assert a.told == []
    a.through(7)
    assert a.told == [(a.stream.records[7].seq, a.stream.records[7].number)]
