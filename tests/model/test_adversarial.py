"""Points of the adversarial list (reference, section 8) that concern receiving and are not tested by name elsewhere.

Elsewhere: 2, 10, 12 to 19, 37, 38 in test_tracker.py; 6 to 9, 18, 30, 32 in test_tracker.py and test_ktls.py; 16 and 20
in test_frame.py; 39 to 41 and 62 in test_device.py; 63 in test_tcp.py; attacks in test_trust.py.
"""

import pytest

from model.contract import Result, Status
from sim.traffic import TLS12, TLS13, Stream
from tests.model.rig import Rig

BOTH = pytest.mark.parametrize("version", [TLS12, TLS13])


def prefix(version: int) -> int:
    return 13 if version == TLS12 else 5


@BOTH
def test_01_header_nonce_and_tag_cut_at_every_byte(version: int):
    """Two cuts in each of: header and nonce of the second record, and its tag."""
    stream = Stream(version, seed=1)
    stream.bulk([20, 33, 10])
    start = len(stream.records[0].wire)
    end = start + len(stream.records[1].wire)
    heads, tags = range(start, start + prefix(version) + 1), range(end - 16, end + 1)
    for a in heads:
        for b in [*(x for x in heads if x > a), *tags]:
            rig = Rig(stream)
            assert set(rig.all(stream.frames(stream.wire, cuts=[a, b]))) == {Status.DECRYPTED}
            rig.expect_everything()


@BOTH
def test_01_header_in_one_byte_segments_swapped(version: int):
    """Every pair of neighbours among the header's bytes arrives in the wrong order."""
    stream = Stream(version, seed=2)
    stream.bulk([20, 33])
    start = len(stream.records[0].wire)
    cuts = range(start, start + prefix(version) + 2)
    for at in range(1, len(cuts) - 1):
        rig = Rig(stream)
        frames = stream.frames(stream.wire, cuts=cuts)
        frames[at], frames[at + 1] = frames[at + 1], frames[at]
        rig.all(frames)
        rig.expect_everything()


@BOTH
@pytest.mark.parametrize("count", [14, 65, 200])
def test_03_many_records_in_one_packet(version: int, count: int):
    stream = Stream(version, seed=count)
    stream.bulk([i % 12 for i in range(count)])
    rig = Rig(stream)
    assert rig.all(stream.frames(stream.wire, mss=9000)) == [Status.DECRYPTED]
    rig.expect_everything()
    assert rig.state.record_number == count


@BOTH
def test_04_record_over_many_packets(version: int):
    stream = Stream(version, seed=4)
    stream.bulk([16384, 1])
    rig = Rig(stream)
    assert len(rig.all(stream.frames(stream.wire, mss=536))) > 30
    rig.expect_everything()
    assert [r.handling for r in rig.hw.records] == ["offloaded"] * 2


@BOTH
def test_05_zero_length_records(version: int):
    """selftest zero_len: zero-length data and control records mixed with 11 bytes, numbers 0 to 2."""
    for pattern in range(16):
        stream = Stream(version, seed=pattern)
        for bit in range(4):
            kind = 23 if pattern >> bit & 1 else 100
            stream.record(b"", kind)
            stream.record(b"hello world", kind)
        rig = Rig(stream)
        assert set(rig.all(stream.frames(stream.wire, mss=17))) == {Status.DECRYPTED}
        rig.expect_everything()


@BOTH
def test_14_pairs_swapped_anywhere(version: int):
    stream = Stream(version, seed=14)
    stream.bulk([150, 70, 150, 20, 300])
    frames = stream.frames(stream.wire, mss=64)
    for at in range(len(frames) - 1):
        rig = Rig(stream)
        rig.all([*frames[:at], frames[at + 1], frames[at], *frames[at + 2 :]])
        rig.expect_everything()


@BOTH
def test_13_lost_header_is_repaired_by_a_hint(version: int):
    """Loss of a header and everything behind it late: the stack's hint brings the device back."""
    stream = Stream(version, seed=13)
    stream.bulk([1000] * 30)
    frames = stream.frames(stream.wire, mss=700)
    rig = Rig(stream)
    rig.all(frames[:5] + frames[6:9] + frames[5:6] + frames[9:])
    rig.expect_everything()
    assert Result.OK in rig.answers
    assert rig.hw.records[-1].handling == "offloaded"
    assert sum(r.handling == "software" for r in rig.hw.records) <= 5


def test_21_fake_headers_in_the_body():
    """The plaintext is made of record headers; nothing scans for them."""
    stream = Stream(seed=21)
    for _ in range(20):
        stream.record(b"\x17\x03\x03\x00\x40" * 60)
    frames = stream.frames(stream.wire, mss=200)
    rig = Rig(stream)
    rig.all(frames[:10] + frames[13:20] + frames[10:13] + frames[20:])
    rig.expect_everything()


@pytest.mark.parametrize("off", [-1, 1, 4])
def test_23_hint_off_by_a_few_bytes(off: int):
    stream = Stream(seed=23)
    stream.bulk([78] * 20)
    rig = Rig(stream, hints=False)
    rig.segment(0, 100)
    rig.segment(150, 200)
    assert rig.resync(1300 + off, 3) is Result.OK
    for start in range(200, 2000, 100):
        assert rig.segment(start, start + 100) in (Status.GAP, Status.BAD_HEADER, Status.OUT_OF_SYNC, Status.WAIT)
    rig.segment(100, 150)
    rig.segment(150, 200)
    rig.expect_everything()


def test_29_hints_in_the_past_the_present_and_the_future():
    stream = Stream(seed=29)
    stream.bulk([78] * 10)
    rig = Rig(stream, hints=False)
    rig.segment(0, 100)
    rig.segment(150, 200)
    assert rig.resync(1100, 1) is Result.IGNORED
    assert rig.resync(1000, 0) is Result.IGNORED
    assert rig.resync(1200, 2) is Result.OK
    assert rig.resync(1300, 3) is Result.IGNORED  # in sync again: expected is what has been seen
    assert rig.segment(200, 300) is Status.DECRYPTED
    rig.segment(350, 400)
    assert rig.resync(1800, 8) is Result.OK
    assert [rig.segment(s, s + 100) for s in (400, 600, 800)] == [Status.GAP, Status.GAP, Status.DECRYPTED]
    rig.check()


@BOTH
def test_32_tag_error_behind_marked_packets(version: int):
    stream = Stream(version, seed=32)
    stream.bulk([500, 50])
    wire = bytearray(stream.wire)
    wire[len(stream.records[0].wire) - 1] ^= 1
    rig = Rig(stream)
    statuses = rig.all(stream.frames(bytes(wire), mss=100))
    assert statuses.count(Status.AUTH_FAILED) == 1
    assert statuses.index(Status.AUTH_FAILED) == (len(stream.records[0].wire) - 1) // 100
    rig.check()
    assert rig.hw.error == "EBADMSG" and rig.hw.records[0].handling == "mixed"


@BOTH
def test_33_type_flip_fails_the_aad(version: int):
    stream = Stream(version, seed=33)
    stream.bulk([50, 50])
    wire = bytearray(stream.wire)
    wire[0] = 21
    rig = Rig(stream)
    assert rig.all(stream.frames(bytes(wire))) == [Status.AUTH_FAILED]
    rig.check()
    assert rig.hw.error == "EBADMSG"


@BOTH
def test_34_35_bad_record_among_good_ones_in_a_packet(version: int):
    """The packet is raw as a whole; the count goes on, and the next packet is decrypted."""
    stream = Stream(version, seed=34)
    stream.bulk([20] * 9)
    size = len(stream.records[0].wire)
    for bad in range(3):
        wire = bytearray(stream.wire)
        wire[bad * size + prefix(version) + 2] ^= 0x40
        rig = Rig(stream)
        statuses = rig.all(stream.frames(bytes(wire), mss=3 * size))
        assert statuses == [Status.AUTH_FAILED, Status.DECRYPTED, Status.DECRYPTED]
        assert rig.state.record_number == 9
        rig.check()
        assert len(rig.hw.records) == bad + 1


@BOTH
def test_36_header_nonce_and_tag_stay(version: int):
    stream = Stream(version, seed=36)
    stream.bulk([40, 41, 0])
    rig = Rig(stream)
    rig.all(stream.frames(stream.wire))
    out = rig.deliveries[0].frame[-len(stream.wire) :]
    at = 0
    for record in stream.records:
        size = len(record.wire)
        delivered = out[at : at + size]
        assert delivered[: prefix(version)] == record.wire[: prefix(version)]
        assert delivered[-16:] == record.wire[-16:]
        inner = record.payload + (b"\x17" if version == TLS13 else b"")
        assert delivered[prefix(version) : -16] == inner
        at += size
    frame = rig.sent[0]
    assert rig.deliveries[0].frame[: len(frame) - len(stream.wire)] == frame[: len(frame) - len(stream.wire)]


@BOTH
@pytest.mark.parametrize("what", ["whole", "first", "middle", "last", "tag", "header", "byte"])
def test_42_retransmitted_parts(version: int, what: str):
    """Receive side of 42: whatever part comes again is raw and changes nothing."""
    stream = Stream(version, seed=42)
    stream.bulk([300, 300])
    size = len(stream.records[0].wire)
    ranges = {
        "whole": (0, size),
        "first": (0, 100),
        "middle": (100, 200),
        "last": (size - 60, size),
        "tag": (size - 16, size),
        "header": (0, 5),
        "byte": (77, 78),
    }
    rig = Rig(stream)
    rig.segment(0, size + 50)
    before = rig.state
    assert rig.segment(*ranges[what]) is Status.RETRANSMISSION
    assert rig.state == before
    assert rig.segment(size + 50, 2 * size) is Status.DECRYPTED
    rig.expect_everything()
