"""Large frames leave as the segments the driver might have sent: docs/contract-tx.md, section 5."""

from typing import Any

import pytest

from model.contract import TxKind, TxStatus
from model.tx_commands import Sent, TxRequest
from sim.traffic import ACK, FIN, IDENTIFICATION, PSH, RST, SYN, TLS12, TLS13, URG, Stream, ones_complement_sum
from tests.model.tx_rig import TxRig

ECE, CWR = 0x40, 0x80


def rig_of(sizes: list[int], version: int = TLS13, **options: Any) -> TxRig:
    stream = Stream(version, seed=len(sizes), **options)
    stream.bulk(sizes)
    return TxRig(stream)


def segments_of(rig: TxRig, start: int, end: int, size: int, flags: int = ACK, data: bytes = b"", **options: Any):
    """The frames that must leave for stream bytes [start, end), of `data` (the wire)."""
    frames: list[bytes] = []
    for at in range(start, end, size):
        stop = min(at + size, end)
        own = flags & ~(0 if stop == end else FIN | PSH) & ~(0 if at == start else CWR)
        numbered = dict(flags=own, identification=IDENTIFICATION + len(frames)) | options
        frames.append(rig.stream.frame(rig.at(at), (data or rig.wire)[at:stop], **numbered))
    return frames


def send(rig: TxRig, start: int, end: int, request: TxRequest, **options: Any) -> list[Sent]:
    return rig.device.transmit(rig.frame(start, end, **options), request)


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("size", [536, 1448, 8960])
@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize("vlans", [(), [(0x88A8, 7), (0x8100, 9)]])
def test_sends_of_64_kilobytes(version: int, size: int, ipv6: bool, vlans: list[tuple[int, int]]):
    rig = rig_of([16384, 1, 300, 16384, 0, 16384, 40, 16384, 16384], version, ipv6=ipv6)
    shape = dict(vlans=vlans, flags=ACK | PSH | FIN | CWR | ECE)
    largest = 65535 - 20 - 32 if not ipv6 else 65535 - 40 - 32
    end = len(rig.wire)
    for start in range(0, end, largest):
        stop = min(start + largest, end)
        sent = send(rig, start, stop, rig.request(TxKind.STREAM, segment_size=size), **shape)
        assert [s.frame for s in sent] == segments_of(rig, start, stop, size, **shape)
        assert {(s.status, s.handle) for s in sent} == {(TxStatus.ENCRYPTED, rig.handle)}
    assert rig.counters()["encrypted_bytes"] == end


@pytest.mark.parametrize("size", range(1, 70))
@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_boundaries_everywhere(version: int, size: int):
    """Number 49: in header, nonce, tag."""
    rig = rig_of([20, 0, 35, 1, 64], version)
    end = len(rig.wire)
    sent = send(rig, 0, end, rig.request(TxKind.STREAM, segment_size=size))
    assert [s.frame for s in sent] == segments_of(rig, 0, end, size)


def test_identification_wraps_with_options():
    rig = rig_of([1000])
    frame = bytearray(rig.frame(0, 1000, ip_options=bytes(range(12)), tcp_options=bytes(20), bad_ip=True))
    frame[18:20] = b"\xff\xfe"
    sent = rig.device.transmit(bytes(frame), rig.request(TxKind.STREAM, segment_size=300))
    for count, (one, expected) in enumerate(
        zip(sent, segments_of(rig, 0, 1000, 300, ip_options=bytes(range(12)), tcp_options=bytes(20)), strict=True)
    ):
        assert one.frame is not None
        assert one.frame[18:20] == (0xFFFE + count & 0xFFFF).to_bytes(2, "big")
        assert ones_complement_sum(one.frame[14 : 14 + 32]) == 0xFFFF
        assert one.frame[26:] == expected[26:]


def test_flags():
    rig = rig_of([1000])
    for flags in range(256):
        if flags & (SYN | RST):
            continue
        rig.resync(0)
        sent = send(rig, 0, 1000, rig.request(TxKind.STREAM, segment_size=400), flags=flags)
        assert [s.frame for s in sent] == segments_of(rig, 0, 1000, 400, flags=flags)
    sent = send(rig, 0, 1000, rig.request(TxKind.STREAM, segment_size=400), flags=SYN | URG)
    assert sent == [Sent(None, TxStatus.DROPPED_MALFORMED, rig.handle)] * 3


@pytest.mark.parametrize("size", [0, 1000, 1001, 65535])
def test_what_is_not_cut(size: int):
    """IPv4 identification and checksum stay, also where they are wrong; so does what lies behind the packet."""
    rig = rig_of([2000])
    shape = dict(bad_ip=True, trailer=b"trailer", flags=ACK | PSH | CWR)
    sent = send(rig, 0, 1000, rig.request(TxKind.STREAM, segment_size=size), **shape)
    assert [s.frame for s in sent] == [rig.stream.frame(rig.at(0), rig.wire[:1000], **shape)]
    passed = rig.frame(0, 1000, **shape)
    assert rig.device.transmit(passed, TxRequest(segment_size=size)) == [Sent(passed, TxStatus.PASSED, 0)]


def test_what_is_not_parsed_or_has_no_payload_is_not_cut():
    rig = rig_of([2000])
    empty = rig.frame(0, 0, trailer=bytes(20))
    fragment = rig.frame(0, 1000, fragment=0x2000)
    for frame in (empty, fragment, b"short"):
        assert rig.device.transmit(frame, TxRequest(segment_size=1)) == [Sent(frame, TxStatus.PASSED, 0)]
    one = rig.request(TxKind.STREAM, segment_size=1)
    assert rig.device.transmit(empty, one) == [Sent(empty, TxStatus.PASSED, rig.handle)]
    assert rig.device.transmit(fragment, one) == [Sent(None, TxStatus.DROPPED_MALFORMED, rig.handle)]


@pytest.mark.parametrize("ipv6", [False, True])
def test_pass_gets_right_checksums(ipv6: bool):
    rig = rig_of([2000], ipv6=ipv6)
    sent = send(rig, 0, 2000, TxRequest(segment_size=700), flags=FIN, bad_ip=True, trailer=b"not sent")
    assert [s.frame for s in sent] == segments_of(rig, 0, 2000, 700, flags=FIN, data=rig.plain)
    assert {(s.status, s.handle) for s in sent} == {(TxStatus.PASSED, 0)}


def test_replay_and_retransmit():
    rig = rig_of([3000, 3000])
    rig.encrypts(0, 4000)
    sent = send(rig, 0, 2500, rig.request(TxKind.REPLAY, segment_size=1000))
    assert sent == [Sent(None, TxStatus.REPLAYED, rig.handle)] * 3
    sent = send(rig, 2500, 4000, rig.request(TxKind.RETRANSMIT, segment_size=1000))
    assert [s.frame for s in sent] == segments_of(rig, 2500, 4000, 1000)
    rig.encrypts(4000, len(rig.wire))


@pytest.mark.parametrize("adopt", [False, True])
def test_prefix(adopt: bool):
    """Segments behind the first go on on `replay`."""
    rig = rig_of([3000, 3000])
    rig.encrypts(0, 4000)
    sent = send(rig, 1000, 4000, rig.request(TxKind.PREFIX, segment_size=999, adopt=adopt))
    assert [s.frame for s in sent] == segments_of(rig, 1000, 4000, 999)
    assert rig.state.expected_seq == rig.at(4000)
    rig.encrypts(4000, len(rig.wire))


def test_one_bad_segment_stops_those_behind_it():
    rig = rig_of([900, 900, 900])
    second = rig.starts[1]
    rig.plain = rig.plain[:second] + b"\x17\x03\x04" + rig.plain[second + 3 :]
    sent = send(rig, 0, 2000, rig.request(TxKind.STREAM, segment_size=500))
    assert [s.status for s in sent] == [
        TxStatus.ENCRYPTED,
        TxStatus.DROPPED_HEADER,
        TxStatus.DROPPED_SEQUENCE,
        TxStatus.DROPPED_SEQUENCE,
    ]


def test_frame_that_ends_early():
    """The segments that begin in it; the last one is not whole."""
    rig = rig_of([3000])
    whole = rig.frame(0, 3000)
    head = len(whole) - 3000
    for kept, statuses in (
        (2500, [TxStatus.ENCRYPTED] * 2 + [TxStatus.DROPPED_MALFORMED]),
        (2000, [TxStatus.ENCRYPTED] * 2),
        (1, [TxStatus.DROPPED_MALFORMED]),
        (0, [TxStatus.DROPPED_MALFORMED]),
        (-3, [TxStatus.DROPPED_MALFORMED]),
    ):
        rig.resync(0)
        sent = rig.device.transmit(whole[: head + kept], rig.request(TxKind.STREAM, segment_size=1000))
        assert [s.status for s in sent] == statuses
        expected = segments_of(rig, 0, 3000, 1000)
        assert all(s.frame == e for s, e in zip(sent, expected, strict=False) if s.status is TxStatus.ENCRYPTED)
    passed = rig.device.transmit(whole[: head + 1500], TxRequest(segment_size=1000))
    expected = segments_of(rig, 0, 3000, 1000, data=rig.plain)
    assert passed[0].frame == expected[0]
    assert passed[1].frame is not None and len(passed[1].frame) == head + 500
    assert passed[1].frame[: head - 32 + 16] == expected[1][: head - 32 + 16]
    assert passed[1].frame[head - 16 : head - 14] == whole[head - 16 : head - 14]  # TCP checksum of the frame


def test_segment_beyond_the_parse_limit():
    rig = rig_of([16384] * 2)
    sent = send(rig, 0, 20000, rig.request(TxKind.STREAM, segment_size=9200))
    assert [s.status for s in sent] == [
        TxStatus.DROPPED_MALFORMED,
        TxStatus.DROPPED_MALFORMED,
        TxStatus.DROPPED_SEQUENCE,
    ]
    rig.drops(TxStatus.DROPPED_MALFORMED, 0, 9200)


def test_ipv6_packet_beyond_64_kilobytes():
    """40 bytes of header do not count in its length field; the limit is the packet's."""
    rig = rig_of([16384] * 5, ipv6=True)
    size = 65535 - 32
    sent = send(rig, 0, size, rig.request(TxKind.STREAM, segment_size=1000))
    assert [s.status for s in sent] == [TxStatus.DROPPED_MALFORMED]
    sent = send(rig, 0, size - 40, rig.request(TxKind.STREAM, segment_size=1000))
    assert {s.status for s in sent} == {TxStatus.ENCRYPTED}


def test_only_the_segment_that_ends_the_packet_adopts():
    """The tags that `stream` knows serve every segment of a cut frame, the record's last one too."""
    rig = rig_of([300, 300, 300])
    size = len(rig.plain)
    rig.encrypts(0, size)
    sent = send(rig, 100, 700, rig.request(TxKind.PREFIX, segment_size=100, adopt=True))
    assert [s.frame for s in sent] == segments_of(rig, 100, 700, 100)
    assert rig.state.expected_seq == rig.at(700)

    rig = rig_of([300, 300, 300])
    rig.encrypts(0, size)
    frame = rig.frame(100, 700)[:-200]  # ends between two segments: all that leave are whole
    sent = rig.device.transmit(frame, rig.request(TxKind.PREFIX, 0, segment_size=100, adopt=True))
    assert [s.status for s in sent] == [TxStatus.ENCRYPTED] * 4
    assert rig.state.seen_seq == rig.at(500) and rig.state.expected_seq == rig.at(size)
