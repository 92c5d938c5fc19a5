"""The rules of docs/contract.md, section 5, one by one, on a connection of the golden device."""

import itertools

import pytest

from model import loss_tracker
from model.commands import Resync
from model.contract import REACH, RxPolicy, Status
from model.loss_tracker import LossConnection
from sim.traffic import TLS12, TLS13, Stream

KERNEL, FULL = RxPolicy.KERNEL, RxPolicy.FULL
DECRYPTED, RETRANSMISSION, GAP, WAIT = Status.DECRYPTED, Status.RETRANSMISSION, Status.GAP, Status.WAIT
OUT_OF_SYNC, BAD_HEADER, CONFLICT = Status.OUT_OF_SYNC, Status.BAD_HEADER, Status.CONFLICT
BOTH = pytest.mark.parametrize("policy", [KERNEL, FULL])
VERSIONS = pytest.mark.parametrize("version", [TLS12, TLS13])


class Link:
    """A stream of records of 100 bytes (or of `sizes` bytes on the wire) and the connection that tracks it."""

    def __init__(
        self,
        policy: RxPolicy = FULL,
        version: int = TLS13,
        sizes: tuple[int, ...] = (100,) * 8,
        start: int = 1000,
        number: int = 0,
    ) -> None:
        self.stream = Stream(version, seed=1, start_seq=start, record_number=number)
        self.stream.bulk([size - (22 if version == TLS13 else 29) for size in sizes])
        self.connection = LossConnection(self.stream.add(), policy)

    def put(self, place: int, payload: bytes) -> Status:
        self.taken = self.connection.take_in((self.stream.start_seq + place) % 2**32, payload)
        return self.taken.status

    def wire(self, start: int, end: int) -> Status:
        return self.put(start, self.stream.wire[start:end])

    def ack(self, place: int) -> None:
        self.connection.acknowledge((self.stream.start_seq + place) % 2**32)

    def resync(self, place: int, number: int) -> bool:
        return self.connection.resync(Resync(0, (self.stream.start_seq + place) % 2**32, number))

    @property
    def request(self) -> int | None:
        seq = self.taken.request
        return None if seq is None else (seq - self.stream.start_seq) % 2**32

    @property
    def frontier(self) -> tuple[int, int]:
        """Place and number of the first header not yet whole."""
        state = self.connection.state()
        return (state.expected_seq - self.stream.start_seq) % 2**32, state.record_number

    def lying(self, start: int, end: int, length: int) -> bytes:
        """The wire's bytes from a header on, which claims a record of this many bytes."""
        wire = self.stream.wire[start:end]
        return wire[:3] + (length - 5).to_bytes(2, "big") + wire[5:]


# --- late packets ------------------------------------------------------------------------------------
@VERSIONS
def test_hole_in_a_record_is_filled_late(version: int):
    link = Link(version=version)
    assert [link.wire(0, 30), link.wire(60, 150), link.wire(30, 60)] == [DECRYPTED] * 3
    assert link.wire(150, 200) is DECRYPTED and link.frontier == (200, 2)


def test_a_wrong_byte_in_the_late_packet_fails_the_tag():
    link = Link()
    link.wire(0, 30)
    link.wire(60, 150)
    assert link.put(30, bytes(30)) is Status.AUTH_FAILED
    assert link.wire(150, 200) is Status.CLOSED


def test_kernel_gives_up_a_record_with_a_hole():
    link = Link(KERNEL)
    assert [link.wire(0, 30), link.wire(60, 150), link.wire(30, 60)] == [DECRYPTED, GAP, RETRANSMISSION]
    assert link.wire(150, 200) is DECRYPTED


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_cut_header_in_any_order(order: tuple[int, ...]):
    """The packets with bytes of it, in any order; what is late only costs offload."""
    cuts = [(100, 102), (102, 104), (104, 105), (105, 200)]
    link = Link()
    link.wire(0, 100)
    for n in order:
        assert link.wire(*cuts[n]) in (DECRYPTED, WAIT, GAP)
    assert link.frontier == (200, 2)
    assert link.wire(200, 300) is DECRYPTED


# --- header log --------------------------------------------------------------------------------------
def test_log_is_adopted_when_the_header_comes():
    link = Link()
    link.wire(0, 100)
    assert link.wire(200, 250) is WAIT and link.request == 200
    assert link.wire(100, 200) is DECRYPTED  # record 1, and what lies behind is known
    assert link.frontier == (300, 3)
    assert link.wire(250, 350) is DECRYPTED  # record 2 is mixed


def test_kernel_keeps_no_log():
    link = Link(KERNEL)
    link.wire(0, 100)
    assert link.wire(200, 250) is WAIT and link.request is None
    link.wire(100, 200)
    assert link.wire(250, 350) is OUT_OF_SYNC


# --- self-proof --------------------------------------------------------------------------------------
def proven(link: Link) -> None:
    """Record 1's header is lost; record 2 proves itself, and record 3 is in progress."""
    link.wire(0, 100)
    assert link.wire(200, 250) is WAIT and not link.taken.proven
    assert link.wire(250, 350) is DECRYPTED and link.taken.proven
    assert link.frontier == (400, 4)


def test_chain_proves_itself_and_the_gap_is_resolved():
    link = Link()
    proven(link)
    assert link.connection.state().skipping
    assert link.wire(350, 450) is DECRYPTED
    assert link.wire(100, 200) is DECRYPTED  # all of record 1: verified
    link.ack(200)
    assert not link.connection.state().skipping


def test_proof_needs_the_number_that_follows():
    """A record in a place two further has no number that could be guessed: one gap is one record."""
    link = Link()
    link.wire(0, 100)
    assert link.wire(300, 450) is WAIT and not link.taken.proven
    assert link.request == 300


def test_gap_that_ends_elsewhere_is_a_conflict():
    link = Link()
    proven(link)
    assert link.put(100, link.lying(100, 150, 60)) is CONFLICT
    assert link.wire(400, 500) is CONFLICT


def test_full_records_in_a_gap():
    """A gap of more than one record: full ones only, whose headers stand at known places."""
    largest = 5 + 16401
    link = Link(sizes=(100, largest, largest, 100, 100))
    end = 100 + 2 * largest
    link.wire(0, 100)
    assert link.wire(end, end + 150) is WAIT and link.taken.proven
    assert link.frontier == (end + 200, 5)
    assert link.wire(end + 150, end + 200) is GAP  # record 4's header passed raw
    middle = 100 + largest
    assert link.put(middle, link.lying(middle, middle + 50, 77)) is CONFLICT


# --- contradictions ----------------------------------------------------------------------------------
@BOTH
def test_contradiction_of_what_was_marked_on(policy: RxPolicy):
    link = Link(policy)
    assert link.put(0, link.lying(0, 50, 200)) is DECRYPTED
    assert link.wire(0, 50) is CONFLICT
    assert link.wire(50, 100) is CONFLICT and not link.resync(400, 4)


@BOTH
def test_contradiction_of_what_nothing_was_marked_on(policy: RxPolicy):
    """A header in a packet that begins in the unknown: raw. What says otherwise costs the sync, no more."""
    link = Link(policy)
    link.wire(0, 100)
    link.wire(180, 190)
    assert link.resync(200, 2)
    assert link.put(190, bytes(10) + link.lying(200, 250, 300)) is GAP
    assert link.wire(200, 250) is OUT_OF_SYNC
    assert link.wire(250, 400) in (GAP, OUT_OF_SYNC)
    assert link.resync(400, 4) and link.wire(400, 500) is DECRYPTED


def test_contradicted_chain_is_dropped():
    link = Link()
    link.wire(0, 100)
    link.put(200, link.lying(200, 250, 170))
    assert link.wire(200, 250) is RETRANSMISSION
    assert link.wire(100, 200) is DECRYPTED and link.connection.state().out_of_sync


def test_verified_and_acknowledged_headers_are_not_kept():
    link = Link()
    link.wire(0, 150)
    assert link.put(0, link.lying(0, 50, 60)) is RETRANSMISSION  # software will find out
    link.ack(120)
    assert link.put(100, link.lying(100, 130, 60)) is CONFLICT  # record 1 goes on
    link = Link()
    link.wire(0, 250)
    link.wire(260, 300)
    link.ack(250)
    assert link.put(200, link.lying(200, 250, 60)) is RETRANSMISSION  # all of it is acknowledged


@pytest.mark.parametrize("at", range(5, 13))
def test_explicit_nonce_is_compared(at: int):
    link = Link(version=TLS12)
    link.wire(0, 50)
    forged = bytearray(link.stream.wire[:50])
    forged[at] ^= 1
    assert link.put(0, bytes(forged)) is CONFLICT


def test_behind_a_wrong_tag_what_is_not_new_is_a_conflict():
    link = Link()
    link.wire(0, 50)
    assert link.put(50, bytes(50)) is Status.AUTH_FAILED
    assert link.wire(100, 200) is Status.CLOSED
    assert link.wire(0, 50) is CONFLICT
    assert link.wire(200, 300) is Status.CLOSED


# --- what has passed ---------------------------------------------------------------------------------
def test_hole_without_a_place_counts_as_passed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loss_tracker, "HOLES", 1)
    link = Link()
    assert [link.wire(0, 30), link.wire(40, 50), link.wire(60, 70)] == [DECRYPTED] * 3
    assert link.wire(50, 60) is RETRANSMISSION
    assert link.wire(30, 40) is DECRYPTED


def test_packet_over_a_hole_s_edge_is_not_new():
    link = Link()
    link.wire(0, 30)
    link.wire(60, 100)
    assert link.wire(25, 60) is RETRANSMISSION
    assert link.wire(30, 60) is RETRANSMISSION


@BOTH
def test_nothing_is_taken_from_beyond_every_window(policy: RxPolicy):
    link = Link(policy)
    link.wire(0, 50)
    before = link.connection.state()
    assert link.put(REACH, b"x") is RETRANSMISSION
    assert link.put(-10, bytes(10)) is RETRANSMISSION
    assert link.connection.state() == before
    link.ack(50)
    assert link.put(REACH, b"x") in (WAIT, OUT_OF_SYNC)


def test_acknowledged_beyond_what_has_passed_is_no_acknowledgement():
    link = Link()
    link.wire(0, 50)
    link.ack(2**30)
    assert link.put(REACH, b"x") is RETRANSMISSION


# --- full tables -------------------------------------------------------------------------------------
def test_no_place_for_a_record(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loss_tracker, "OPEN_RECORDS", 2)
    link = Link()
    assert link.wire(0, 90) is DECRYPTED
    assert link.wire(95, 190) is DECRYPTED
    assert link.wire(195, 290) is OUT_OF_SYNC  # records 0 and 1 are open
    assert link.wire(90, 95) is DECRYPTED  # which they stay
    assert link.wire(300, 400) is OUT_OF_SYNC


def test_acknowledgements_make_room(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loss_tracker, "OPEN_RECORDS", 1)
    link = Link()
    link.wire(0, 20)
    link.wire(10, 100)  # overlaps: record 0 stays unverified
    link.ack(100)
    assert link.wire(100, 250) is DECRYPTED


# --- requests ----------------------------------------------------------------------------------------
@BOTH
def test_records_counted_since_the_request(policy: RxPolicy):
    link = Link(policy, sizes=(100, 16405, 100, 100, 100, 100, 100))
    link.wire(0, 100)
    start = 100 + 16405
    link.wire(start - 5, start)
    assert link.wire(start + 50, start + 250) in (WAIT, OUT_OF_SYNC) and link.request == start + 100
    assert link.wire(start + 250, start + 350) in (WAIT, OUT_OF_SYNC) and link.request is None
    assert link.resync(start + 100, 3)
    assert link.frontier == (start + 400, 6)
    assert link.wire(start + 350, start + 500) is (DECRYPTED if policy is FULL else GAP)


@BOTH
def test_stale_answers_are_ignored(policy: RxPolicy):
    link = Link(policy)
    link.wire(0, 100)
    assert not link.resync(100, 1)  # in sync
    link.wire(150, 250)
    assert not link.resync(100, 1) and not link.resync(240, 1)  # no chain begins there, and it has passed
    assert link.resync(300, 3)
    assert link.wire(300, 400) is DECRYPTED


@BOTH
def test_bad_header_is_repaired_by_the_host(policy: RxPolicy):
    link = Link(policy)
    link.wire(0, 100)
    assert link.put(100, b"\x17\x03\x02\0\x40" + bytes(20)) is BAD_HEADER
    assert link.wire(125, 150) is OUT_OF_SYNC
    assert link.resync(200, 2) and link.wire(200, 300) is DECRYPTED


# --- numbers and places ------------------------------------------------------------------------------
@VERSIONS
@pytest.mark.parametrize("start", range(2**32 - 260, 2**32, 13))
def test_sequence_and_record_numbers_wrap(version: int, start: int):
    link = Link(version=version, start=start, number=2**64 - 2)
    assert [link.wire(0, 30), link.wire(60, 150), link.wire(30, 60)] == [DECRYPTED] * 3
    assert link.wire(150, 190) is DECRYPTED
    assert link.wire(300, 350) is WAIT
    assert link.wire(350, 450) is DECRYPTED and link.taken.proven
    assert link.wire(190, 300) is DECRYPTED
    assert link.wire(450, 800) is DECRYPTED and link.frontier == (800, 6)
