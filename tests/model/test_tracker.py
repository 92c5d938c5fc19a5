"""The tracker's rules, one test a rule (docs/contract.md, section 3), and what the stack makes of each."""

import pytest

from model.contract import MAX_RECORD, Result, Status
from sim.traffic import ACK, FIN, PSH, RST, SYN, TLS12, TLS13, URG, Stream
from tests.model.rig import Rig

DECRYPTED, GAP, WAIT = Status.DECRYPTED, Status.GAP, Status.WAIT
OUT_OF_SYNC, BAD_HEADER, RETRANSMISSION = Status.OUT_OF_SYNC, Status.BAD_HEADER, Status.RETRANSMISSION

BOTH = pytest.mark.parametrize("version", [TLS12, TLS13])


def hundreds(version: int = TLS13, count: int = 4, start_seq: int = 1000, record_number: int = 5) -> Rig:
    """Records of 100 bytes on the wire."""
    stream = Stream(version, seed=count, start_seq=start_seq, record_number=record_number)
    stream.bulk([100 - (29 if version == TLS12 else 22)] * count)
    return Rig(stream)


@BOTH
def test_in_order(version: int):
    rig = hundreds(version)
    assert [rig.segment(0, 150), rig.segment(150, 400)] == [DECRYPTED] * 2
    rig.expect_everything()
    assert rig.state.expected_seq == rig.state.seen_seq == 1400
    assert (rig.state.record_number, rig.state.remaining, rig.state.header_count) == (9, 0, 0)


@BOTH
def test_state_inside_a_record_and_inside_a_header(version: int):
    rig = hundreds(version)
    prefix = 13 if version == TLS12 else 5
    assert rig.state.skipping
    for cut in range(1, 101):
        start = cut - 1
        assert rig.segment(start, cut) is DECRYPTED
        state = rig.state
        assert not state.skipping
        if cut < prefix:
            assert (state.header_count, state.remaining) == (cut, 0)
        else:
            assert (state.header_count, state.remaining) == (0, 100 - cut)
        assert state.record_number == (6 if cut == 100 else 5)


@BOTH
def test_retransmission_changes_nothing(version: int):
    """Number 10: a duplicate of an offloaded packet."""
    rig = hundreds(version)
    rig.segment(0, 150)
    before = rig.state
    assert rig.segment(0, 150) is RETRANSMISSION
    assert rig.segment(10, 150) is RETRANSMISSION
    assert rig.state == before
    assert rig.segment(150, 400) is DECRYPTED
    rig.expect_everything()


@BOTH
def test_retransmission_that_reaches_past_expected(version: int):
    """Number 11: a partial overlap is raw as a whole; its new bytes are missing then."""
    rig = hundreds(version)
    rig.segment(0, 150)
    assert rig.segment(100, 180) is RETRANSMISSION
    assert rig.state.expected_seq == 1150
    assert rig.state.seen_seq == 1180
    assert rig.segment(180, 250) is GAP
    assert rig.segment(250, 400) is DECRYPTED
    rig.expect_everything()
    assert [r.handling for r in rig.hw.records] == ["offloaded", "mixed", "mixed", "offloaded"]


@BOTH
def test_gap_in_a_record_with_the_next_header_in_the_packet(version: int):
    """Number 12, the kernel document's good case: segment 3 raw, from 4 on decrypted, 2 late and raw."""
    rig = hundreds(version)
    assert rig.segment(0, 40) is DECRYPTED
    assert rig.segment(80, 120) is GAP
    state = rig.state
    assert (state.expected_seq, state.record_number, state.skipping) == (1120, 6, False)
    assert rig.segment(120, 160) is DECRYPTED
    assert rig.segment(160, 400) is DECRYPTED
    assert rig.segment(40, 80) is RETRANSMISSION
    rig.expect_everything()
    assert [r.handling for r in rig.hw.records] == ["mixed", "mixed", "offloaded", "offloaded"]


@BOTH
def test_gap_that_ends_at_the_next_header(version: int):
    rig = hundreds(version)
    rig.segment(0, 40)
    assert rig.segment(100, 200) is DECRYPTED
    assert rig.segment(40, 100) is RETRANSMISSION
    assert rig.segment(200, 400) is DECRYPTED
    rig.expect_everything()
    assert [r.handling for r in rig.hw.records] == ["mixed", "offloaded", "offloaded", "offloaded"]


@BOTH
def test_packet_wholly_inside_the_given_up_record(version: int):
    rig = hundreds(version)
    rig.segment(0, 40)
    assert rig.segment(50, 100) is GAP
    state = rig.state
    assert (state.expected_seq, state.record_number, state.skipping, state.remaining) == (1100, 6, True, 0)
    assert rig.segment(40, 50) is GAP  # late, before expected while skipping: no retransmission
    assert rig.segment(90, 100) is GAP  # up to expected and not past it: nothing to take up
    assert rig.state.skipping
    assert rig.segment(90, 130) is GAP  # skipping and past expected: taken up
    assert not rig.state.skipping
    assert rig.segment(130, 400) is DECRYPTED
    rig.expect_everything()


def test_skipping_goes_on_to_a_gap_over_the_next_header():
    rig = hundreds()
    rig.segment(0, 40)
    rig.segment(50, 90)
    assert rig.segment(110, 150) is WAIT
    assert rig.segment(90, 110) is GAP  # the late header: taken up, the body bytes behind it wanted
    assert rig.segment(110, 150) is DECRYPTED
    assert rig.segment(150, 400) is DECRYPTED
    assert rig.segment(40, 50) is RETRANSMISSION
    rig.expect_everything()


@BOTH
def test_gap_over_a_header_waits_and_the_late_segment_ends_it(version: int):
    """Number 14: a pair of segments swapped, with a header in the first."""
    rig = hundreds(version)
    rig.segment(0, 80)
    assert rig.segment(130, 180) is WAIT
    assert rig.state.expected_seq == 1080
    assert rig.segment(80, 130) is DECRYPTED
    assert rig.segment(130, 180) is DECRYPTED  # only if sent again: raw bytes are not kept
    assert rig.segment(180, 400) is DECRYPTED
    rig.expect_everything()


def test_after_a_wait_the_next_packet_is_a_gap_in_the_record():
    rig = hundreds()
    rig.segment(0, 80)
    rig.segment(130, 180)
    rig.segment(80, 130)
    assert rig.segment(180, 250) is GAP
    assert rig.segment(250, 400) is DECRYPTED
    rig.expect_everything()


def test_gap_in_a_cut_header_waits():
    rig = hundreds()
    assert rig.segment(0, 102) is DECRYPTED
    assert rig.segment(103, 150) is WAIT
    assert rig.state.header_count == 2
    assert rig.segment(102, 103) is DECRYPTED
    assert rig.segment(103, 400) is DECRYPTED
    rig.expect_everything()


def test_gap_at_a_record_boundary_waits():
    rig = hundreds()
    rig.segment(0, 100)
    assert rig.segment(150, 200) is WAIT
    rig.segment(100, 150)
    assert rig.hw.application.size == 2 * 78
    rig.check()


def test_gap_past_the_record_end_waits_though_a_body_is_in_progress():
    """The kernel document's bad case (number 13): seq past H, so the gap covers the header at H."""
    rig = hundreds()
    rig.segment(0, 40)
    assert rig.segment(101, 150) is WAIT
    assert rig.state.remaining == 60
    assert rig.segment(40, 101) is DECRYPTED
    rig.segment(101, 400)
    rig.expect_everything()


@pytest.mark.parametrize("excess, status", [(-1, WAIT), (0, WAIT), (1, OUT_OF_SYNC)])
def test_reach_of_the_wait(excess: int, status: Status):
    """Number 15: a gap shorter than, of, and longer than one maximum record, measured to the packet's end."""
    stream = Stream(seed=1)
    stream.bulk([16000, 16000, 100])
    rig = Rig(stream)
    end = MAX_RECORD + excess
    assert rig.segment(end - 100, end) is status
    assert rig.state.out_of_sync is (status is OUT_OF_SYNC)


def test_sequence_numbers_half_the_space_away():
    rig = hundreds()
    frame = rig.stream.frame
    assert rig.receive(frame(1000 + 2**31 - 5, bytes(20))) is OUT_OF_SYNC
    rig = hundreds()
    rig.segment(0, 150)
    for distance in (2**31, 2**31 + 1):
        assert rig.receive(frame(1150 + distance, bytes(20))) is RETRANSMISSION
    assert rig.segment(150, 400) is DECRYPTED


def test_out_of_sync_until_resync():
    rig = hundreds()
    rig.receive(rig.stream.frame(1000 + 20000, bytes(10)))
    assert rig.state.out_of_sync
    assert [rig.segment(0, 100), rig.segment(100, 250)] == [OUT_OF_SYNC] * 2
    assert rig.state.expected_seq == 1000
    assert rig.resync(1300, 8) is Result.IGNORED  # the packet far ahead has been seen
    assert rig.resync(1000 + 20010, 8) is Result.OK
    state = rig.state
    assert (state.expected_seq, state.record_number, state.out_of_sync) == (1000 + 20010, 8, False)
    assert state.skipping


@BOTH
def test_resync_at_the_next_record_after_a_bad_wait(version: int):
    rig = hundreds(version)
    rig.segment(0, 100)
    assert rig.segment(150, 250) is WAIT
    assert rig.resync(1200, 7) is Result.IGNORED  # before seen
    assert rig.resync(1249, 7) is Result.IGNORED
    assert rig.resync(1300, 8) is Result.OK
    assert rig.segment(250, 300) is GAP  # before expected, skipping
    assert rig.segment(300, 400) is DECRYPTED
    assert rig.segment(100, 150) is RETRANSMISSION
    rig.expect_everything()


def test_resync_in_sync_is_ignored():
    rig = hundreds()
    rig.segment(0, 150)
    assert rig.resync(1200, 7) is Result.IGNORED
    assert rig.resync(1150, 7) is Result.IGNORED
    assert rig.segment(150, 400) is DECRYPTED
    rig.expect_everything()


def test_resync_behind_the_packet_that_bears_it():
    """A hint may name a header in the middle of the next packet."""
    rig = hundreds()
    rig.receive(rig.stream.frame(1000 + 40000, b""))
    rig.segment(0, 50)
    rig.segment(60, 101)
    rig.segment(102, 150)
    assert rig.resync(1200, 7) is Result.OK
    assert rig.segment(150, 250) is GAP
    assert rig.segment(250, 400) is DECRYPTED
    rig.segment(50, 60)
    rig.segment(101, 102)
    rig.expect_everything()
    assert [r.handling for r in rig.hw.records] == ["mixed", "software", "mixed", "offloaded"]


def test_wrong_resync_number_costs_authentication_not_safety():
    rig = hundreds()
    rig.segment(0, 50)
    rig.segment(101, 150)
    assert rig.resync(1200, 6) is Result.OK  # it is 7
    assert rig.segment(200, 300) is Status.AUTH_FAILED
    assert rig.segment(300, 400) is Status.AUTH_FAILED
    rig.segment(50, 101)
    rig.segment(150, 200)
    rig.expect_everything()


@pytest.mark.parametrize("start, expected_status", [(0, GAP), (50, DECRYPTED)])
def test_start_in_mid_segment(start: int, expected_status: Status):
    """Numbers 37 and 38: the socket had read up to byte 50 when the keys came."""
    whole = hundreds()
    earlier, late = whole.stream.wire, Stream(TLS13, seed=9, start_seq=1050, record_number=0)
    late.bulk([50, 60])
    rig = Rig(late)
    wire = earlier[:50] + late.wire
    status = rig.receive(late.frame(1000 + start, wire[start:90]))
    assert status is expected_status
    assert rig.receive(late.frame(1090, wire[90:])) is DECRYPTED
    rig.expect_everything()


def test_start_behind_what_has_arrived():
    """Number 37: start_seq is copied_seq; packets behind it passed before ADD. The stack's hint repairs it."""
    stream = Stream(seed=3)
    stream.bulk([78] * 12)
    frames = stream.frames(stream.wire, mss=100)
    rig = Rig(stream)
    for packet in frames[:2]:  # before ADD: the stack has them, the device never saw them
        rig.hw.segment(*_fields(packet))
        rig.sw.segment(*_fields(packet))
    statuses = rig.all(frames[2:])
    assert statuses == [WAIT] + [DECRYPTED] * 9  # third record in software: the hint names the fourth
    assert rig.answers == [Result.OK]
    rig.expect_everything()


def _fields(frame: bytes) -> tuple[int, bytes]:
    from model.frame import parse

    packet = parse(frame)
    assert packet
    return packet.seq, frame[packet.payload : packet.end]


def test_partial_packet_counts_for_the_record_it_begins():
    """A record whose head came in a GAP packet and whose tag is wrong fails where its tag is."""
    rig = hundreds()
    wire = bytearray(rig.stream.wire)
    wire[199] ^= 1
    frame = rig.stream.frame
    rig.receive(frame(1000, bytes(wire[:40])))
    assert rig.receive(frame(1090, bytes(wire[90:150]))) is GAP
    assert rig.receive(frame(1150, bytes(wire[150:250]))) is Status.AUTH_FAILED
    assert rig.receive(frame(1250, bytes(wire[250:]))) is DECRYPTED
    rig.receive(frame(1040, bytes(wire[40:90])))
    rig.check()
    assert rig.sw.error == "EBADMSG"


def test_authentication_failure_wins_over_partial():
    rig = hundreds()
    wire = bytearray(rig.stream.wire)
    wire[150] ^= 1
    rig.receive(rig.stream.frame(1000, bytes(wire[:40])))
    assert rig.receive(rig.stream.frame(1090, bytes(wire[90:250]))) is Status.AUTH_FAILED
    assert rig.receive(rig.stream.frame(1250, bytes(wire[250:]))) is DECRYPTED


@BOTH
def test_bad_header_leaves_the_state_before_the_packet(version: int):
    rig = hundreds(version)
    rig.segment(0, 101)
    before = rig.state
    wire = bytearray(rig.stream.wire)
    wire[201] = 2  # a version byte, behind a record that ends well in the same packet
    assert rig.receive(rig.stream.frame(1101, bytes(wire[101:250]))) is BAD_HEADER
    after = rig.state
    assert after.out_of_sync and after.seen_seq == 1250
    assert (after.expected_seq, after.record_number, after.header_count, after.remaining) == (
        before.expected_seq,
        before.record_number,
        before.header_count,
        before.remaining,
    )
    assert rig.receive(rig.stream.frame(1250, bytes(wire[250:]))) is OUT_OF_SYNC
    rig.check()
    assert rig.sw.error == "EINVAL"


def test_bad_header_behind_a_give_up():
    rig = hundreds()
    rig.segment(0, 40)
    wire = bytearray(rig.stream.wire)
    wire[102] = 1
    assert rig.receive(rig.stream.frame(1090, bytes(wire[90:150]))) is BAD_HEADER
    state = rig.state
    assert (state.expected_seq, state.record_number, state.skipping, state.out_of_sync) == (1100, 6, True, True)


def test_tls12_header_is_checked_with_its_nonce():
    rig = hundreds(TLS12)
    wire = bytearray(rig.stream.wire)
    wire[1] = 1
    assert rig.receive(rig.stream.frame(1000, bytes(wire[:12]))) is DECRYPTED
    assert rig.receive(rig.stream.frame(1012, bytes(wire[12:13]))) is BAD_HEADER


@pytest.mark.parametrize(
    "version, length, good, error",
    [
        (TLS12, 24, True, None),
        (TLS12, 16408, True, None),
        (TLS12, 23, False, "EBADMSG"),
        (TLS12, 16409, False, "EMSGSIZE"),
        (TLS13, 17, True, None),
        (TLS13, 16401, True, None),
        (TLS13, 16, False, "EBADMSG"),
        (TLS13, 15, False, "EBADMSG"),
        (TLS13, 16402, False, "EMSGSIZE"),
    ],
)
def test_length_limits(version: int, length: int, good: bool, error: str | None):
    """Number 6; selftest tls_err.bad_rec for the order of the checks."""
    stream = Stream(version, seed=length)
    body = length - (24 if version == TLS12 else 16)
    if body >= 0 and version == TLS12:
        stream.record(stream.rng.randbytes(body))
    elif body >= 0:
        stream.record(b"", inner=stream.rng.randbytes(max(body - 1, 0)) + b"\x17"[:body])
    else:
        stream.record(b"abc")
    wire = bytearray(stream.wire)
    wire[3:5] = length.to_bytes(2, "big")
    rig = Rig(stream)
    statuses = rig.all(stream.frames(bytes(wire), mss=1448))
    rig.check()
    assert rig.sw.error == error
    if good:
        assert set(statuses) == {DECRYPTED}
        assert rig.hw.records[0].length == length + 5
    else:
        assert statuses[0] is BAD_HEADER
        assert rig.state.out_of_sync


@pytest.mark.parametrize("content_type", [0, 1, 21, 22, 23, 24, 100, 255])
@BOTH
def test_content_type_is_not_checked(version: int, content_type: int):
    """Number 7; selftest control_msg (type 100). TLS 1.3: the outer type; inside, it may not be 0."""
    stream = Stream(version, seed=content_type)
    if version == TLS12:
        stream.record(b"abc", content_type)
    else:
        stream.record(b"abc", outer_type=content_type)
    rig = Rig(stream)
    assert rig.all(stream.frames(stream.wire)) == [DECRYPTED]
    rig.expect_everything()


@BOTH
def test_sequence_number_wraps_everywhere(version: int):
    """Number 17: the wrap at every byte of a record and its header."""
    for before in range(1, 115):
        rig = hundreds(version, start_seq=2**32 - before)
        assert rig.all(rig.stream.frames(rig.stream.wire, mss=33)) == [DECRYPTED] * 13
        rig.expect_everything()
        lossy = hundreds(version, start_seq=2**32 - before)
        frames = lossy.stream.frames(lossy.stream.wire, mss=33)
        lossy.all(frames[:2] + frames[4:] + frames[2:4])
        lossy.expect_everything()


def test_resync_across_the_wrap():
    rig = hundreds(start_seq=2**32 - 150)
    rig.segment(0, 100)
    rig.segment(120, 199)
    assert rig.resync(2**32 - 150 + 198, 7) is Result.IGNORED
    assert rig.resync(50, 7) is Result.OK
    assert rig.segment(200, 400) is DECRYPTED


@BOTH
@pytest.mark.parametrize("number", [0, 255, 2**32 - 2, 2**63 - 1, 2**64 - 3])
def test_record_number_carries(version: int, number: int):
    """Number 18; selftest tls_basic.recseq_wrap for the end of the numbers."""
    rig = hundreds(version, record_number=number, count=3)
    assert rig.segment(0, 300) is DECRYPTED
    rig.check()
    assert rig.hw.application.data == rig.stream.application
    assert rig.hw.error == ("EBADMSG" if number == 2**64 - 3 else None)
    assert rig.state.record_number == (number + 3) % 2**64


def test_record_number_wraps_in_a_give_up():
    rig = hundreds(record_number=2**64 - 1)
    rig.segment(0, 40)
    rig.segment(60, 90)
    assert rig.state.record_number == 0


def test_bad_checksum_changes_nothing():
    """Number 19, and a wrong IPv4 header checksum, and a frame shorter than its packet."""
    rig = hundreds()
    rig.segment(0, 50)
    before = rig.state
    assert rig.segment(50, 150, bad_tcp=True) is Status.BAD_CHECKSUM
    assert rig.segment(50, 150, bad_ip=True) is Status.BAD_CHECKSUM
    frame = rig.stream.frame(1050, rig.stream.wire[50:150])
    assert rig.receive(frame[:-1]) is Status.BAD_CHECKSUM
    assert rig.state == before
    assert rig.segment(50, 400) is DECRYPTED
    rig.expect_everything()


def test_which_flags_are_looked_up():
    """Number 16: SYN and RST are not, whatever they carry; FIN, PSH and URG are."""
    rig = hundreds()
    for flag in (SYN, RST, SYN | ACK, RST | ACK):
        delivery = rig.device.receive(rig.stream.frame(1000, b"abc", flags=flag))
        assert delivery.descriptor.status is Status.BYPASS and not delivery.descriptor.matched
    for i, flag in enumerate((PSH | ACK, URG | ACK, ACK, FIN | ACK)):
        assert rig.segment(i * 100, i * 100 + 100, flags=flag) is DECRYPTED
    rig.expect_everything()
    assert rig.hw.eof


def test_packets_without_payload():
    """Number 2: pure ACKs inside the stream."""
    rig = hundreds()
    for start in range(0, 400, 50):
        assert rig.receive(rig.stream.frame(1000 + start, b"")) is Status.BYPASS
        assert rig.segment(start, start + 50) is DECRYPTED
    rig.expect_everything()
