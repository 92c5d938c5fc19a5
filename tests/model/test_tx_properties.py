"""Whatever the host asks: nothing leaves but what TLS_SW would have sent, and all of it is counted."""

import random
from collections import Counter
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.commands import Delete, Query, Resync
from model.contract import Result, TxKind, TxStatus
from model.record import RecordCipher
from model.tx_commands import Sent, TxRequest
from model.tx_device import GoldenTxDevice
from sim.traffic import ACK, FIN, RST, SYN, TLS12, TLS13, Stream
from tests.model.tx_rig import FILLER, TxRig, prefix_size
from tests.often import often

RUN = 8
many = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def streams(draw: st.DrawFn, version: int | None = None, start_seq: int | None = None) -> Stream:
    stream = Stream(
        version or draw(st.sampled_from([TLS12, TLS13])),
        seed=draw(st.integers(0, 2**16)),
        key_size=draw(st.sampled_from([16, 32])),
        ipv6=draw(st.booleans()),
        start_seq=draw(st.sampled_from([0, 1000, 2**31 - 500, 2**32 - 1, 2**32 - 300, 2**32 - 3000]))
        if start_seq is None
        else start_seq,
        record_number=draw(st.sampled_from([0, 1, 2**32 - 2, 2**64 - 50])),
    )
    sizes = draw(st.lists(st.one_of(st.integers(0, 40), st.integers(0, 700), st.just(4000)), min_size=1, max_size=14))
    # Not from `stream.rng`: explicit nonces, which do leave, come from it, and two streams may have one seed.
    rng = random.Random("plaintext")
    for size in sizes:
        content_type = draw(st.sampled_from([23, 23, 23, 22, 21]))
        stream.record(rng.randbytes(size), content_type)
    return stream


class Secrets:
    """Every run of 8 plaintext bytes of a rig's records."""

    def __init__(self, rigs: list[TxRig]) -> None:
        self._runs: set[bytes] = set()
        for rig in rigs:
            for record in rig.stream.records:
                plain = record.payload + FILLER
                self._runs |= {plain[i : i + RUN] for i in range(len(plain) - RUN + 1)}

    def leaked(self, frame: bytes) -> bool:
        return any(frame[i : i + RUN] in self._runs for i in range(len(frame) - RUN + 1))


def a_range(data: st.DataObject, rig: TxRig, expected: list[int]) -> tuple[int, int]:
    """Start and end in the stream, often where a position stands, often short."""
    end = len(rig.wire)
    start = data.draw(st.one_of(st.sampled_from(expected), st.integers(0, end - 1)))
    start = start if start < end else 0
    size = data.draw(st.one_of(st.integers(1, 40), st.integers(1, 1448), st.integers(1, 9000)))
    return start, min(start + size, end)


def positions(rig: TxRig) -> list[int]:
    """Offsets where `stream` and `replay` stand, and where records begin."""
    state = rig.device.command(Query(rig.handle)).state
    here = [state.expected_seq, state.seen_seq] if state else []
    return [(seq - rig.stream.start_seq) % 2**32 for seq in here] + rig.starts


def a_request(data: st.DataObject, rig: TxRig, start: int, handles: list[int]) -> TxRequest:
    """A request as a driver might make it: its record is a true one, not always the right one."""
    right = rig.record_of(start)
    record = data.draw(st.one_of(st.just(right), st.integers(0, len(rig.starts) - 1)))
    kinds = [TxKind.STREAM, TxKind.REPLAY, TxKind.RETRANSMIT, TxKind.PREFIX]
    return rig.request(
        data.draw(st.sampled_from(kinds)),
        record,
        handle=data.draw(st.sampled_from([rig.handle] * 6 + handles)),
        adopt=data.draw(st.sampled_from([False, False, True])),
        segment_size=data.draw(st.sampled_from([0, 0, 1, 7, 100, 536, 1448])),
    )


def outcome(rig: TxRig, frame: bytes, request: TxRequest) -> list[Sent]:
    """Transmit; check what holds of every outcome."""
    counters = dict(rig.device.counters)
    state = rig.device.command(Query(rig.handle)).state
    sent = rig.device.transmit(frame, request)
    statuses = Counter(s.status.name.lower() for s in sent)
    for name, value in rig.device.counters.items():
        if name != "encrypted_bytes":
            assert value == counters[name] + statuses[name]
    for one in sent:
        assert one.handle == (0 if request.kind is TxKind.PASS else request.handle)
        assert (one.frame is not None) == (one.status in (TxStatus.PASSED, TxStatus.ENCRYPTED))
    if not statuses["encrypted"] and not statuses["replayed"]:
        assert rig.device.command(Query(rig.handle)).state == state
    return sent


@many
@given(st.data())
def test_nothing_leaks_and_every_drop_is_counted(data: st.DataObject):
    """Random kinds, handles, ranges, truncations, flags, stale generations, resyncs.

    A live handle of another connection is among them. What the device cannot see, for it looks at no addresses:
    that the other connection is of another TLS version (8 bytes of plaintext would pass for an explicit nonce), or
    happens to expect the same sequence number. So versions are equal here and sequence numbers far apart.
    """
    device = GoldenTxDevice(connections=4)
    version = data.draw(st.sampled_from([TLS12, TLS13]))
    rigs = [TxRig(data.draw(streams(version, start_seq)), device) for start_seq in (2**32 - 300, 2**31 - 500)]
    secrets = Secrets(rigs)
    handles = [0, 1, 2, 3, 4, 0x10000, 0x10001, 0xFF0000, 0xFFFF]
    for _ in range(data.draw(st.integers(1, 25))):
        rig = data.draw(st.sampled_from(rigs))
        match data.draw(st.sampled_from("..........rd")):
            case "r":
                rig.resync(data.draw(st.integers(0, len(rig.starts) - 1)))
                continue
            case "d":
                device.command(Delete(rig.handle))
                response = device.command(rig.stream.add())
                assert response.result is Result.OK
                rig.handle = response.handle
                continue
            case _:
                pass
        start, end = a_range(data, rig, positions(rig))
        request = a_request(data, rig, start, handles)
        flags = data.draw(st.sampled_from([ACK] * 12 + [SYN, RST | ACK, FIN | ACK]))
        frame = rig.frame(start, end, flags=flags)
        if data.draw(st.integers(0, 7)) == 0:
            frame = frame[: data.draw(st.integers(0, len(frame)))]
        counted = device.counters["encrypted_bytes"]
        for sent in outcome(rig, frame, request):
            if sent.frame is not None:
                head = 14 + (40 if len(rig.stream.tuple4.remote_address) == 16 else 20) + 32
                assert not secrets.leaked(sent.frame[head:]), sent.status
                if sent.status is TxStatus.ENCRYPTED:
                    counted += len(sent.frame) - head
        assert device.counters["encrypted_bytes"] == counted


@many
@given(st.data())
def test_what_leaves_is_what_software_sends(data: st.DataObject):
    """With true requests, whatever their order: never one key and counter block for two plaintexts."""
    stream = data.draw(streams())
    rig = TxRig(stream)
    blocks: dict[tuple[bytes, int], tuple[bytes, bytes]] = {}
    """(nonce, block): plaintext known of it, and a mask of what is known."""
    original = RecordCipher.xor

    def logged(self: RecordCipher, nonce: bytes, start: int, body: bytes) -> bytes:
        for i, byte in enumerate(body):
            block, at = divmod(start + i, 16)
            plain, mask = blocks.get((nonce, block), (bytes(16), bytes(16)))
            assert not mask[at] or plain[at] == byte, "two plaintexts for one counter block"
            known = plain[:at] + bytes([byte]) + plain[at + 1 :]
            blocks[nonce, block] = known, mask[:at] + b"\1" + mask[at + 1 :]
        return original(self, nonce, start, body)

    with patch.object(RecordCipher, "xor", logged):
        for _ in range(data.draw(st.integers(1, 15))):
            start, end = a_range(data, rig, positions(rig))
            end = min(end, start + 1448)
            request = a_request(data, rig, start, [])
            at = start
            for sent in outcome(rig, rig.frame(start, end), request):
                stop = min(at + request.segment_size, end) if 0 < request.segment_size < end - start else end
                if sent.status is TxStatus.ENCRYPTED:
                    assert sent.frame is not None
                    payload = sent.frame[len(sent.frame) - (stop - at) :]
                    assert payload == rig.wire[at:stop]
                at = stop


@many
@given(st.data())
def test_stream_is_not_disturbed_by_retransmissions(data: st.DataObject):
    """All of the stream leaves in order, with any retransmissions between, none of which needs a second replay."""
    rig = TxRig(data.draw(streams()))
    end = len(rig.wire)
    at = 0
    while at < end:
        stop = min(at + data.draw(st.integers(max(1, end // 12), 1448 + end // 12)), end, at + 9000)
        rig.encrypts(at, stop)
        at = stop
        for _ in range(data.draw(st.integers(0, 3))):
            a = data.draw(st.integers(0, at - 1))
            b = data.draw(st.integers(a + 1, min(at, a + 9000)))
            head = rig.starts[rig.record_of(a)]
            if data.draw(st.booleans()) and head < a <= head + 9000:
                rig.replays(head, a)
                rig.encrypts(a, b, TxKind.RETRANSMIT)
            else:
                sent = rig.send(a, b, TxKind.PREFIX)
                if sent.status is TxStatus.DROPPED_TAG:
                    # Only a tag from before the ring, of a record whose start is not in the frame.
                    assert rig.record_of(a) < rig.record_of(at - 1) + (at in (*rig.starts, end)) - 8
                else:
                    assert sent.frame == rig.stream.frame(rig.at(a), rig.wire[a:b])


@many
@given(st.data())
def test_lies(data: st.DataObject):
    """Requests about records that are not there: the device may encrypt nonsense, counts it, and goes on."""
    rig = TxRig(data.draw(streams()))
    word = st.integers(0, 2**32 - 1)
    for _ in range(data.draw(st.integers(1, 12))):
        start, end = a_range(data, rig, positions(rig))
        right = rig.stream.records[rig.record_of(start)]
        request = TxRequest(
            data.draw(st.sampled_from(TxKind)),
            data.draw(st.sampled_from([rig.handle, rig.handle, 5])),
            data.draw(st.integers(0, 3000)),
            data.draw(st.booleans()),
            data.draw(st.one_of(word, st.integers(start - 20, start + 20).map(rig.at))),
            data.draw(st.one_of(st.just(right.number), st.integers(0, 2**64 - 1))),
            data.draw(st.one_of(st.binary(max_size=13), st.just(right.wire[: prefix_size(rig.stream)]))),
        )
        outcome(rig, rig.frame(start, end), request)
        if data.draw(st.booleans()):
            rig.device.command(Resync(rig.handle, data.draw(word), data.draw(word)))
    rig.resync(0)
    rig.encrypts(0, min(len(rig.wire), 9000))


@many
@given(st.binary(max_size=200), st.sampled_from(TxKind), st.integers(0, 2**24 - 1), st.integers(0, 100))
def test_any_bytes(frame: bytes, kind: TxKind, handle: int, segment_size: int):
    rig = TxRig(Stream())
    for sent in outcome(rig, frame, TxRequest(kind, handle, segment_size)):
        assert sent.frame is None or sent.status is TxStatus.PASSED


test_nothing_leaks_and_every_drop_is_counted_often = often(test_nothing_leaks_and_every_drop_is_counted, many)
test_what_leaves_is_what_software_sends_often = often(test_what_leaves_is_what_software_sends, many)
test_stream_is_not_disturbed_by_retransmissions_often = often(test_stream_is_not_disturbed_by_retransmissions, many)
test_lies_often = often(test_lies, many)
