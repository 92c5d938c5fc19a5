"""Attacks on the receive direction's trust: docs/trust.md names them.

Each is a sequence of segments, some of which TCP refuses. None may end in a record that software would not have
taken, nor in another error than software's, unless the connection was aborted.
"""

import pytest

from model.contract import RxPolicy, Status
from sim.traffic import TLS12, TLS13, Stream
from tests.model.trust_rig import REFUSED, TrustRig

KERNEL, FULL, PUBLISHED = RxPolicy.KERNEL, RxPolicy.FULL, RxPolicy.PUBLISHED
BOTH = pytest.mark.parametrize("policy", [KERNEL, FULL])


def hundreds(count: int, version: int = TLS13) -> Stream:
    """Records of 100 bytes each."""
    stream = Stream(version, seed=50)
    stream.bulk([78 if version == TLS13 else 71] * count)
    return stream


def claims(length: int, wire: bytes) -> bytes:
    """The bytes of a record, its header claiming another length (of the record on the wire)."""
    return wire[:3] + (length - 5).to_bytes(2, "big") + wire[5:]


def flipped(wire: bytes, at: int) -> bytes:
    return wire[:at] + bytes([wire[at] ^ 1]) + wire[at + 1 :]


def replay_behind_a_forged_header(policy: RxPolicy) -> TrustRig:
    """The attack of the design's section 3."""
    stream = hundreds(4)
    wire = stream.wire
    rig = TrustRig(stream, policy)
    assert rig.put(0, claims(200, wire[:100]), **REFUSED) is Status.DECRYPTED
    rig.wire(0, 100)  # raw: a retransmission
    rig.put(200, wire[100:200])  # record 1 in record 2's place
    rig.wire(100, 200)
    return rig


def test_published_rules_take_a_replayed_record():
    rig = replay_behind_a_forged_header(PUBLISHED)
    first, second = rig.stream.records[:2]
    assert rig.sw.error == "EBADMSG" and rig.sw.application.data == first.payload + second.payload
    assert rig.hw.error is None and rig.hw.application.data == first.payload + second.payload * 2
    with pytest.raises(AssertionError):
        rig.judge()


@BOTH
def test_replay_behind_a_forged_header(policy: RxPolicy):
    rig = replay_behind_a_forged_header(policy)
    rig.judge()
    assert rig.aborted and rig.statuses == [Status.DECRYPTED, Status.CONFLICT]


@BOTH
def test_header_of_a_record_whose_tag_failed(policy: RxPolicy):
    """A record with a lying header fails its tag: what was marked in it still hangs on that header."""
    stream = hundreds(4)
    rig = TrustRig(stream, policy)
    rig.put(0, claims(200, stream.wire[:50]), **REFUSED)
    assert rig.wire(50, 150) is Status.DECRYPTED  # record 1's header comes out garbled
    assert rig.wire(150, 250) is Status.AUTH_FAILED
    rig.wire(0, 50)
    rig.wire(250, 400)
    rig.judge()


@BOTH
@pytest.mark.parametrize("end", [b"\x17\x03\x05\0\x40", b"\x17\x03\x03\xff\xff"])
def test_header_of_a_record_that_ends_in_front_of_a_bad_one(policy: RxPolicy, end: bytes):
    """Its last packet is no good, but judged all the same."""
    stream = hundreds(4)
    rig = TrustRig(stream, policy)
    rig.put(0, claims(200, stream.wire[:50]), **REFUSED)
    assert rig.wire(50, 150) is Status.DECRYPTED
    assert rig.put(150, stream.wire[150:200] + end, **REFUSED) is Status.AUTH_FAILED
    rig.wire(0, 50)
    rig.wire(150, 400)
    rig.judge()


@BOTH
def test_injection_behind_a_record_whose_tag_failed(policy: RxPolicy):
    """The stack's next header inside the lying record's tag, which is not encrypted; its bytes are the attacker's."""
    stream = Stream(seed=3)
    stream.record(bytes(978))  # 1000 bytes on the wire; the next header at 1000
    known = stream.record(bytes(1000))
    wire = stream.wire
    rig = TrustRig(stream, policy)
    rig.put(0, claims(1016, wire[:50]), **REFUSED)
    rig.wire(50, 400)
    # [400, 500) is held back; the forged record's tag is the head of the stack's record 1
    keystream = bytes(a ^ b for a, b in zip(known[5:], bytes(1000) + b"\x17", strict=False))
    plain = b"evil" * 25 + b"\x17"
    inner = b"\x17\x03\x03" + (len(plain) + 16).to_bytes(2, "big") + plain[:11]
    rest = bytes(a ^ b for a, b in zip(plain[16:], keystream, strict=False))
    forged = wire[500:1000] + inner + b"\x17\x03\x03\x03\xe8" + rest + bytes(16)
    rig.put(500, forged)
    rig.wire(400, 500)
    rig.wire(0, 50)
    rig.judge()


def test_record_behind_a_gap_wholly_in_the_late_packet():
    """The packet ends a live record, too, and is marked for that: the record between must be verified."""
    for at in (None, 210, 299):
        stream = hundreds(5)
        rig = TrustRig(stream, FULL)
        rig.wire(0, 150)
        rig.wire(300, 450)  # record 3 proves itself
        wire = stream.wire if at is None else flipped(stream.wire, at)
        status = rig.put(150, wire[150:300])
        assert status is (Status.DECRYPTED if at is None else Status.AUTH_FAILED)
        rig.wire(450, 500)
        rig.judge()


def test_record_whose_header_ends_the_proving_packet():
    """All of its body comes in the next packet, which is marked: it must be verified."""
    for at in (None, 310, 399):
        stream = hundreds(5)
        rig = TrustRig(stream, FULL)
        rig.wire(0, 100)
        rig.wire(200, 250)
        rig.wire(250, 305)
        wire = stream.wire if at is None else flipped(stream.wire, at)
        rig.put(305, wire[305:450])
        rig.wire(100, 200)
        rig.wire(450, 500)
        rig.judge()


def test_chain_whose_next_header_passes_in_a_retransmission():
    """The chain has not looked at that header: it must not be jumped over."""
    stream = hundreds(8)
    wire = stream.wire
    rig = TrustRig(stream, FULL, mode=None)
    rig.wire(0, 100)
    rig.wire(200, 290)  # a chain: the next header at 300
    rig.wire(280, 400)  # overlaps: not looked at
    rig.put(500, wire[400:500], **REFUSED)  # record 4 in record 5's place, proves itself
    rig.put(600, wire[500:600])  # record 5 in record 6's place
    for start in (100, 400, 500):
        rig.wire(start, start + 100)
    rig.judge()


def test_header_found_across_bytes_that_never_met():
    """The search's last bytes are those of a packet that another one has followed, in part a retransmission."""
    stream = Stream(seed=4)
    stream.bulk([78, 78, 78, 234, 234])
    wire = stream.wire
    rig = TrustRig(stream, FULL, mode=None)
    rig.wire(0, 100)
    rig.put(150, bytes(36) + b"\x17\x03\x03\x01", **REFUSED)
    rig.wire(180, 204)
    rig.wire(204, 300)
    rig.wire(100, 180)
    rig.wire(300, 556)
    rig.put(556, wire[300:556])  # record 3 in record 4's place
    rig.judge()


@BOTH
def test_sequence_numbers_wrapped_by_segments_far_ahead(policy: RxPolicy):
    """What has passed must never seem new again."""
    stream = hundreds(4)
    rig = TrustRig(stream, policy, mode=None)
    rig.put(0, claims(200, stream.wire[:50]), **REFUSED)
    assert rig.wire(50, 150) is Status.DECRYPTED
    for ahead in range(0x3FFF0000, 1 << 32, 0x3FFF0000):
        rig.put(ahead, bytes(10), **REFUSED)
    rig.wire(0, 50)
    rig.wire(150, 400)
    rig.judge()


@BOTH
def test_explicit_nonce_of_a_refused_segment(policy: RxPolicy):
    stream = hundreds(3, TLS12)
    rig = TrustRig(stream, policy)
    rig.put(0, flipped(stream.wire, 7)[:50], **REFUSED)
    rig.wire(0, 50)
    rig.wire(50, 80)
    rig.wire(80, 300)
    rig.judge()


@BOTH
def test_contradicted_header_that_nothing_was_marked_on(policy: RxPolicy):
    """Behind a resynchronisation the first packet is raw; when a copy says something else, its records are over."""
    stream = hundreds(6)
    rig = TrustRig(stream, policy, mode=None)
    wire = stream.wire
    rig.wire(0, 100)
    rig.put(180, wire[180:190])  # waits for record 1's header
    rig.place(200, 2)
    rig.put(190, wire[190:200] + claims(300, wire[200:250]), **REFUSED)
    rig.wire(200, 250)
    rig.wire(250, 350)
    rig.wire(350, 600)
    rig.wire(100, 180)
    rig.wire(190, 200)
    rig.judge()


def test_number_guessed_before_the_frontier_moved():
    """No attack: a chain's first record, counted from where the frontier was then, is not marked under that number."""
    stream = Stream(seed=5)
    stream.bulk([178, 278, 178, 78, 178])
    rig = TrustRig(stream, FULL)
    for start, end in ((400, 600), (0, 200), (615, 815), (600, 615), (200, 400), (815, 1000)):
        rig.wire(start, end)
    rig.honest()


@BOTH
def test_what_it_rests_on(policy: RxPolicy):
    """A record that TCP had before ADD, or as IP fragments, or by another device: its header cannot be compared.

    Not a property to keep, but the reason for the assumption: the stack takes a replayed record.
    """
    stream = hundreds(4)
    rig = TrustRig(stream, policy)
    rig.unseen(0, 100)
    assert rig.put(0, claims(200, stream.wire[:100]), **REFUSED) is Status.DECRYPTED
    assert rig.put(200, stream.wire[100:200]) is Status.DECRYPTED
    rig.wire(100, 200)
    assert rig.sw.error == "EBADMSG" and rig.hw.error is None
    assert [r.seq - stream.start_seq for r in rig.taken_on_trust] == [200]


def test_copied_record_behind_a_late_frame_that_begins_one():
    """What the copy contradicts is let go with the gap in front of it: the late frame has a header nobody knows."""
    stream = Stream(TLS12, seed=1)
    stream.bulk([179, 1001, 179, 301])
    rig = TrustRig(stream, FULL, acks=False)
    for start, end in ((0, 50), (0, 100), (100, 200), *((n, n + 100) for n in range(300, 700, 100))):
        rig.wire(start, end)
    for start, end in ((1238, 1538), (700, 800), (800, 900)):
        rig.wire(start, end)
    assert rig.put(1446, stream.wire[:50]) is Status.OUT_OF_SYNC
    rig.wire(900, 1000)
    assert rig.wire(200, 300) is Status.OUT_OF_SYNC
    for start in (1000, 1100, 1200):
        rig.wire(start, start + 100)
    rig.judge()
