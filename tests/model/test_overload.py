"""Packets that find the crypto behind (docs/contract.md, section 6), in the golden device."""

import pytest

import driver.resync
from driver.netdev import ResyncMode
from model.commands import Read
from model.contract import COUNTERS, READ_COUNTERS, RxPolicy, Status
from sim.traffic import TLS13, Stream
from tests.model.trust_rig import TrustRig

PUBLISHED, KERNEL, FULL = RxPolicy
by_policy = pytest.mark.parametrize("policy", list(RxPolicy))


def rig_of(policy: RxPolicy, records: int = 4, mode: ResyncMode | None = ResyncMode.SYNC) -> TrustRig:
    """Records of 1,000 bytes on the wire."""
    stream = Stream(TLS13, seed=1)
    stream.bulk([978] * records)
    return TrustRig(stream, policy, mode)


@by_policy
def test_inside_a_record(policy: RxPolicy):
    """That record is given up; the next one is decrypted."""
    rig = rig_of(policy)
    assert rig.wire(0, 300) is Status.DECRYPTED
    assert rig.wire(300, 600, overloaded=True) is Status.OVERLOAD
    assert rig.wire(600, 1000) is Status.GAP
    assert rig.wire(1000, 2000) is Status.DECRYPTED
    assert not rig.state.out_of_sync
    rig.judge()


@by_policy
def test_over_a_header(policy: RxPolicy):
    """The device does not know where records begin until the stack has said so."""
    rig = rig_of(policy, records=40)
    rig.wire(0, 300)
    assert rig.wire(300, 1100, overloaded=True) is Status.OVERLOAD
    assert rig.wire(1100, 1300) is (Status.WAIT if policy is PUBLISHED else Status.OUT_OF_SYNC)
    assert rig.state.out_of_sync is (policy is not PUBLISHED)
    for at in range(1300, 39000, 650):
        rig.wire(at, at + 650)
    rig.wire(39000, 40000)
    assert rig.statuses[-1] is Status.DECRYPTED
    rig.honest()


@by_policy
def test_as_if_it_had_been_lost(policy: RxPolicy):
    """The published rules have no other idea of it; the others remember that its bytes have passed."""
    rig = rig_of(policy)
    rig.wire(0, 1000)
    assert rig.wire(1000, 2000, overloaded=True) is Status.OVERLOAD
    assert rig.state.seen_seq - rig.stream.start_seq == 2000
    assert rig.state.expected_seq - rig.stream.start_seq == 1000
    again = rig.wire(1000, 2000)
    assert again is (Status.DECRYPTED if policy is PUBLISHED else Status.RETRANSMISSION)


@by_policy
def test_only_the_newest_packet(policy: RxPolicy):
    """What the rules look at for another reason is looked at."""
    rig = rig_of(policy)
    rig.wire(0, 600)
    assert rig.wire(300, 600, overloaded=True) is Status.RETRANSMISSION
    assert rig.wire(700, 900, overloaded=True) is not Status.OVERLOAD
    assert rig.wire(650, 700, overloaded=True) is not Status.OVERLOAD
    rig.judge()


@by_policy
def test_counted(policy: RxPolicy):
    rig = rig_of(policy)
    for at in range(0, 900, 300):
        rig.wire(at, at + 300, overloaded=at > 0)
    number = READ_COUNTERS + COUNTERS.index("overload")
    assert rig.device.command(Read(number)).value == rig.statuses.count(Status.OVERLOAD) > 0


@pytest.mark.parametrize("policy", [KERNEL, FULL])
def test_hints_help_where_nothing_is_searched(policy: RxPolicy, monkeypatch: pytest.MonkeyPatch):
    """A device that stays behind asks for nothing; the stack is asked for hints then."""
    monkeypatch.setattr(driver.resync, "PATIENCE", 30)
    rig = rig_of(policy, records=60)
    rig.overloaded = True
    lost = []
    for at in range(0, 60000, 500):
        rig.wire(at, at + 500)
        lost.append(rig.state.out_of_sync)
    assert False in lost[lost.index(True) :]
    rig.overloaded = False
    rig.judge()


def test_record_in_front_is_not_given_up():
    """Late bytes of the record before complete it, though what stands behind it was not looked at (`full`)."""
    rig = rig_of(FULL)
    rig.wire(0, 300)
    assert rig.wire(600, 1000) is Status.DECRYPTED
    assert rig.wire(1000, 1300, overloaded=True) is Status.OVERLOAD
    assert rig.wire(300, 600) is Status.DECRYPTED
    rig.judge()


@pytest.mark.parametrize("policy", [KERNEL, FULL])
def test_forged_header_behind_it(policy: RxPolicy):
    """Nothing is decrypted by headers that nobody compared, until the stack says where a record begins."""
    rig = rig_of(policy, mode=None)
    rig.wire(0, 1000)
    assert rig.put(1000, b"\x17\x03\x03\x07\xcb" + bytes(100), ack=0x80000000, overloaded=True) is Status.OVERLOAD
    for at in range(1000, 4000, 500):
        assert rig.wire(at, at + 500) is not Status.DECRYPTED
    rig.judge()
