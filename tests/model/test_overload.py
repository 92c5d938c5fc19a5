"""Packets that a device gives up because its crypto is behind (docs/contract.md, section 6), in the golden device."""

import pytest

import driver.resync
from driver.netdev import ResyncMode
from model.commands import Read
from model.contract import COUNTERS, READ_COUNTERS, Result, RxPolicy, Status
from sim.traffic import TLS13, Stream
from tests.model.trust_rig import TrustRig

PUBLISHED, KERNEL, FULL = RxPolicy
by_policy = pytest.mark.parametrize("policy", list(RxPolicy))


def rig_of(policy: RxPolicy, records: int = 4, mode: ResyncMode | None = ResyncMode.SYNC) -> TrustRig:
    """Records of 1,000 bytes on the wire."""
    stream = Stream(TLS13, seed=1)
    stream.bulk([978] * records)
    return TrustRig(stream, policy, mode)


def give_up(rig: TrustRig, start: int, end: int) -> Status | None:
    """The sender's bytes [start, end), given up at the last place where that may be."""
    rig.device.gives_up = lambda places: places[-1] if places else None
    status = rig.wire(start, end)
    rig.device.gives_up = lambda places: None
    return status


def place_of(rig: TrustRig, seq: int) -> int:
    return (seq - rig.stream.start_seq) % 2**32


@by_policy
def test_places(policy: RxPolicy):
    """Where records begin, in a packet that is in order."""
    rig = rig_of(policy)
    seen: list[list[int]] = []

    def note(places: list[int]) -> None:
        seen.append([place_of(rig, place) for place in places])

    rig.device.gives_up = note
    for start, end in ((0, 300), (300, 1002), (1002, 2900), (2900, 4000), (2900, 4000)):
        rig.wire(start, end)
    assert seen == [[0], [1000], [2000], [3000], []]
    rig.honest()


@by_policy
def test_from_a_header_on(policy: RxPolicy):
    """What is in front of it has been taken: that record is authentic, though the stack has to decrypt a part of it."""
    rig = rig_of(policy)
    rig.wire(0, 600)
    assert give_up(rig, 600, 1500) is Status.OVERLOAD
    state = rig.state
    assert (place_of(rig, state.expected_seq), state.record_number, state.remaining) == (1000, 1, 0)
    assert place_of(rig, state.seen_seq) == 1500
    assert state.out_of_sync is (policy is not PUBLISHED)
    rig.wire(1500, 4000)
    rig.honest()


@by_policy
def test_the_device_finds_its_way_again(policy: RxPolicy):
    """It does not know where records begin until the stack has said so."""
    rig = rig_of(policy, records=40)
    rig.wire(0, 300)
    assert give_up(rig, 300, 1100) is Status.OVERLOAD
    assert rig.wire(1100, 1300) is (Status.WAIT if policy is PUBLISHED else Status.OUT_OF_SYNC)
    for at in range(1300, 39000, 650):
        rig.wire(at, at + 650)
    rig.wire(39000, 40000)
    assert rig.statuses[-1] is Status.DECRYPTED
    rig.honest()


@by_policy
def test_as_if_it_had_been_lost(policy: RxPolicy):
    """The published rules have no other idea of it; the others remember that its bytes have passed."""
    rig = rig_of(policy)
    rig.wire(0, 900)
    assert give_up(rig, 900, 2000) is Status.OVERLOAD
    again = rig.wire(1000, 2000)
    assert again is (Status.DECRYPTED if policy is PUBLISHED else Status.RETRANSMISSION)


@by_policy
@pytest.mark.parametrize("overlooked", [False, True])
def test_out_of_sync_nothing_is_searched(policy: RxPolicy, overlooked: bool):
    """And what has been found is forgotten: the stack's answer comes too late."""
    rig = rig_of(policy, records=60, mode=None)
    rig.wire(0, 100)
    give_up(rig, 100, 1100)
    for at in range(1100, 40100, 300):
        rig.wire(at, at + 300)
    assert rig.state.out_of_sync
    status = (give_up if overlooked else TrustRig.wire)(rig, 40100, 40400)
    assert status is (Status.OVERLOAD if overlooked else Status.OUT_OF_SYNC)
    found = 18 if policy is PUBLISHED else 2  # the first header that was searched for: of a record number and place
    assert rig.place(1000 * found, found) is (Result.IGNORED if overlooked else Result.OK)
    for at in range(40400, 60000, 400):
        rig.wire(at, at + 400)
    rig.honest()


@by_policy
def test_only_the_newest_packet(policy: RxPolicy):
    """What the rules look at for another reason is looked at."""
    rig = rig_of(policy)
    rig.wire(0, 600)
    assert give_up(rig, 300, 600) is Status.RETRANSMISSION
    assert give_up(rig, 700, 1100) is not Status.OVERLOAD
    assert give_up(rig, 650, 700) is not Status.OVERLOAD
    rig.judge()


@by_policy
def test_counted(policy: RxPolicy):
    rig = rig_of(policy)
    for at in range(0, 2900, 300):
        give_up(rig, at, at + 300) if at > 900 else rig.wire(at, at + 300)
    number = READ_COUNTERS + COUNTERS.index("overload")
    assert rig.device.command(Read(number)).value == rig.statuses.count(Status.OVERLOAD) > 0


@by_policy
@pytest.mark.parametrize("offset", [300, 1001, 5000, -1])
def test_where_no_record_begins(policy: RxPolicy, offset: int):
    """A descriptor that cannot be true is not followed."""
    rig = rig_of(policy)
    seq = rig.stream.start_seq
    frame = rig.stream.frame(seq, rig.stream.wire[:2000])
    with pytest.raises(ValueError, match="given up at"):
        rig.device.receive(frame, (seq + offset) % 2**32)


@pytest.mark.parametrize("policy", [KERNEL, FULL])
def test_hints_help_where_nothing_is_searched(policy: RxPolicy, monkeypatch: pytest.MonkeyPatch):
    """A device that stays behind asks for nothing; the stack is asked for hints then."""
    monkeypatch.setattr(driver.resync, "PATIENCE", 30)
    rig = rig_of(policy, records=60)
    lost = []
    for at in range(0, 60000, 500):
        give_up(rig, at, at + 500)
        lost.append(rig.state.out_of_sync)
    assert False in lost[lost.index(True) :]
    rig.judge()


def test_record_in_front_is_not_given_up():
    """Late bytes of the record before complete it, though what stands behind it was not looked at (`full`)."""
    rig = rig_of(FULL)
    rig.wire(0, 300)
    assert rig.wire(600, 1000) is Status.DECRYPTED
    assert give_up(rig, 1000, 1300) is Status.OVERLOAD
    assert rig.wire(300, 600) is Status.DECRYPTED
    rig.judge()


@pytest.mark.parametrize("policy", [KERNEL, FULL])
def test_forged_header_behind_it(policy: RxPolicy):
    """Nothing is decrypted by headers that nobody compared, until the stack says where a record begins."""
    rig = rig_of(policy, mode=None)
    rig.wire(0, 1000)
    rig.device.gives_up = lambda places: places[0]
    assert rig.put(1000, b"\x17\x03\x03\x07\xcb" + bytes(100), ack=0x80000000) is Status.OVERLOAD
    rig.device.gives_up = lambda places: None
    for at in range(1000, 4000, 500):
        assert rig.wire(at, at + 500) is not Status.DECRYPTED
    rig.judge()


@pytest.mark.parametrize("policy", [KERNEL, FULL])
def test_forged_record_in_front_of_it(policy: RxPolicy):
    """It closes the connection, though the packet does not say so."""
    rig = rig_of(policy, mode=None)
    wire = bytearray(rig.stream.wire)
    wire[500] ^= 1
    rig.device.gives_up = lambda places: places[-1]
    assert rig.put(0, bytes(wire[:1500]), ack=0x80000000) is Status.OVERLOAD
    rig.device.gives_up = lambda places: None
    assert rig.wire(0, 500) is Status.CONFLICT
    assert rig.aborted
