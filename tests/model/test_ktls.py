"""The stack alone: segments in, with marks a test sets as it likes."""

from collections.abc import Iterable

import pytest

from model.crypto_info import TLS_CIPHER_AES_GCM_128, TLS_CIPHER_AES_GCM_256, CryptoInfo
from model.ktls import KtlsReceiver
from model.reencrypt import Reencryptor, reencrypted
from sim.traffic import FIN, TLS12, TLS13, Stream
from tests.model.rig import crypto_info, truth

BOTH = pytest.mark.parametrize("version", [TLS12, TLS13])


def receiver(stream: Stream, hints: list[tuple[int, int]] | None = None) -> KtlsReceiver:
    resync = None if hints is None else lambda seq, number: hints.append((seq, number))
    return KtlsReceiver(crypto_info(stream), stream.start_seq, resync, keep=True)


def feed(stack: KtlsReceiver, segments: Iterable[tuple[int, bytes]]) -> KtlsReceiver:
    for seq, payload in segments:
        stack.segment(seq, payload)
    return stack


def plain_of(stream: Stream, wire: bytes | None = None) -> bytes:
    """The stream's wire as a perfect device would deliver it."""
    return Reencryptor(crypto_info(stream), truth(stream)).payload(stream.start_seq, wire or stream.wire)


# --- what is read --------------------------------------------------------------------------------------
@BOTH
@pytest.mark.parametrize("key_size", [16, 32])
@pytest.mark.parametrize("mss", [1, 7, 100, 1448])
def test_software(version: int, key_size: int, mss: int):
    """selftests recv_small, sendmsg_multiple, single_send_multiple_recv, keysizes, zero_len."""
    stream = Stream(version, seed=mss, key_size=key_size, record_number=2**32 - 2)
    stream.bulk([1, 0, 15, 0, 0, 256, 512])
    stack = feed(receiver(stream), stream.segments(stream.wire, mss=mss))
    assert stack.application.data == stream.application
    assert stack.error is None and not stack.control
    assert [r.handling for r in stack.records] == ["software"] * 7


@BOTH
def test_full_records(version: int):
    """selftests recv_max, sendmsg_large."""
    stream = Stream(version, seed=1)
    stream.bulk([16384, 16384])
    stack = feed(receiver(stream), stream.segments(stream.wire))
    assert stack.application.data == stream.application


@BOTH
def test_control_records(version: int):
    """selftests control_msg, control_msg_nomerge, data_control_data: order, types, apart from the data."""
    stream = Stream(version, seed=2)
    stream.record(b"data")
    stream.record(b"one", 100)
    stream.record(b"two", 100)
    stream.record(b"\x04ticket", 22)
    stream.record(b"", 100)
    stream.record(b"more")
    stream.record(b"\x01\x00", 21)
    stack = feed(receiver(stream), stream.segments(stream.wire, mss=30))
    assert stack.application.data == b"datamore"
    assert stack.control == [
        (100, b"one"),
        (100, b"two"),
        (22, b"\x04ticket"),
        (100, b""),
        (21, b"\x01\x00"),
    ]
    assert [r.application for r in stack.records] == [True, False, False, False, False, True, False]


@pytest.mark.parametrize("offloaded", [False, True])
@pytest.mark.parametrize("padding", [0, 1, 15, 16, 16384 - 3])
def test_tls13_padding(padding: int, offloaded: bool):
    """Number 8; selftest no_pad."""
    stream = Stream(seed=padding)
    stream.record(b"abc", padding=padding)
    stack = receiver(stream)
    stack.segment(stream.start_seq, plain_of(stream) if offloaded else stream.wire, decrypted=offloaded)
    assert stack.application.data == b"abc"


@pytest.mark.parametrize("offloaded", [False, True])
@pytest.mark.parametrize("inner", [b"", b"\0", bytes(100), bytes(16385)])
def test_tls13_without_content_type(inner: bytes, offloaded: bool):
    """Number 8, all-zero inner plaintext, and number 6, length 16."""
    stream = Stream(seed=4)
    stream.record(b"good")
    stream.record(b"", inner=inner)
    stack = receiver(stream)
    stack.segment(stream.start_seq, plain_of(stream) if offloaded else stream.wire, decrypted=offloaded)
    assert stack.error == "EBADMSG"
    assert stack.application.data == b"good"
    assert stack.records[-1].error == "EBADMSG" and not stack.records[-1].application


def test_inner_payload_may_end_in_zeros():
    stream = Stream(seed=4)
    stream.record(bytes(50), padding=2)
    stream.record(bytes(3), 22)
    stack = feed(receiver(stream), stream.segments(stream.wire))
    assert stack.application.data == bytes(50)
    assert stack.control == [(22, bytes(3))]


def test_explicit_nonce_is_the_wires():
    """Number 9."""
    stream = Stream(TLS12, seed=5, record_number=3)
    for nonce in (bytes(8), b"\xff" * 8, (3).to_bytes(8, "big"), (3).to_bytes(8, "big")):
        stream.record(b"abc", explicit_nonce=nonce)
    stack = feed(receiver(stream), stream.segments(stream.wire, mss=9))
    assert stack.application.data == b"abc" * 4
    assert [r.explicit_nonce[-1] for r in stack.records] == [0, 255, 3, 3]


# --- errors --------------------------------------------------------------------------------------------
@BOTH
@pytest.mark.parametrize(
    "header, error",
    [
        (b"\x55\x55\x55\x55\x55", "EMSGSIZE"),  # selftest tls_err.bad_rec: the length comes first
        (b"\x17\x03\x01\x00\x00", "EBADMSG"),  # length before version
        (b"\x17\x03\x01\x00\x40", "EINVAL"),
        (b"\x17\x02\x03\x00\x40", "EINVAL"),
        (b"\x17\x03\x04\x40\x19", "limit"),
    ],
)
def test_header_checks_in_order(version: int, header: bytes, error: str):
    stream = Stream(version, seed=6)
    stream.record(b"good")
    stack = receiver(stream)
    stack.segment(stream.start_seq, stream.wire + header + bytes(8))
    if error == "limit":  # 16409: more than TLS 1.3 allows, and one more than TLS 1.2 does
        error = "EMSGSIZE"
    assert stack.error == error
    assert stack.application.data == b"good"


def test_header_is_checked_once_its_prefix_is_there():
    """TLS 1.2 waits for the explicit nonce before it looks at the header."""
    stream = Stream(TLS12)
    stack = receiver(stream)
    stack.segment(1000, b"\x55" * 12)
    assert stack.error is None
    stack.segment(1012, b"\x55")
    assert stack.error == "EMSGSIZE"
    stack = receiver(Stream(TLS13))
    stack.segment(1000, b"\x55" * 4)
    assert stack.error is None
    stack.segment(1004, b"\x55")
    assert stack.error == "EMSGSIZE"


@BOTH
def test_bad_auth_delivers_what_was_good(version: int):
    """selftests tls_err.bad_auth, bad_in_large_read, bad_cmsg: last tag byte plus one."""
    stream = Stream(version, seed=7)
    stream.bulk([100, 100, 100])
    wire = bytearray(stream.wire)
    end = len(stream.records[0].wire) + len(stream.records[1].wire)
    wire[end - 1] = (wire[end - 1] + 1) % 256
    stack = feed(receiver(stream), stream.segments(bytes(wire), mss=70))
    assert stack.error == "EBADMSG"
    assert stack.reason == "record 1: authentication failed"
    assert stack.application.data == stream.records[0].payload
    assert stack.statistics["TlsDecryptError"] == 1
    assert [r.error for r in stack.records] == [None, "EBADMSG"]


@BOTH
def test_record_number_does_not_wrap(version: int):
    """Number 18; selftest tls_basic.recseq_wrap: the last number is read, nothing behind it."""
    stream = Stream(version, seed=8, record_number=2**64 - 2)
    stream.bulk([10, 10, 10])
    stack = feed(receiver(stream), stream.segments(stream.wire))
    assert stack.application.data == stream.application[:20]
    assert (stack.error, len(stack.records)) == ("EBADMSG", 2)


def test_key_update_stops_tls13():
    """selftest rekey, as far as it goes without a new key."""
    stream = Stream(seed=9)
    stream.record(b"before")
    stream.record(b"\x18\x00\x00\x01\x00", 22)
    stream.record(b"behind")
    stack = feed(receiver(stream), stream.segments(stream.wire))
    assert stack.application.data == b"before"
    assert stack.control == [(22, b"\x18\x00\x00\x01\x00")]
    assert (stack.error, stack.reason) == ("EKEYEXPIRED", "record 1: KeyUpdate: rekey is not supported")
    assert [r.error for r in stack.records] == [None, None]


def test_type_24_is_no_key_update_in_tls12_or_in_other_records():
    for version, content_type in ((TLS12, 22), (TLS13, 23), (TLS13, 21)):
        stream = Stream(version, seed=9)
        stream.record(b"\x18\x00\x00\x01\x00", content_type)
        assert feed(receiver(stream), stream.segments(stream.wire)).error is None


def test_segments_with_a_bad_checksum_are_dropped():
    stream = Stream(seed=10)
    stream.record(b"abc")
    stack = receiver(stream)
    stack.segment(1000, bytes(len(stream.wire)), checksum_good=False)
    stack.segment(1000, stream.wire)
    assert stack.application.data == b"abc"
    assert stack.statistics["InCsumErrors"] == 1


def test_end_of_stream():
    """selftests shutdown, shutdown_unsent: a record cut by the FIN is not read."""
    stream = Stream(seed=11)
    stream.bulk([10, 20])
    stack = receiver(stream)
    stack.segment(1000, stream.wire[:-1], fin=True)
    assert stack.eof and stack.error is None
    assert stack.application.size == 10


@BOTH
def test_prequeue(version: int):
    """selftest prequeue: data that was queued before the keys came is what is read first."""
    stream = Stream(version, seed=12, start_seq=2**32 - 40)
    stream.bulk([100, 5])
    stack = receiver(stream)
    stack.segment(2**32 - 60, b"handshake bytes!!!!!" + stream.wire[:90])
    stack.segment(50, stream.wire[90:])
    assert stack.application.data == stream.application


# --- marks ---------------------------------------------------------------------------------------------
@BOTH
def test_every_pattern_of_marks_over_eight_segments(version: int):
    """A record in eight segments, each marked or not: read right, classed right."""
    stream = Stream(version, seed=13, record_number=77)
    stream.bulk([90])
    wire, plain = stream.wire, plain_of(stream)
    cuts = [3, 9, 14, 40, 41, 80, len(wire) - 9]
    pieces = list(zip(stream.segments(wire, cuts), stream.segments(plain, cuts), strict=True))
    for pattern in range(256):
        stack = receiver(stream)
        for i, ((seq, raw), (_, clear)) in enumerate(pieces):
            marked = bool(pattern >> i & 1)
            stack.segment(seq, clear if marked else raw, decrypted=marked)
        assert stack.application.data == stream.application
        expected = {0: "software", 255: "offloaded"}.get(pattern, "mixed")
        assert stack.records[0].handling == expected


def test_fully_marked_record_is_taken_without_a_check():
    """As the kernel does: a marked record's tag is the device's word."""
    stream = Stream(seed=14)
    stream.record(b"abc")
    stack = receiver(stream)
    stack.segment(1000, plain_of(stream)[:-1] + b"?", decrypted=True)
    assert stack.application.data == b"abc"


@BOTH
def test_mixed_record_with_a_bad_tag(version: int):
    """Number 32."""
    stream = Stream(version, seed=15)
    stream.bulk([100])
    plain = plain_of(stream)
    stack = receiver(stream)
    stack.segment(1000, plain[:60], decrypted=True)
    stack.segment(1060, stream.wire[60:-1] + b"?")
    assert stack.error == "EBADMSG"
    assert stack.records[0].handling == "mixed"


@BOTH
def test_reencryption_helper(version: int):
    stream = Stream(version, seed=16, start_seq=2**32 - 300, record_number=2**40)
    stream.bulk([100, 0, 200, 1000])
    records, info = truth(stream), crypto_info(stream)
    plain = plain_of(stream)
    helper = Reencryptor(info, records)
    for (seq, wire), (_, clear) in zip(
        stream.segments(stream.wire, mss=77), stream.segments(plain, mss=77), strict=True
    ):
        frame = stream.frame(seq, clear)
        # The checksum in a delivered frame is the wire's.
        delivered = stream.frame(seq, wire)[: len(frame) - len(clear)] + clear
        assert reencrypted(delivered, records, info) == helper.frame(delivered) == stream.frame(seq, wire)
    for seq, payload in ((2**32 - 301, b"ab"), (stream.next_seq, b"a")):
        with pytest.raises(LookupError):
            helper.payload(seq, payload)
    with pytest.raises(LookupError):
        Reencryptor(info, []).payload(0, b"a")
    with pytest.raises(LookupError):
        helper.frame(b"no packet")


# --- hints ---------------------------------------------------------------------------------------------
FIRES = [3, 5, 9, 17, 33, 65, 129, 257, 385, 513]


def hundreds(count: int) -> Stream:
    stream = Stream(seed=count, start_seq=5000, record_number=50)
    stream.bulk([78] * count)
    return stream


def test_hint_back_off():
    """Number 30: the third, fifth, ninth ... wholly encrypted record; the hint names the next one."""
    stream, hints = hundreds(600), []
    feed(receiver(stream, hints), stream.segments(stream.wire, mss=100))
    assert hints == [(5000 + 100 * n, 50 + n) for n in FIRES]


@pytest.mark.parametrize("mixed", [False, True])
def test_any_marked_record_resets_the_back_off(mixed: bool):
    stream, hints = hundreds(40), []
    plain = plain_of(stream)
    stack = receiver(stream, hints)
    for n in range(40):
        wire, clear = stream.wire[n * 100 : n * 100 + 100], plain[n * 100 : n * 100 + 100]
        half = 50 if mixed else 100
        marked = n == 20
        stack.segment(5000 + n * 100, clear[:half] if marked else wire[:half], decrypted=marked)
        stack.segment(5000 + n * 100 + half, wire[half:])
    fired = [3, 5, 9, 17] + [21 + n for n in FIRES if n <= 17]
    assert hints == [(5000 + 100 * n, 50 + n) for n in fired]
    assert stack.error is None


def test_hint_waits_for_the_queue_to_drain():
    """resync_nh_do_now: with data behind the record the parser sends it, at a header with nothing behind."""
    stream, hints = hundreds(8), []
    stack = receiver(stream, hints)
    wire = stream.wire
    stack.segment(5100, wire[100:520])
    stack.segment(5000, wire[:100])  # five whole records and 20 bytes of the sixth at once
    # Due at the third; the parser meets headers 4 and 5 with more behind them, 6 with nothing.
    assert hints == [(5600, 56)]
    stack.segment(5520, wire[520:])
    # The records behind a pending hint do not count: 6 and 7 are the fourth and fifth. The hint is due with 8
    # still queued, and its header is the last.
    assert hints == [(5600, 56), (5800, 58)]
    assert stack.application.data == stream.application


def test_pending_hint_blocks_further_counting():
    stream, hints = hundreds(30), []
    stack = receiver(stream, hints)
    stack.segment(5100, stream.wire[100:2950])
    stack.segment(5000, stream.wire[:100])
    # The queue never drains at a header until the 30th, half of which is there.
    assert hints == [(8000, 80)]
    assert stack.statistics["TlsRxDeviceResync"] == 1


def test_no_callback_no_hint():
    stream = hundreds(10)
    stack = feed(receiver(stream), stream.segments(stream.wire))
    assert stack.statistics["TlsRxDeviceResync"] == 0


# --- crypto info ---------------------------------------------------------------------------------------
def test_crypto_info():
    info = CryptoInfo(TLS13, bytes(16), bytes(4), bytes(8), (7).to_bytes(8, "big"))
    assert (info.cipher_type, info.record_number) == (TLS_CIPHER_AES_GCM_128, 7)
    assert CryptoInfo(TLS12, bytes(32), bytes(4), bytes(8)).cipher_type == TLS_CIPHER_AES_GCM_256
    assert "key" not in repr(info)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"version": 200}, "version 0x00c8"),
        ({"key": bytes(24)}, "24 bytes"),
        ({"salt": b""}, "salt of 0"),
        ({"iv": bytes(12)}, "iv of 12"),
        ({"rec_seq": bytes(4)}, "rec_seq of 4"),
    ],
)
def test_crypto_info_refuses(change: dict[str, int | bytes], message: str):
    """selftest tls_basic.bad_cipher."""
    good = {"version": TLS12, "key": bytes(16), "salt": bytes(4), "iv": bytes(8), "rec_seq": bytes(8)}
    with pytest.raises(ValueError, match=message):
        CryptoInfo(**(good | change))  # type: ignore[arg-type]


def test_kept_bytes_only_on_request():
    stream = Stream(seed=1)
    stream.record(b"abc")
    stack = KtlsReceiver(crypto_info(stream), 1000)
    stack.segment(1000, stream.wire)
    assert stack.application.size == 3
    assert stack.application.sha256.startswith("ba7816bf")
    with pytest.raises(ValueError, match="keep=True"):
        _ = stack.application.data


def test_fin_flag_constant_matches_the_parser():
    from model.frame import parse

    packet = parse(Stream().frame(1, b"x", flags=FIN))
    assert packet and packet.fin
