"""The golden transmit device: statuses, positions, tags, commands, by docs/contract-tx.md."""

from collections.abc import Callable

import pytest

from model.commands import Add, Delete, Query, Read, Resync, Seed
from model.contract import (
    CIPHERS,
    CONTRACT_VERSION,
    IDENTIFICATION,
    READ_CIPHERS,
    READ_CONNECTIONS,
    READ_COUNTERS,
    READ_FREE,
    READ_IDENTIFICATION,
    READ_VERSION,
    READ_WIDTH,
    TAG_RING,
    TX_COUNTERS,
    Result,
    TxKind,
    TxStatus,
)
from model.tx_commands import Sent, TxDevice, TxRequest
from model.tx_device import GoldenTxDevice
from sim.traffic import ACK, FIN, PSH, RST, SYN, TLS12, TLS13, Stream
from tests.model.tx_rig import TxRig, prefix_size

BOTH = pytest.mark.parametrize("version", [TLS12, TLS13])
CRYPTO = (TxKind.STREAM, TxKind.REPLAY, TxKind.RETRANSMIT, TxKind.PREFIX)


def rig_of(sizes: list[int], version: int = TLS13, **options: int) -> TxRig:
    stream = Stream(version, seed=len(sizes), **options)
    stream.bulk(sizes)
    return TxRig(stream)


# --- what leaves ---------------------------------------------------------------------------------------
@BOTH
@pytest.mark.parametrize("key_size", [16, 32])
@pytest.mark.parametrize("mss", [536, 1448, 8960])
def test_records_of_all_sizes(version: int, key_size: int, mss: int):
    rig = rig_of([0, 1, 15, 16, 17, 255, 16384, 16384, 0, 0, 3000], version, key_size=key_size)
    end = len(rig.wire)
    for start in range(0, end, mss):
        rig.encrypts(start, min(start + mss, end))
    assert rig.counters()["encrypted_bytes"] == end


@pytest.mark.parametrize("content_type, padding", [(22, 0), (21, 1), (23, 16), (100, 300)])
def test_tls13_content_type_and_padding(content_type: int, padding: int):
    stream = Stream()
    stream.record(b"payload", content_type, padding)
    rig = TxRig(stream)
    rig.encrypts(0, 20)
    rig.encrypts(20, len(rig.wire))


def test_explicit_nonce_comes_from_the_frame():
    stream = Stream(TLS12, record_number=5)
    for nonce in (b"\xff" * 8, bytes(8), (5).to_bytes(8, "big")):
        stream.record(b"payload", explicit_nonce=nonce)
    TxRig(stream).encrypts(0, len(stream.wire))


@BOTH
@pytest.mark.parametrize("ipv6", [False, True])
def test_nothing_else_in_the_frame_changes(version: int, ipv6: bool):
    stream = Stream(version, ipv6=ipv6)
    stream.bulk([50, 60])
    shapes = [
        dict(vlans=[(0x8100, 5), (0x88A8, 6)], trailer=b"padding"),
        dict(tcp_options=b"", flags=ACK | PSH | FIN),
        dict(tcp_options=bytes(range(1, 41)), flags=ACK | 0xC0),
    ]
    if ipv6:
        shapes.append(dict(extension_headers=[(0, bytes(8)), (60, bytes([0, 1]) + bytes(14))]))
    else:
        shapes.append(dict(ip_options=b"\x01" * 12))
        shapes.append(dict(bad_ip=True))
    for shape in shapes:
        rig = TxRig(stream)
        for start, end in ((0, 20), (20, 99), (99, len(rig.wire))):
            frame = stream.frame(rig.at(start), rig.plain[start:end], bad_tcp=True, **shape)
            (sent,) = rig.device.transmit(frame, rig.request(TxKind.STREAM))
            assert sent.frame == stream.frame(rig.at(start), rig.wire[start:end], **shape)


def test_checksum_field_is_zero_and_never_ffff():
    """A sum of 0xFFFF gives a field of zero. A word in the urgent pointer brings the sum there."""
    rig = rig_of([40])
    frame = rig.frame(0, len(rig.wire))
    right = rig.stream.frame(rig.at(0), rig.wire)
    field = 14 + 20 + 16
    word = int.from_bytes(right[field : field + 2], "big")
    frame = frame[: field + 2] + word.to_bytes(2, "big") + frame[field + 4 :]
    (sent,) = rig.device.transmit(frame, rig.request(TxKind.STREAM))
    assert sent.frame is not None and sent.frame[field : field + 4] == b"\0\0" + word.to_bytes(2, "big")


def test_sequence_number_and_record_number_wrap():
    rig = rig_of([10] * 20, start_seq=2**32 - 100, record_number=2**64 - 3)
    for start in range(0, len(rig.wire), 33):
        rig.encrypts(start, min(start + 33, len(rig.wire)))
    assert rig.state.record_number == 17
    rig.encrypts(582, 602, TxKind.PREFIX)
    rig.replays(64, 70, record=2)
    rig.encrypts(70, 200, TxKind.RETRANSMIT)


def test_largest_frame():
    rig = rig_of([16384] * 2)
    limit = 9216 - 14 - 20 - 32
    rig.encrypts(0, limit)
    rig.drops(TxStatus.DROPPED_MALFORMED, limit, 2 * limit + 1)
    rig.encrypts(limit, 2 * limit)


# --- statuses ------------------------------------------------------------------------------------------
def test_pass_leaves_untouched():
    rig = rig_of([50])
    frames = [b"", b"\0" * 60, rig.frame(0, 50), rig.frame(0, 50)[:70], rig.frame(0, 10, flags=SYN)]
    for frame in frames:
        for handle in (0, rig.handle, 99):
            sent = rig.device.transmit(frame, TxRequest(handle=handle))
            assert sent == [Sent(frame, TxStatus.PASSED, 0)]


@pytest.mark.parametrize("kind", CRYPTO)
@pytest.mark.parametrize("flags", [ACK, FIN | ACK, RST, SYN | ACK])
def test_without_payload_passes(kind: TxKind, flags: int):
    """Number 51: pure ACK, FIN, zero window probe. Even with a stale handle and any sequence number."""
    rig = rig_of([50])
    state = rig.state
    for handle in (rig.handle, 0x10000, 77):
        frame = rig.stream.frame(12345, b"", flags=flags, bad_tcp=True, trailer=bytes(6))
        sent = rig.device.transmit(frame, rig.request(kind, handle=handle))
        assert sent == [Sent(frame, TxStatus.PASSED, handle)]
    assert rig.state == state


@pytest.mark.parametrize("kind", CRYPTO)
def test_malformed(kind: TxKind):
    rig = rig_of([50])
    good = rig.frame(0, 50)
    cut_options = rig.stream.frame(1000, b"", trailer=b"")[:-1]
    fragment = rig.stream.frame(rig.at(0), rig.plain[:50], fragment=0x2000)
    for frame in (
        b"",
        good[:-1],
        good[:60],
        cut_options,
        fragment,
        rig.frame(0, 50, flags=SYN),
        rig.frame(0, 50, flags=ACK | RST),
        b"\xff" * 100,
    ):
        for handle in (rig.handle, 0x123456):
            sent = rig.device.transmit(frame, rig.request(kind, handle=handle))
            assert sent == [Sent(None, TxStatus.DROPPED_MALFORMED, handle)]
    rig.encrypts(0, 50)


@pytest.mark.parametrize("kind", CRYPTO)
def test_wrong_handle(kind: TxKind):
    """Number 54: never plaintext."""
    rig = rig_of([50])
    for handle in (rig.handle + 1, 4, 0xFFFF, rig.handle | 0x10000):
        sent = rig.device.transmit(rig.frame(0, 50), rig.request(kind, handle=handle))
        assert sent == [Sent(None, TxStatus.DROPPED_HANDLE, handle)]
    rig.device.command(Delete(rig.handle))
    assert rig.send(0, 50, kind) == Sent(None, TxStatus.DROPPED_HANDLE, rig.handle)
    again = rig.device.command(rig.stream.add()).handle
    assert rig.send(0, 50, kind).status is TxStatus.DROPPED_HANDLE
    assert again != rig.handle


def test_sequence():
    rig = rig_of([50, 50])
    rig.drops(TxStatus.DROPPED_SEQUENCE, 1, 10)
    rig.encrypts(0, 30)
    rig.drops(TxStatus.DROPPED_SEQUENCE, 0, 30)  # its retransmission
    rig.drops(TxStatus.DROPPED_SEQUENCE, 31, 40)
    rig.drops(TxStatus.DROPPED_SEQUENCE, 10, 30, TxKind.RETRANSMIT)  # replay stands at the start
    rig.encrypts(0, 10, TxKind.RETRANSMIT)
    rig.drops(TxStatus.DROPPED_SEQUENCE, 0, 10, TxKind.RETRANSMIT)
    rig.drops(TxStatus.DROPPED_SEQUENCE, 5, 10, TxKind.REPLAY)
    rig.encrypts(30, len(rig.wire))


@BOTH
@pytest.mark.parametrize("key_size", [16, 32])
def test_prefix_offset(version: int, key_size: int):
    """Before the record, at its end, beyond it: no record of that header holds the frame."""
    rig = rig_of([50] * 4, version, key_size=key_size)
    rig.encrypts(0, len(rig.wire))
    size = rig.starts[1]
    for at in (size, size + 1, 2 * size):
        rig.drops(TxStatus.DROPPED_SEQUENCE, at, at + 1, TxKind.PREFIX, record=0)
    rig.drops(TxStatus.DROPPED_SEQUENCE, size - 1, size, TxKind.PREFIX, record=1)
    rig.encrypts(size - 1, size, TxKind.PREFIX, record=0)
    rig.encrypts(size, size + 1, TxKind.PREFIX, record=1)


@BOTH
@pytest.mark.parametrize("wrong", [b"\x03\x01", b"\x02\x03", b"\0\0"])
def test_header_version(version: int, wrong: bytes):
    rig = rig_of([50, 50, 50], version)
    second = rig.starts[1]
    rig.plain = rig.plain[: second + 1] + wrong + rig.plain[second + 3 :]
    rig.drops(TxStatus.DROPPED_HEADER, 0, second + 20)
    rig.drops(TxStatus.DROPPED_HEADER, 0, second + 20, TxKind.RETRANSMIT)
    rig.drops(TxStatus.DROPPED_HEADER, 0, second + 20, TxKind.REPLAY)
    rig.drops(TxStatus.DROPPED_HEADER, 0, second + 20, TxKind.PREFIX)
    rig.encrypts(0, second)
    rig.drops(TxStatus.DROPPED_HEADER, second, second + 20)
    rig.drops(TxStatus.DROPPED_HEADER, second, second + 3)  # the frame ends in the header


@pytest.mark.parametrize(
    "version, length, good",
    [(TLS12, n, g) for n, g in ((0, 0), (23, 0), (24, 1), (16408, 1), (16409, 0), (65535, 0))]
    + [(TLS13, n, g) for n, g in ((0, 0), (16, 0), (17, 1), (16401, 1), (16402, 0), (65535, 0))],
)
@pytest.mark.parametrize("content_type", [0, 23, 100, 255])
def test_header_limits(version: int, length: int, good: int, content_type: int):
    """A header is checked byte by byte as far as it is there; any content type will do."""
    rig = rig_of([50], version)
    prefix = prefix_size(rig.stream)
    header = bytes([content_type, 3, 3]) + length.to_bytes(2, "big") + bytes(prefix - 5)
    rig.plain = header + bytes(100)
    rig.wire = header
    telling = 3 if length == 65535 else 4  # the byte that shows it
    rig.encrypts(0, telling)
    if good:
        rig.encrypts(telling, prefix)
    else:
        rig.drops(TxStatus.DROPPED_HEADER, telling, telling + 1)
    for offset in (0, 3, prefix):
        request = rig.request(TxKind.PREFIX, header=header)
        (sent,) = rig.device.transmit(rig.frame(offset, offset + 1), request)
        assert sent.status is (TxStatus.ENCRYPTED if good else TxStatus.DROPPED_HEADER)


def test_header_of_prefix_is_padded_and_cut():
    rig = rig_of([50])
    wire = rig.stream.records[0].wire
    rig.encrypts(20, 30, TxKind.PREFIX, header=wire[:5] + b"\xff" * 8)
    rig.drops(TxStatus.DROPPED_HEADER, 20, 30, TxKind.PREFIX, header=wire[:3])
    rig.drops(TxStatus.DROPPED_HEADER, 0, 30, TxKind.PREFIX, header=b"")
    stream = Stream(TLS12)
    stream.record(b"payload", explicit_nonce=b"nonce\0\0\0")
    TxRig(stream).encrypts(13, 15, TxKind.PREFIX, header=stream.wire[:10])


def test_precedence():
    """Frames with two faults or more: which one is named."""
    rig = rig_of([50, 50])
    rig.encrypts(0, len(rig.wire))
    rig.resync(1)  # no tags known
    second = rig.starts[1]
    bad_header = rig.request(TxKind.PREFIX, header=b"\x17\3\3\0\0", record_seq=rig.at(500))

    def status(frame: bytes, request: TxRequest) -> TxStatus:
        (sent,) = rig.device.transmit(frame, request)
        return sent.status

    stale = rig.request(TxKind.PREFIX, handle=0x770000)
    assert status(rig.frame(0, 0), stale) is TxStatus.PASSED
    assert status(rig.frame(0, 0, flags=SYN), stale) is TxStatus.PASSED
    assert status(rig.frame(0, 5, flags=RST), stale) is TxStatus.DROPPED_MALFORMED
    assert status(rig.frame(0, 5)[:-1], stale) is TxStatus.DROPPED_MALFORMED
    assert status(rig.frame(9, 15), rig.request(TxKind.STREAM, handle=99)) is TxStatus.DROPPED_HANDLE
    assert status(rig.frame(9, 15), bad_header) is TxStatus.DROPPED_HEADER  # its offset is wrong too
    # The walk meets the tag of the first record before the header of the second.
    rig.plain = rig.plain[: second + 1] + b"xx" + rig.plain[second + 3 :]
    rig.drops(TxStatus.DROPPED_TAG, 20, second + 5, TxKind.PREFIX)
    rig.drops(TxStatus.DROPPED_SEQUENCE, 10, second + 5)


# --- positions -----------------------------------------------------------------------------------------
@BOTH
@pytest.mark.parametrize("mechanism", ["replay", "prefix"])
def test_stream_goes_on_behind_a_retransmission(version: int, mechanism: str):
    """Number 46: the next new packet needs no second replay."""
    rig = rig_of([300, 300, 300], version)
    rig.encrypts(0, 500)
    state = rig.state
    for start, end in ((0, 100), (100, 200), (90, 320), (400, 500)):
        head = rig.starts[rig.record_of(start)]
        if mechanism == "replay" and start > head:
            rig.replays(head, start)
            rig.encrypts(start, end, TxKind.RETRANSMIT)
        else:
            rig.encrypts(start, end, TxKind.PREFIX)
    after = rig.state
    assert (after.expected_seq, after.remaining, after.record_number) == (
        state.expected_seq,
        state.remaining,
        state.record_number,
    )
    rig.encrypts(500, len(rig.wire))


def test_replay_names_its_record_only_at_its_start():
    rig = rig_of([100, 100])
    rig.encrypts(0, len(rig.wire))
    rig.replays(0, 50)
    rig.replays(50, 60, record=1)  # record_seq is elsewhere: goes on
    rig.encrypts(60, 150, TxKind.RETRANSMIT)
    rig.replays(rig.starts[1], 160)
    rig.replays(0, 30)
    rig.encrypts(30, len(rig.wire), TxKind.RETRANSMIT)


def test_replay_beyond_a_record_that_is_blind():
    """REPLAY may go on from PREFIX. It wants the tags it passes."""
    rig = rig_of([100, 100])
    rig.encrypts(0, len(rig.wire))
    rig.encrypts(50, 60, TxKind.PREFIX)
    rig.replays(60, 150, record=1)
    rig.encrypts(150, 200, TxKind.RETRANSMIT)
    rig.resync(1)
    rig.encrypts(50, 60, TxKind.PREFIX)
    rig.drops(TxStatus.DROPPED_TAG, 60, 150, TxKind.REPLAY, record=1)
    rig.replays(60, 100, record=1)


@BOTH
@pytest.mark.parametrize("cut", [10, 14, 200, 300, 322, 330, 400])
def test_adopt(version: int, cut: int):
    """After a forward jump: the stream goes on behind the frame that was not the expected one."""
    rig = rig_of([300, 300, 300], version)
    rig.encrypts(0, 5)
    head = rig.starts[rig.record_of(cut)]
    if cut > head:
        rig.replays(head, cut)
    rig.encrypts(cut, cut + 50, TxKind.RETRANSMIT if cut > head else TxKind.PREFIX, adopt=True)
    assert rig.state.expected_seq == rig.state.seen_seq == rig.at(cut + 50)
    rig.encrypts(cut + 50, len(rig.wire))
    rig.drops(TxStatus.DROPPED_SEQUENCE, 5, 20)


@BOTH
def test_adopt_with_prefix(version: int):
    """Adopted in the middle of a record, the stream cannot make its tag; from the next record on it can."""
    rig = rig_of([300, 300, 300], version)
    rig.encrypts(100, 150, TxKind.PREFIX, adopt=True)
    assert rig.state.skipping and rig.state.record_number == 0
    rig.encrypts(150, 200)
    rig.drops(TxStatus.DROPPED_TAG, 200, 400)
    rig.encrypts(rig.starts[1], 500, TxKind.PREFIX, adopt=True)
    assert not rig.state.skipping and rig.state.record_number == 1
    rig.encrypts(500, len(rig.wire))


def test_adopt_of_a_dropped_frame_and_of_other_kinds_does_nothing():
    rig = rig_of([300, 300])
    rig.drops(TxStatus.DROPPED_TAG, 100, len(rig.wire), TxKind.PREFIX, adopt=True)
    rig.encrypts(0, 100, TxKind.STREAM, adopt=True)
    assert rig.state.seen_seq == rig.at(0)
    assert rig.send(0, 50, TxKind.REPLAY, adopt=True).status is TxStatus.REPLAYED
    rig.encrypts(100, len(rig.wire))


def test_positions_part_after_adopt():
    rig = rig_of([300, 300])
    rig.encrypts(0, 100, TxKind.PREFIX, adopt=True)
    rig.encrypts(100, 200, TxKind.RETRANSMIT)
    rig.encrypts(100, 320, TxKind.STREAM)
    rig.encrypts(200, 400, TxKind.RETRANSMIT)
    rig.encrypts(320, len(rig.wire))


# --- tags ----------------------------------------------------------------------------------------------
@BOTH
@pytest.mark.parametrize("key_size", [16, 32])
def test_tag_ring(version: int, key_size: int):
    """The last eight complete records, and the one in progress once some of its tag is sent."""
    rig = rig_of([100] * 12, version, key_size=key_size)
    size = rig.starts[1]
    end = 10 * size + size - 20
    rig.encrypts(0, end)
    for record in range(12):
        at = record * size + 50
        if record < 10 - TAG_RING or record >= 10:
            rig.drops(TxStatus.DROPPED_TAG, at, (record + 1) * size, TxKind.PREFIX)
            rig.drops(TxStatus.DROPPED_TAG, at, (record + 1) * size - 15, TxKind.PREFIX)
        else:
            rig.encrypts(at, (record + 1) * size, TxKind.PREFIX)
        rig.encrypts(at, (record + 1) * size - 16, TxKind.PREFIX)
    rig.encrypts(end, end + 4)
    rig.drops(TxStatus.DROPPED_TAG, 10 * size + 50, 11 * size, TxKind.PREFIX)
    rig.encrypts(end + 4, end + 5)
    rig.encrypts(10 * size + 50, 11 * size, TxKind.PREFIX)
    rig.encrypts(11 * size - 10, 11 * size, TxKind.PREFIX)
    assert rig.state.remaining == 15
    rig.encrypts(end + 5, 11 * size)
    rig.drops(TxStatus.DROPPED_TAG, 2 * size + 50, 3 * size, TxKind.PREFIX)  # pushed out just now
    rig.encrypts(3 * size + 50, 4 * size, TxKind.PREFIX)


def test_tags_are_known_by_number():
    """A number that is right modulo a smaller power of two is not."""
    rig = rig_of([100] * 4, record_number=2**64 - 2)
    rig.encrypts(0, len(rig.wire))
    number = rig.stream.records[2].number
    assert number == 0
    rig.encrypts(rig.starts[2] + 50, rig.starts[3], TxKind.PREFIX)
    for wrong in (2**32, 2**63, 2**64 - 8, 2):
        start = rig.starts[2] + 50
        rig.drops(TxStatus.DROPPED_TAG, start, rig.starts[3], TxKind.PREFIX, record_number=wrong)


@pytest.mark.parametrize("breaks", ["resync", "adopt"])
def test_what_empties_the_ring(breaks: str):
    rig = rig_of([100] * 6)
    size = rig.starts[1]
    rig.encrypts(0, 3 * size)
    rig.encrypts(2 * size + 50, 3 * size, TxKind.PREFIX)
    if breaks == "resync":
        rig.resync(3)
    else:
        rig.encrypts(2 * size, 3 * size, TxKind.PREFIX, adopt=True)
    rig.drops(TxStatus.DROPPED_TAG, 2 * size + 50, 3 * size, TxKind.PREFIX)
    rig.encrypts(3 * size, 5 * size)
    rig.drops(TxStatus.DROPPED_TAG, 2 * size + 50, 3 * size, TxKind.PREFIX)
    rig.encrypts(3 * size + 50, 4 * size, TxKind.PREFIX)
    rig.encrypts(4 * size + 50, 5 * size, TxKind.PREFIX)


def test_tag_in_progress_after_adopt():
    """The sum goes along with the position: where a tag was begun, the rest of it is known."""
    rig = rig_of([100, 100])
    size = rig.starts[1]
    rig.encrypts(0, size - 10, TxKind.PREFIX, adopt=True)
    rig.encrypts(50, size, TxKind.PREFIX)
    rig.encrypts(size - 10, len(rig.wire))


def test_records_of_replay_do_not_enter_the_ring():
    rig = rig_of([100] * 4)
    size = rig.starts[1]
    rig.encrypts(0, size)
    rig.encrypts(size, 3 * size, TxKind.PREFIX)
    rig.drops(TxStatus.DROPPED_TAG, size + 50, 2 * size, TxKind.PREFIX)
    rig.encrypts(50, size, TxKind.PREFIX)


def test_zero_length_records_fill_the_ring():
    rig = rig_of([0] * 12, TLS12)
    size = rig.starts[1]
    rig.encrypts(0, len(rig.wire))
    for record in range(12):
        # Without a body, a record seen from its tag's first byte on is whole.
        rig.encrypts(record * size + 13, (record + 1) * size, TxKind.PREFIX)
    rig.drops(TxStatus.DROPPED_TAG, 3 * size + 14, 4 * size, TxKind.PREFIX)
    rig.encrypts(4 * size + 14, 5 * size, TxKind.PREFIX)


# --- commands ------------------------------------------------------------------------------------------
def test_is_a_tx_device():
    device: TxDevice = GoldenTxDevice()
    assert device.transmit(b"", TxRequest()) == [Sent(b"", TxStatus.PASSED, 0)]


def test_add():
    device = GoldenTxDevice(connections=2)
    stream = Stream()
    add = stream.add()

    def changed(**values: object) -> Add:
        fields = {name: getattr(add, name) for name in Add.__slots__}
        return Add(**(fields | values))

    assert device.command(changed(version=0x0302)).result is Result.UNSUPPORTED
    assert device.command(changed(key=bytes(24))).result is Result.UNSUPPORTED
    assert device.command(add).handle == 0
    assert device.command(add).handle == 1  # the tuple is not looked at
    assert device.command(changed(version=0)).result is Result.UNSUPPORTED
    assert device.command(add).result is Result.NO_SPACE
    assert device.command(Delete(0)).result is Result.OK
    assert device.command(Delete(0)).result is Result.STALE_HANDLE
    assert device.command(add).handle == 0x10000


def test_stale_handles():
    device = GoldenTxDevice(connections=2)
    for handle in (0, 1, 2, 0xFFFF, 0x10000):
        commands: list[Callable[[int], object]] = [Delete, Query, lambda h: Resync(h, 0, 0)]
        for command in commands:
            assert device.command(command(handle)).result is Result.STALE_HANDLE  # type: ignore[arg-type]


def test_seed_and_unknown_commands():
    assert GoldenTxDevice().command(Seed()).result is Result.BAD_COMMAND


def test_resync_is_always_obeyed():
    """Forward, back, at any time: the driver knows."""
    rig = rig_of([100] * 5)
    rig.encrypts(0, 50)
    for record in (3, 1, 1, 4, 0):
        rig.resync(record)
        state = rig.state
        assert state.expected_seq == rig.at(rig.starts[record]) and state.record_number == record
        assert (state.remaining, state.header_count, state.skipping) == (0, 0, False)
        rig.encrypts(rig.starts[record], rig.starts[record] + 60)


def test_resync_leaves_replay():
    rig = rig_of([100] * 5)
    rig.replays(0, 50)
    rig.resync(3)
    assert rig.state.seen_seq == rig.at(50)
    rig.encrypts(50, 200, TxKind.RETRANSMIT)
    rig.encrypts(rig.starts[3], len(rig.wire))


def test_query():
    rig = rig_of([100, 100], TLS12)
    rig.encrypts(0, 7)
    state = rig.state
    assert (state.header_count, state.remaining, state.record_number) == (7, 0, 0)
    rig.encrypts(7, 120)
    state = rig.state
    assert (state.expected_seq, state.header_count, state.remaining) == (rig.at(120), 0, 9)
    assert not state.out_of_sync and not state.skipping


def test_read():
    device = GoldenTxDevice(connections=7, width=64)
    words = {
        READ_IDENTIFICATION: IDENTIFICATION,
        READ_VERSION: CONTRACT_VERSION,
        READ_WIDTH: 64,
        READ_CONNECTIONS: 7,
        READ_CIPHERS: CIPHERS,
        READ_FREE: 6,
        6: 0,
        15: 0,
        READ_COUNTERS: 0,
        READ_COUNTERS + len(TX_COUNTERS): 0,
    }
    assert device.command(Stream().add()).result is Result.OK
    for address, value in words.items():
        assert device.command(Read(address)).value == value


def test_counters():
    """Number 62: one of each status, and what of the bytes counts."""
    rig = rig_of([100] * 3)
    rig.device.transmit(b"anything", TxRequest())
    rig.encrypts(0, 100)
    rig.replays(0, 40)
    rig.encrypts(40, 90, TxKind.RETRANSMIT)
    rig.encrypts(30, 100, TxKind.PREFIX)
    rig.device.transmit(rig.frame(100, 150, flags=SYN), rig.request(TxKind.STREAM))
    rig.drops(TxStatus.DROPPED_SEQUENCE, 110, 150)
    rig.device.transmit(rig.frame(0, 10), rig.request(TxKind.STREAM, handle=3))
    rig.drops(TxStatus.DROPPED_HEADER, 20, 30, TxKind.PREFIX, header=b"")
    rig.drops(TxStatus.DROPPED_TAG, 20, 130, TxKind.PREFIX)
    assert rig.counters() == {
        "passed": 1,
        "encrypted": 3,
        "replayed": 1,
        "dropped_malformed": 1,
        "dropped_handle": 1,
        "dropped_sequence": 1,
        "dropped_header": 1,
        "dropped_tag": 1,
        "encrypted_bytes": 100 + 50 + 70,
    }


def test_connections_do_not_disturb_each_other():
    device = GoldenTxDevice(connections=8)
    rigs: list[TxRig] = []
    for seed in range(8):
        stream = Stream(TLS12 if seed & 1 else TLS13, seed=seed, key_size=16 + 16 * (seed & 2 > 0), start_seq=seed * 7)
        stream.bulk([200, 30, 500])
        rigs.append(TxRig(stream, device))
    for start in range(0, 780, 60):
        for rig in rigs:
            rig.encrypts(start, min(start + 60, len(rig.wire)))
