"""Any records, cuts, loss, order, copies and corruption: offload on reads what offload off reads."""

from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim.traffic import TLS12, TLS13, Stream
from tests.model.rig import Rig, truth
from tests.often import often


@dataclass(frozen=True)
class Event:
    """A range of the wire on its way; `broken` copies have a checksum that no longer holds."""

    start: int
    end: int
    broken: bool = False


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    version = draw(st.sampled_from([TLS12, TLS13]))
    stream = Stream(
        version,
        seed=draw(st.integers(0, 2**16)),
        key_size=draw(st.sampled_from([16, 32])),
        ipv6=draw(st.booleans()),
        start_seq=draw(st.sampled_from([0, 1000, 2**31 - 500, 2**32 - 1, 2**32 - 300, 2**32 - 3000])),
        record_number=draw(st.sampled_from([0, 1, 2**32 - 2, 2**64 - 50])),
    )
    sizes = draw(st.lists(st.one_of(st.integers(0, 40), st.integers(0, 700), st.just(4000)), min_size=1, max_size=14))
    for size in sizes:
        padding = draw(st.integers(0, 20)) if version == TLS13 else 0
        content_type = draw(st.sampled_from([23, 23, 23, 23, 22, 21, 100]))
        stream.record(b"\1" + stream.rng.randbytes(size), content_type, padding)
    return stream


@st.composite
def events(draw: st.DrawFn, size: int) -> list[Event]:
    """Segments in order, disturbed; then everything once more, as a sender goes on until all is acknowledged."""
    mss = draw(st.one_of(st.integers(size // 60 + 1, size // 60 + 200), st.integers(1200, 1448)))
    cuts = draw(st.lists(st.integers(1, max(size - 1, 1)), max_size=10))
    edges = sorted({0, size, *range(mss, size, mss), *(c for c in cuts if c < size)})
    plan: list[Event] = []
    held: list[tuple[int, Event]] = []
    for start, end in zip(edges, edges[1:], strict=False):
        event = Event(start, end)
        match draw(st.sampled_from("......lhdbo")):
            case "l":
                pass
            case "h":
                held.append((draw(st.integers(1, 6)), event))
            case "d":
                plan += [event, event]
            case "b":
                plan += [Event(start, end, broken=True)]
            case "o":  # an overlapping retransmission: cut elsewhere
                plan += [event, Event(max(start - draw(st.integers(1, 300)), 0), end)]
            case _:
                plan.append(event)
        held = [(n - 1, e) for n, e in held]
        plan += [e for n, e in held if n <= 0]
        held = [(n, e) for n, e in held if n > 0]
    plan += [e for _, e in held]
    step = draw(st.integers(max(1, size // 50), 1448))
    return plan + [Event(i, min(i + step, size)) for i in range(0, size, step)]


def play(rig: Rig, wire: bytes, plan: list[Event]) -> None:
    stream = rig.stream
    for event in plan:
        payload = wire[event.start : event.end]
        rig.receive(stream.frame(stream.start_seq + event.start, payload, bad_tcp=event.broken))


many = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@many
@given(st.data())
def test_honest_network(data: st.DataObject):
    """Loss, reordering, duplicates, overlaps and broken checksums cost offload, never a byte."""
    stream = data.draw(streams())
    rig = Rig(stream, hints=data.draw(st.booleans()))
    play(rig, stream.wire, data.draw(events(len(stream.wire))))
    rig.expect_everything()


@many
@given(st.data())
def test_wire_that_was_never_right(data: st.DataObject):
    """Bytes of the wire are changed for every copy, checksums right: same error, same place."""
    stream = data.draw(streams())
    wire = bytearray(stream.wire)
    heads = [r.seq - stream.start_seq & 0xFFFFFFFF for r in stream.records]
    for _ in range(data.draw(st.integers(1, 3))):
        if data.draw(st.booleans()):
            position = data.draw(st.sampled_from(heads)) + data.draw(st.integers(0, 15))
        else:
            position = data.draw(st.integers(0, len(wire) - 1))
        wire[min(position, len(wire) - 1)] ^= data.draw(st.integers(1, 255))
    rig = Rig(stream, hints=data.draw(st.booleans()))
    play(rig, bytes(wire), data.draw(events(len(wire))))
    rig.check()
    assert stream.application.startswith(rig.sw.application.data)


@many
@given(st.data())
def test_forged_copies_inject_nothing(data: st.DataObject):
    """Some copies of some ranges are forged, checksum mended; the genuine ones come too.

    Here the stacks may disagree on when to stop (the design's section 3, trust): what they read must be the
    sender's all the same.
    """
    stream = data.draw(streams())
    rig = Rig(stream, hints=data.draw(st.booleans()))
    wire = stream.wire
    for event in data.draw(events(len(wire))):
        payload = bytearray(wire[event.start : event.end])
        if data.draw(st.integers(0, 9)) == 0:
            payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
        rig.receive(stream.frame(stream.start_seq + event.start, bytes(payload)))
    for stack in (rig.hw, rig.sw):
        assert stream.application.startswith(stack.application.data)
    for sent, delivery in zip(rig.sent, rig.deliveries, strict=True):
        assert delivery.descriptor.decrypted or delivery.frame == sent


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_wrong_hints_inject_nothing(data: st.DataObject):
    """Resynchronisations that name any place and number: authentication fails, nothing false is read."""
    stream = data.draw(streams())
    rig = Rig(stream, hints=False)
    for event in data.draw(events(len(stream.wire))):
        rig.segment(event.start, event.end, bad_tcp=event.broken)
        if data.draw(st.integers(0, 5)) == 0:
            record = data.draw(st.sampled_from(truth(stream)))
            rig.resync((record.seq + data.draw(st.sampled_from([0, 0, 0, 1, 4]))) % 2**32, record.number)
    assert stream.application.startswith(rig.hw.application.data)
    assert rig.sw.application.data == stream.application


test_honest_network_often = often(test_honest_network, many)
test_wire_that_was_never_right_often = often(test_wire_that_was_never_right, many)
test_forged_copies_inject_nothing_often = often(test_forged_copies_inject_nothing, many)
