"""tools/testing/selftests/net/tls.c of Linux: what shapes streams of records, by the same names.

Each runs over TLS_SW, TLS_HW through the golden device, and TLS_HW in software packet by packet; the wire is the same.
Known answers of zero_len are AES-CCM there; here they are AESGCM over the assembled record.

Not here, for they shape no stream:

- how the application reads, which is neither the device's nor a record's matter (the receive side hands on a record
  when it is whole): recv_partial, recv_peek, recv_peek_multiple, recv_peek_multiple_records,
  recv_peek_large_buf_mult_recs, recv_lowat, recv_nonblock, poll_wait_split, pollin, splice_to_pipe,
  splice_to_pipe_small, recv_and_splice, peek_and_splice, splice_cmsg_to_pipe, splice_dec_cmsg_to_pipe, zero_len_peek,
  zero_len_splice, rekey_peek, splice_rekey, rekey_peek_splice, rekey_poll_pending, rekey_poll_delay,
  epoll_partial_rec, poll_partial_rec_async, timeo, no_pad (the device never strips padding);
- a socket's buffer and its memory, of which there is none: nonblocking, blocking, oob_pressure;
- setsockopt and getsockopt, and a socket's life before and behind the connection: getsockopt, rekey_getsockopt,
  rekey_fail, tls_basic.rekey_rx and rekey_tx, non_established, disconnect, tls_v6ops (tests/driver sends over IPv6).

Here there is no rekey in a socket: the old one ends and another goes on where it ended, as drivers do it (delete, add).
Of tls_hw_offload.py only that is here, one rekey and many; netdevsim's tests of features, full tables and contexts are
tests/driver/test_netdev.py and test_tx.py.
"""

import errno
import random
from dataclasses import replace

import pytest

from model.crypto_info import CryptoInfo
from model.ktls import KtlsReceiver
from model.ktls_tx import MSG_EOR, MSG_MORE, KtlsSender
from model.tcp_tx import TcpSender
from sim.traffic import Stream
from tests.model.ktls_rig import VERSIONS, Nic, Trio, broken, crypto_info, tcp_segment, with_rec_seq

TLS_PAYLOAD_MAX_LEN = 16384
TEST_STR = b"test_read\0"
tls = pytest.mark.parametrize(
    "info", [crypto_info(v, k) for v in VERSIONS for k in (16, 32)], ids=lambda i: repr(i)[20:30]
)
versions = pytest.mark.parametrize("version", VERSIONS)


def random_bytes(size: int) -> bytes:
    return random.Random(size).randbytes(size)


# --- sizes ---------------------------------------------------------------------------------------------
@tls
def test_sendfile(info: CryptoInfo):
    trio, file = Trio(info), random_bytes(300_001)
    assert trio.each(lambda s: s.sendfile(file)) == len(file)
    trio.pump()
    trio.expect(file)
    overhead = 29 if info.version == 0x0303 else 22
    assert trio.records == [16384 + overhead] * 18 + [300_001 - 18 * 16384 + overhead]


@tls
def test_send_then_sendfile(info: CryptoInfo):
    trio, file = Trio(info), random_bytes(50_000)
    assert trio.send(b"test_send\0") == 10
    assert trio.each(lambda s: s.sendfile(file)) == len(file)
    trio.pump()
    trio.expect(b"test_send\0" + file)


CHUNKS = [
    (4096, 4096), (4096, 0), (4096, 1), (4096, 2048), (8192, 2048), (4096, 8192), (8192, 4096), (12288, 1024),
    (12288, 2000), (15360, 100), (15360, 300), (1, 4096), (2048, 4096), (2048, 8192), (4096, 8192), (1024, 12288),
    (2000, 12288), (100, 15360), (300, 15360),
]  # fmt: skip


@versions
@pytest.mark.parametrize("chunk, extra", CHUNKS)
@pytest.mark.parametrize("zerocopy", [False, True])
def test_multi_chunk_sendfile(version: int, chunk: int, extra: int, zerocopy: bool):
    """The last call asks for more than is left: what it gave must not wait in an open record."""
    trio, file = Trio(crypto_info(version), zerocopy=zerocopy), random_bytes(chunk + extra)
    for at in range(0, len(file), chunk):
        part = file[at : at + chunk]
        assert trio.each(lambda s, part=part: s.sendfile(part, chunk)) == len(part)
    trio.pump()
    trio.expect(file)


@tls
def test_recv_max(info: CryptoInfo):
    trio, data = Trio(info), random_bytes(TLS_PAYLOAD_MAX_LEN)
    assert trio.send(data) == len(data)
    trio.expect(data)
    assert len(trio.records) == 1


def test_recvmsg_single_max():
    test_recv_max(crypto_info(0x0304))


@tls
def test_recv_small(info: CryptoInfo):
    trio = Trio(info)
    assert trio.send(TEST_STR) == 10
    trio.expect(TEST_STR)


@tls
def test_sendmsg_single(info: CryptoInfo):
    trio = Trio(info)
    assert trio.send(b"test_sendmsg\0") == 13
    trio.expect(b"test_sendmsg\0")


@versions
def test_sendmsg_fragmented(version: int):
    """1 to 64 fragments in a call: copied, they do not count as fragments of the record."""
    trio = Trio(crypto_info(version))
    for frags in range(1, 65):
        assert trio.send(b"test_sendmsg\0" * frags) == 13 * frags
    trio.expect(b"test_sendmsg\0" * sum(range(65)))
    assert len(trio.records) == 64


@versions
def test_sendmsg_large(version: int):
    trio, data = Trio(crypto_info(version), mss=8948), random_bytes(16384)
    for _ in range(128):
        assert trio.send(data) == 16384
        trio.ack()
    trio.expect(data * 128)
    assert len(trio.records) == 128


@tls
def test_sendmsg_multiple(info: CryptoInfo):
    trio = Trio(info)
    assert trio.send(b"test_sendmsg_multiple\0" * 5) == 110
    trio.expect(b"test_sendmsg_multiple\0" * 5)


@tls
def test_sendmsg_multiple_stress(info: CryptoInfo):
    trio = Trio(info)
    assert trio.send(b"abcdefghijklmno\0" * 1024) == 16384
    trio.expect(b"abcdefghijklmno\0" * 1024)


@tls
def test_single_send_multiple_recv(info: CryptoInfo):
    trio, data = Trio(info), random_bytes(2 * TLS_PAYLOAD_MAX_LEN)
    assert trio.send(data) == len(data)
    trio.expect(data)
    assert len(trio.records) == 2


def test_single_send_multiple_recv_non_align():
    trio, data = Trio(crypto_info(0x0303)), random_bytes(15)
    assert trio.send(data) == 15
    trio.expect(data)


@tls
def test_multiple_send_single_recv(info: CryptoInfo):
    trio = Trio(info)
    assert trio.send(b"0123456789") == trio.send(b"0123456789") == 10
    trio.expect(b"0123456789" * 2)


# --- splice --------------------------------------------------------------------------------------------
@versions
@pytest.mark.parametrize("zerocopy", [False, True])
def test_splice_from_pipe(version: int, zerocopy: bool):
    trio, data = Trio(crypto_info(version), zerocopy=zerocopy), random_bytes(TLS_PAYLOAD_MAX_LEN)
    pages = [data[at : at + 4096] for at in range(0, len(data), 4096)]
    assert trio.each(lambda s: s.splice(list(pages))) == len(data)
    trio.pump()
    trio.expect(data)


@versions
def test_splice_from_pipe2(version: int):
    trio, data = Trio(crypto_info(version)), random_bytes(16000)
    for half in (data[:8000], data[8000:]):
        assert trio.each(lambda s, half=half: s.splice([half[:4096], half[4096:]])) == 8000
    trio.pump()
    trio.expect(data)


@versions
def test_splice_more(version: int):
    """One byte at a time with SPLICE_F_MORE: nothing is sent."""
    trio = Trio(crypto_info(version))
    for _ in range(32):
        assert trio.each(lambda s: s.splice([b"x"], MSG_MORE)) == 1
    trio.pump()
    trio.expect(b"")


@versions
def test_send_and_splice(version: int):
    trio, data = Trio(crypto_info(version)), random_bytes(TLS_PAYLOAD_MAX_LEN)
    assert trio.send(TEST_STR) == 10
    assert trio.each(lambda s: s.splice([data])) == len(data)
    trio.pump()
    trio.expect(TEST_STR + data)


@versions
def test_splice_short(version: int):
    """Fragments of one byte without copying: a record ends when it has no room for another fragment."""
    data = bytes(range(48))
    trio = Trio(crypto_info(version), zerocopy=True)
    sender = trio.device
    assert sender.splice([data[i : i + 1] for i in range(48)]) == 48
    records = list(sender.context.records_list)[1:] if sender.context else []
    overhead = 29 if version == 0x0303 else 22
    assert [record.len - overhead for record in records] == [15, 15, 15, 3]
    for segment in sender.tcp.transmit():
        frame = trio.nic.xmit(tcp_segment(segment))
        assert frame is not None
        trio.deliver(frame)
    trio.expect(data)


# --- MSG_MORE, MSG_EOR, control messages ---------------------------------------------------------------
@tls
def test_msg_more(info: CryptoInfo):
    trio = Trio(info)
    assert trio.send(TEST_STR, MSG_MORE) == 10
    assert trio.wire == []
    assert trio.send(TEST_STR) == 10
    trio.expect(TEST_STR * 2)
    assert len(trio.records) == 1


@tls
def test_cmsg_msg_more(info: CryptoInfo):
    """MSG_MORE is for data records only."""
    trio = Trio(info)
    assert trio.send(TEST_STR, MSG_MORE, record_type=100) == -errno.EINVAL
    assert trio.send(TEST_STR, MSG_MORE, record_type=23) == -errno.EINVAL
    assert trio.wire == []


@tls
def test_msg_more_then_cmsg(info: CryptoInfo):
    """The open data record is closed before the control record."""
    trio = Trio(info)
    assert trio.send(TEST_STR, MSG_MORE) == 10
    assert trio.wire == []
    assert trio.send(TEST_STR, record_type=100) == 10
    trio.expect(TEST_STR, [(100, TEST_STR)])
    assert len(trio.records) == 2


@tls
def test_msg_more_unsent(info: CryptoInfo):
    trio = Trio(info)
    assert trio.send(TEST_STR, MSG_MORE) == 10
    trio.shutdown()
    trio.expect(b"")
    assert trio.received.eof


@tls
def test_msg_eor(info: CryptoInfo):
    trio = Trio(info)
    assert trio.send(TEST_STR, MSG_EOR) == 10
    trio.expect(TEST_STR)
    assert trio.send(TEST_STR, MSG_EOR | MSG_MORE) == -errno.EINVAL
    assert trio.send(TEST_STR, 1) == -errno.EOPNOTSUPP  # MSG_OOB
    trio.expect(TEST_STR)


@tls
def test_control_msg(info: CryptoInfo):
    trio = Trio(info)
    assert trio.send(TEST_STR, record_type=100) == 10
    trio.expect(b"", [(100, TEST_STR)])


@tls
def test_control_msg_nomerge(info: CryptoInfo):
    trio = Trio(info)
    for data in (b"1111\0", b"2222\0"):
        assert trio.send(data, record_type=100) == 5
    trio.expect(b"", [(100, b"1111\0"), (100, b"2222\0")])


@tls
def test_data_control_data(info: CryptoInfo):
    trio = Trio(info)
    assert trio.send(b"1111\0") == trio.send(b"2222\0", record_type=100) == trio.send(b"3333\0") == 5
    trio.expect(b"1111\0" + b"3333\0", [(100, b"2222\0")])
    assert [record.content_type for record in trio.received.records] == [23, 100, 23]


@versions
def test_full_record_with_msg_more(version: int):
    """TLS_SW sends a full record at once, TLS_HW when it is closed: the records are the same."""
    trio, data = Trio(crypto_info(version)), random_bytes(16384)
    results = [sender.sendmsg(data, MSG_MORE) for sender in trio.senders.values()]
    assert results == [16384] * 3
    assert [sender.rec_seq for sender in trio.senders.values()] == [1, 0, 0]
    assert trio.send(b"tail") == 4
    trio.expect(data + b"tail")
    assert len(trio.records) == 2


# --- keys ----------------------------------------------------------------------------------------------
@versions
def test_keysizes(version: int):
    trio = Trio(crypto_info(version, 32))
    assert trio.send(TEST_STR) == 10
    trio.expect(TEST_STR)


KEY_UPDATE = b"\x18\0\0\1\0"


@pytest.mark.parametrize("times", [1, 20])
@pytest.mark.parametrize("key_size", [16, 32])
def test_rekey(key_size: int, times: int):
    """KeyUpdate is the last record under the old keys; the new ones begin with record 0 right behind it."""
    trio = Trio(crypto_info(0x0304, key_size))
    for turn in range(times):
        data = random_bytes(5000 + turn)
        assert trio.send(data) == len(data)
        assert trio.send(KEY_UPDATE, record_type=22) == 5
        assert trio.received.error == "EKEYEXPIRED"
        assert trio.received.application.data == data and trio.received.control == [(22, KEY_UPDATE)]
        trio.rekey(crypto_info(0x0304, key_size, seed=2 + turn))
    assert trio.send(TEST_STR) == 10
    trio.expect(TEST_STR)
    assert [record.number for record in trio.received.records] == [0]
    assert trio.nic.device.counters["encrypted"] == len(trio.wire) and trio.nic.in_software == 0


# --- several processes with one socket -----------------------------------------------------------------
def mutliproc(version: int, writers: int, sendpage: bool = False) -> None:
    """Calls of several writers, in any order, with packets and acknowledgements between. Readers read one stream."""
    trio, rng = Trio(crypto_info(version), zerocopy=sendpage), random.Random(writers)
    left, expected = dict.fromkeys(range(writers), 60_000 // writers), b""
    while any(left.values()):
        writer = rng.choice([w for w, size in left.items() if size])
        data = bytes([65 + writer]) * min(left[writer], rng.randrange(1, 4096))
        left[writer] -= len(data)
        expected += data
        if sendpage:
            assert trio.each(lambda s, data=data: s.sendfile(data)) == len(data)
        else:
            assert trio.each(lambda s, data=data: s.sendmsg(data)) == len(data)
        if rng.random() < 0.5:
            trio.pump()
            if rng.random() < 0.5:
                trio.ack()
    trio.pump()
    trio.expect(expected)


@versions
def test_mutliproc_even(version: int):
    mutliproc(version, 6)


@versions
def test_mutliproc_readers(version: int):
    mutliproc(version, 4)


@versions
def test_mutliproc_writers(version: int):
    mutliproc(version, 10)


@versions
def test_mutliproc_sendpage_even(version: int):
    mutliproc(version, 6, sendpage=True)


@versions
def test_mutliproc_sendpage_readers(version: int):
    mutliproc(version, 4, sendpage=True)


@versions
def test_mutliproc_sendpage_writers(version: int):
    mutliproc(version, 10, sendpage=True)


# --- limits --------------------------------------------------------------------------------------------
def max_payload_len(version: int, limit: int, more: int = 0) -> None:
    trio, data = Trio(crypto_info(version)), random_bytes(1024)
    assert trio.each(lambda s: s.set_tx_max_payload_len(limit)) == 0
    assert trio.device.tx_max_payload_len == limit
    if more:
        assert trio.send(data[:more], MSG_MORE) == more
        assert trio.each(lambda s: s.set_tx_max_payload_len(128)) == -errno.EBUSY
    assert trio.send(data[more:], MSG_EOR) == len(data) - more
    trio.expect(data)
    overhead = 29 if version == 0x0303 else 22
    sizes = [length - overhead for length in trio.records]
    assert sum(sizes) == 1024 and max(sizes) == limit


def test_tls_12_tx_max_payload_len():
    max_payload_len(0x0303, 128)


def test_tls_12_tx_max_payload_len_open_rec():
    max_payload_len(0x0303, 512, more=256)


def test_tls_13_tx_max_payload_len():
    """63: RFC 8449's smallest limit, 64, counts the content type."""
    max_payload_len(0x0304, 63)


def test_tls_13_tx_max_payload_len_open_rec():
    max_payload_len(0x0304, 512, more=256)


@versions
def test_tx_max_payload_len_limits(version: int):
    trio = Trio(crypto_info(version))
    smallest = 64 if version == 0x0303 else 63
    for value, result in ((smallest - 1, -errno.EINVAL), (smallest, 0), (16384, 0), (16385, -errno.EINVAL)):
        assert trio.each(lambda s, value=value: s.set_tx_max_payload_len(value)) == result


@tls
def test_recseq_wrap(info: CryptoInfo):
    """The last number is not used: it could not be counted on. Nor is anything sent behind it."""
    trio = Trio(with_rec_seq(info, 2**64 - 1))
    assert trio.send(TEST_STR) == -errno.EBADMSG
    assert trio.send(TEST_STR) == -errno.EBADMSG
    assert trio.wire == []
    trio = Trio(with_rec_seq(info, 2**64 - 3))
    assert trio.send(random_bytes(3 * 16384)) == 2 * 16384
    assert trio.send(TEST_STR) == -errno.EBADMSG
    trio.expect(random_bytes(3 * 16384)[: 2 * 16384])


@pytest.mark.parametrize("key_size", [0, 15, 24, 33])
def test_bad_cipher(key_size: int):
    with pytest.raises(ValueError, match="AES-GCM"):
        replace(crypto_info(0x0303), key=bytes(key_size))
    with pytest.raises(ValueError, match="version"):
        replace(crypto_info(0x0303), version=200)


def test_base_base():
    """No keys: what was written leaves as it is, also once there are keys (test_prequeue)."""
    tcp = TcpSender(5)
    tcp.write(b"plain")
    assert [s.payload for s in tcp.transmit()] == [b"plain"]


# --- zero_len ------------------------------------------------------------------------------------------
@versions
@pytest.mark.parametrize("layout", ["ddd", "dCd", "DDD", "DDc", "DDC", "CCC", "DDd", "dDD"])
def test_zero_len(version: int, layout: str):
    """Data and control records of 11 or (capitals) no bytes. TLS_HW makes empty records, TLS_SW none."""
    info = crypto_info(version)
    trio = Trio(info)
    stream = Stream(version, info.key, info.salt, info.iv, start_seq=trio.device.tcp.write_seq)
    data, control = b"", []
    for number, letter in enumerate(layout):
        payload = b"" if letter.isupper() else b"hello world"
        record_type = 22 if letter in "cC" else None
        nonce = ((int.from_bytes(info.iv, "big") + number) % 2**64).to_bytes(8, "big")
        stream.record(payload, record_type or 23, explicit_nonce=nonce)
        if record_type:
            control.append((22, payload))
        else:
            data += payload
        for name in ("device", "fallback"):
            assert trio.senders[name].sendmsg(payload, record_type=record_type) == len(payload)
        software = trio.senders["software"]
        before = software.tcp.write_seq
        assert software.sendmsg(payload, record_type=record_type) == len(payload)
        assert (software.tcp.write_seq == before) == (payload == b"")
    wire = b""
    for segment in trio.device.tcp.transmit():
        frame = trio.nic.xmit(tcp_segment(segment))
        assert frame is not None
        trio.deliver(frame)
        wire += frame[len(frame) - len(segment.payload) :]
    assert wire == stream.wire
    trio.expect(data, control)


def test_zero_length_send_closes_the_open_record_of_a_device():
    trio = Trio(crypto_info(0x0304))
    assert trio.device.sendmsg(b"abc", MSG_MORE) == 3
    assert trio.device.sendmsg(b"") == 0
    assert trio.device.rec_seq == 1


# --- errors at the receiver ----------------------------------------------------------------------------
@tls
def test_bad_auth(info: CryptoInfo):
    """Last tag byte plus one: what came before is read."""
    trio = Trio(info)
    trio.send(TEST_STR)
    trio.send(b"broken", MSG_MORE)
    trio.each(lambda s: s.sendmsg(b"..."))
    frames = trio.frames({name: sender.tcp.transmit() for name, sender in trio.senders.items()})
    trio.deliver(broken(frames[0], -1))
    assert trio.received.error == "EBADMSG"
    assert trio.received.application.data == TEST_STR


@versions
def test_bad_in_large_read(version: int):
    trio = Trio(crypto_info(version), mss=100)
    for _ in range(3):
        trio.each(lambda s: s.sendmsg(random_bytes(300)))
    frames = trio.frames({name: sender.tcp.transmit() for name, sender in trio.senders.items()})
    for number, frame in enumerate(frames):
        trio.deliver(broken(frame, -1) if number == len(frames) - 1 else frame)
    assert trio.received.error == "EBADMSG"
    assert trio.received.application.data == random_bytes(300) * 2


@versions
def test_bad_cmsg(version: int):
    trio = Trio(crypto_info(version))
    trio.send(TEST_STR)
    trio.each(lambda s: s.sendmsg(b"cmsg", record_type=100))
    (frame,) = trio.frames({name: sender.tcp.transmit() for name, sender in trio.senders.items()})
    trio.deliver(broken(frame, -1))
    assert trio.received.error == "EBADMSG"
    assert trio.received.application.data == TEST_STR and not trio.received.control


@tls
def test_bad_rec(info: CryptoInfo):
    """64 bytes of 0x55: the length is looked at first."""
    received = KtlsReceiver(info, 0)
    received.segment(0, b"\x55" * 64)
    assert received.error == "EMSGSIZE"


@versions
def test_poll_partial_rec(version: int):
    """A record in two segments, 100 bytes and the rest."""
    trio, data = Trio(crypto_info(version), mss=100), random_bytes(180)
    trio.each(lambda s: s.sendmsg(data))
    frames = trio.frames({name: sender.tcp.transmit() for name, sender in trio.senders.items()})
    trio.deliver(frames[0])
    trio.expect(b"")
    for frame in frames[1:]:
        trio.deliver(frame)
    trio.expect(data)


# --- both directions, and the end ----------------------------------------------------------------------
@tls
def test_bidir(info: CryptoInfo):
    """Directions share nothing but the addresses."""
    there = Trio(info)
    back = Trio(crypto_info(info.version, len(info.key), record_number=7, seed=2))
    for turn in range(5):
        there.send(b"there %d" % turn)
        back.send(b"back %d" % turn)
    there.expect(b"".join(b"there %d" % turn for turn in range(5)))
    back.expect(b"".join(b"back %d" % turn for turn in range(5)))


@tls
def test_shutdown(info: CryptoInfo):
    trio = Trio(info)
    assert trio.send(TEST_STR) == 10
    trio.shutdown()
    trio.expect(TEST_STR)
    assert trio.received.eof


@tls
def test_shutdown_unsent(info: CryptoInfo):
    """An open record is not sent, the records before it are."""
    trio = Trio(info)
    assert trio.send(TEST_STR) == 10
    assert trio.send(b"lost", MSG_MORE) == 4
    trio.shutdown()
    trio.expect(TEST_STR)
    assert trio.received.eof


@versions
def test_shutdown_reuse(version: int):
    """The same addresses and place again, with other keys."""
    first = Trio(crypto_info(version))
    first.send(TEST_STR)
    first.shutdown()
    first.device.destruct()
    second = Trio(crypto_info(version, seed=5))
    second.send(TEST_STR)
    second.expect(TEST_STR)
    assert first.wire[0] != second.wire[0]


@versions
def test_prequeue(version: int):
    """Bytes queued before the keys: their last segment ends where the offload starts."""
    trio = Trio(crypto_info(version), before=b"handshake" * 300)
    trio.each(lambda s: s.sendmsg(TEST_STR))
    trio.pump()
    trio.expect(TEST_STR)
    assert sum(len(frame) for frame in trio.wire) == 2700 + len(trio.wire) * 66 + trio.records[0]


def test_a_device_that_refuses_leaves_the_socket_to_software():
    tcp = TcpSender(0)
    sender = KtlsSender(crypto_info(0x0304), tcp, Nic(refuse=errno.EOPNOTSUPP))
    assert sender.conf.value == "TLS_SW" and sender.context is None
    assert sender.sendmsg(b"abc") == 3
    assert sender.tls_get_record(0) is None
    with pytest.raises(ValueError, match="not offloaded"):
        sender.tls_encrypt_skb(b"")
