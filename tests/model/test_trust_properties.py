"""Any stream, any network, any attacker on the path: what the stack takes on trust, software would have taken."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import driver.resync
from driver.netdev import ResyncMode
from model import loss_tracker
from model.contract import RxPolicy
from sim.traffic import TLS12, TLS13, Stream
from tests.model.trust_rig import REFUSED, TrustRig

TABLES = ("OPEN_RECORDS", "HOLES", "CHAINS", "GAPS")
few = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
many = settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def rigs(draw: st.DrawFn) -> TrustRig:
    version = draw(st.sampled_from([TLS12, TLS13]))
    start = draw(st.sampled_from([0, 1000, 2**31 - 500, 2**32 - 1, 2**32 - 300, 2**32 - 3000]))
    number = draw(st.sampled_from([0, 1, 2**64 - 50]))
    stream = Stream(version, seed=draw(st.integers(0, 2**16)), start_seq=start, record_number=number)
    # sizes that recur make places where a record fits in another one's place
    sizes = draw(st.lists(st.sampled_from([1, 78, 78, 178, 178, 300, 1000]), min_size=3, max_size=14))
    for size in sizes:
        stream.record(b"\1" + stream.rng.randbytes(size))
    for table, size in zip(TABLES, (16, 16, 4, 4), strict=True):
        setattr(loss_tracker, table, draw(st.sampled_from([size, size, size, 1, 2, 3])))
    driver.resync.PATIENCE = draw(st.sampled_from([1024, 4]))
    policy = draw(st.sampled_from([RxPolicy.KERNEL, RxPolicy.FULL, RxPolicy.FULL]))
    mode = draw(st.sampled_from([ResyncMode.SYNC, ResyncMode.SYNC, ResyncMode.ASYNC, None]))
    return TrustRig(stream, policy, mode, acks=draw(st.booleans()))


@pytest.fixture(autouse=True)
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `rigs` sets is put back."""
    for table in TABLES:
        monkeypatch.setattr(loss_tracker, table, getattr(loss_tracker, table))
    monkeypatch.setattr(driver.resync, "PATIENCE", driver.resync.PATIENCE)


def segments(data: st.DataObject, size: int) -> list[tuple[int, int]]:
    """The sender's segments, as the network delivers them: lost, late, doubled, cut again."""
    mss = data.draw(st.sampled_from([50, 100, 137, 200, 300, 500]))
    mss = max(mss, size // 60)
    plan: list[tuple[int, int]] = []
    late: list[tuple[int, tuple[int, int]]] = []
    for start in range(0, size, mss):
        segment = (start, min(start + mss, size))
        match data.draw(st.sampled_from("......lhdo")):
            case "l":
                pass
            case "h":
                late.append((data.draw(st.integers(1, 8)), segment))
            case "d":
                plan += [segment, segment]
            case "o":
                back = data.draw(st.integers(1, 2 * mss))
                plan += [segment, (max(start - back, 0), min(start + back, size))]
            case _:
                plan.append(segment)
        late = [(n - 1, s) for n, s in late]
        plan += [s for n, s in late if n <= 0]
        late = [(n, s) for n, s in late if n > 0]
    return plan + [s for _, s in late]


def rest(data: st.DataObject, size: int) -> list[tuple[int, int]]:
    """Everything once more, as a sender goes on until all is acknowledged."""
    step = data.draw(st.integers(max(50, size // 40), 1448))
    return [(at, min(at + step, size)) for at in range(0, size, step)]


def may_give_up(data: st.DataObject, rig: TrustRig) -> None:
    """The device gives packets up, of those that it may: in some runs one now and then, in others each, or none."""
    share = data.draw(st.sampled_from([None, None, 0, 2, 8]))

    def gives_up(places: list[int]) -> int | None:
        if share is None or not places or data.draw(st.integers(0, share)):
            return None
        return data.draw(st.sampled_from(places))

    rig.device.gives_up = gives_up


def honest(data: st.DataObject) -> None:
    rig = data.draw(rigs())
    size = len(rig.stream.wire)
    may_give_up(data, rig)
    for start, end in segments(data, size) + rest(data, size):
        match data.draw(st.sampled_from("........ca")):
            case "c":
                rig.wire(start, end, bad_tcp=True)
            case "a":
                rig.wire(start, end)
                rig.acknowledge(data.draw(st.integers(0, 300)))
            case _:
                rig.wire(start, end)
    for start in range(0, size, 500):
        rig.wire(start, min(start + 500, size))
    rig.honest()


def forged(data: st.DataObject, rig: TrustRig, start: int, end: int) -> None:
    """A segment of the attacker's, near [start, end); TCP refuses it or not."""
    stream = rig.stream
    wire, records = stream.wire, stream.records
    refused = REFUSED if data.draw(st.integers(0, 2)) else {}
    starts = [(r.seq - stream.start_seq) % 2**32 for r in records]
    ahead = [n for n, s in enumerate(starts) if s >= start] or [len(starts) - 1]
    n = ahead[min(data.draw(st.integers(0, 2)), len(ahead) - 1)]
    match data.draw(st.sampled_from("lllccccfjw")):
        case "l":  # a header that lies, with the wire before and behind it
            total = sum(len(r.wire) for r in records[n : n + data.draw(st.integers(1, 3))])
            length = total - 5 + data.draw(st.sampled_from([0, 0, 0, 1, -1, 100, 200]))
            header = wire[starts[n] : starts[n] + 3] + (length % 2**16).to_bytes(2, "big")
            low = max(starts[n] - data.draw(st.sampled_from([0, 0, 10, 50])), 0)
            high = starts[n] + data.draw(st.sampled_from([5, 50, 100, 300]))
            rig.put(low, wire[low : starts[n]] + header + wire[starts[n] + 5 : high], **refused)
        case "c":  # a copy of some records in another one's place
            other = data.draw(st.integers(0, len(records) - 1))
            stop = starts[other] + data.draw(st.sampled_from([50, 100, 200, 350]))
            rig.put(starts[n], wire[starts[other] : stop], **refused)
        case "f":
            at = data.draw(st.integers(start, end - 1)) - start
            segment = wire[start:end]
            rig.put(
                start,
                segment[:at] + bytes([segment[at] ^ data.draw(st.integers(1, 255))]) + segment[at + 1 :],
                **refused,
            )
        case "j":
            rig.put(start, stream.rng.randbytes(end - start), **REFUSED)
        case _:  # as far ahead as it goes
            rig.put(start + data.draw(st.sampled_from([2**20, 2**30, 2**31 - 10, 3 * 2**30])), b"far away", **REFUSED)


def attacked(data: st.DataObject) -> None:
    rig = data.draw(rigs())
    size = len(rig.stream.wire)
    share = data.draw(st.sampled_from([2, 4, 10]))
    may_give_up(data, rig)
    for start, end in segments(data, size) + rest(data, size):
        if data.draw(st.integers(0, share)) == 0:
            forged(data, rig, start, end)
        rig.wire(start, end, **(REFUSED if data.draw(st.integers(0, 19)) == 0 else {}))
        if data.draw(st.integers(0, 5)) == 0:
            rig.acknowledge(data.draw(st.integers(0, 300)))
        rig.judge()
    rig.judge()


@few
@given(st.data())
def test_honest_network(data: st.DataObject):
    """Nothing is ever called a conflict or a wrong tag, and everything arrives."""
    honest(data)


@few
@given(st.data())
def test_attacker_on_the_path(data: st.DataObject):
    attacked(data)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@many
@given(st.data())
def test_many_honest_networks(data: st.DataObject):
    honest(data)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@many
@given(st.data())
def test_many_attackers(data: st.DataObject):
    attacked(data)
