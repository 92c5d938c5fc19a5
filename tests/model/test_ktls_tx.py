"""The socket beside its records: nonces, resync, other devices, retransmissions, zero copy."""

import errno
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.contract import TAG_RING, TxKind, TxStatus
from model.ktls import KtlsReceiver
from model.ktls_tx import MSG_MORE, KtlsSender, TxConf
from model.tcp_tx import Segment, TcpSender
from model.tx_commands import TxRequest
from sim.traffic import Stream
from tests.model.ktls_rig import VERSIONS, Nic, Trio, crypto_info, tcp_segment

versions = pytest.mark.parametrize("version", VERSIONS)


def offloaded(version: int, mss: int = 100, **options: Any) -> tuple[KtlsSender, Nic]:
    nic = Nic()
    sender = KtlsSender(crypto_info(version), TcpSender(2**32 - 150, mss), nic, **options)
    nic.sender = sender
    assert sender.conf is TxConf.TLS_HW
    return sender, nic


class Wire:
    """What has left; every byte that leaves twice must be the same."""

    def __init__(self, sender: KtlsSender, nic: Nic) -> None:
        self.sender = sender
        self.nic = nic
        self.received = KtlsReceiver(sender.info, sender.tcp.write_seq, keep=True)
        self._bytes: dict[int, int] = {}

    def xmit(self, segments: list[Segment]) -> None:
        for segment in segments:
            frame = self.nic.xmit(tcp_segment(segment))
            if frame is None:
                continue
            payload = frame[len(frame) - len(segment.payload) :] if segment.payload else b""
            for i, byte in enumerate(payload):
                assert self._bytes.setdefault((segment.seq + i) % 2**32, byte) == byte
            self.received.segment(segment.seq, payload, fin=segment.fin)


@versions
def test_wire_is_what_another_implementation_seals(version: int):
    """Explicit nonces count from `iv`, record numbers from `rec_seq`; they need not be equal, and the first wraps."""
    info = crypto_info(version, record_number=2**32 - 1)
    info = type(info)(info.version, info.key, info.salt, b"\xff" * 8, info.rec_seq)
    trio = Trio(info)
    stream = Stream(version, info.key, info.salt, info.iv, info.record_number, start_seq=2**32 - 3000)
    for number, (data, record_type) in enumerate([(b"a" * 100, 23), (b"b", 22), (b"c" * 20000, 23), (b"\1\0", 21)]):
        trio.send(data, record_type=record_type)
        for at in range(0, len(data), 16384):
            nonce = (2**64 - 1 + number + (number > 2) + (at > 0)) % 2**64
            stream.record(data[at : at + 16384], record_type, explicit_nonce=nonce.to_bytes(8, "big"))
    assert b"".join(frame[66:] for frame in trio.wire) == stream.wire


@versions
def test_records_in_the_list_are_what_tcp_sends(version: int):
    sender, _ = offloaded(version, tag_space=b"left in memory!!")
    sender.sendmsg(b"x" * 20000)
    assert sender.context is not None
    marker, *records = sender.context.records_list
    assert marker.is_start_marker and [record.len for record in records] == [
        16384 + (29 if version == 0x0303 else 22),
        3616 + (29 if version == 0x0303 else 22),
    ]
    for record in records:
        assert sender.tcp.data(record.start_seq, record.len) == record.data
        assert record.data.endswith((b"x" if version == 0x0303 else b"x\x17") + b"left in memory!!")


# --- next-record sync ----------------------------------------------------------------------------------
@versions
def test_resync_at_the_next_record(version: int):
    """Numbers 47, 48: a local drop; software until the next record is pushed, which begins a segment."""
    sender, nic = offloaded(version)
    wire = Wire(sender, nic)
    for _ in range(3):
        sender.sendmsg(b"m" * 130)
    segments = sender.tcp.transmit()
    wire.xmit(segments[:1] + segments[2:])  # the second never reaches the driver
    assert sender.tls_offload_tx_resync_pending()
    assert nic.in_software == len(segments) - 2
    assert nic.resyncs == []
    with pytest.raises(RuntimeError, match="pending"):
        sender.tls_offload_tx_resync_request(1, 2)

    place = sender.tcp.write_seq
    sender.sendmsg(b"n" * 130)
    assert nic.resyncs == [(place, 3)]
    assert not sender.tls_offload_tx_resync_pending()
    before = nic.in_software
    wire.xmit(sender.tcp.transmit())
    assert nic.in_software == before
    wire.xmit(sender.tcp.retransmit())
    assert wire.received.application.data == b"m" * 390 + b"n" * 130


@versions
def test_resync_fences_what_is_queued(version: int):
    """Bytes of the record before may not share a segment with the one that was told to the device."""
    sender, nic = offloaded(version, mss=1448)
    wire = Wire(sender, nic)
    sender.sendmsg(b"a" * 100)
    (first,) = sender.tcp.transmit()
    sender.sendmsg(b"b" * 100)
    sender.tls_offload_tx_resync_request(0, 0)
    sender.sendmsg(b"c" * 100)
    rest = sender.tcp.transmit()
    assert [segment.seq for segment in rest][1] == nic.resyncs[0][0]
    wire.xmit([first, *rest])
    assert [len(segment.payload) for segment in sender.tcp.retransmit()][-1] == len(rest[1].payload)
    assert wire.received.application.data == b"a" * 100 + b"b" * 100 + b"c" * 100


def test_resync_that_fails_is_tried_again():
    sender, nic = offloaded(0x0304)
    nic.refuse_resync = errno.ENOSPC
    sender.tls_offload_tx_resync_request(0, 0)
    sender.sendmsg(b"a")
    sender.sendmsg(b"b")
    assert sender.tls_offload_tx_resync_pending() and len(nic.resyncs) == 2
    nic.refuse_resync = 0
    sender.sendmsg(b"c")
    assert not sender.tls_offload_tx_resync_pending()
    assert [number for _, number in nic.resyncs] == [0, 1, 2]


def test_open_record_does_not_answer_a_resync():
    sender, nic = offloaded(0x0304)
    sender.tls_offload_tx_resync_request(0, 0)
    sender.sendmsg(b"a", MSG_MORE)
    assert nic.resyncs == []
    sender.sendmsg(b"b")
    assert nic.resyncs == [(2**32 - 150, 0)]


# --- other devices -------------------------------------------------------------------------------------
@versions
def test_packet_rerouted_to_another_device(version: int):
    """Number 56, tls_validate_xmit_skb: a device that is not ours never sees plaintext."""
    sender, nic = offloaded(version)
    wire = Wire(sender, nic)
    sender.sendmsg(b"m" * 300)
    sender.sendmsg(b"n" * 300)
    for number, segment in enumerate(sender.tcp.transmit()):
        frame = tcp_segment(segment)
        if number % 2:
            sent = sender.tls_validate_xmit_skb(Nic(), frame)
            assert sent is not None and sent != frame
            wire.received.segment(segment.seq, sent[len(sent) - len(segment.payload) :])
        else:
            assert sender.tls_validate_xmit_skb(nic, frame) is frame
            wire.xmit([segment])
    wire.xmit(sender.tcp.retransmit())
    assert wire.received.application.data == b"m" * 300 + b"n" * 300


@versions
def test_device_down(version: int):
    sender, nic = offloaded(version)
    wire = Wire(sender, nic)
    sender.sendmsg(b"m" * 300)
    segments = sender.tcp.transmit()
    wire.xmit(segments[:2])
    sender.tls_device_down()
    sender.tls_device_down()
    wire.xmit(segments[2:])
    sender.tls_offload_tx_resync_request(0, 0)
    sender.sendmsg(b"n" * 300)
    assert not sender.tls_offload_tx_resync_pending() and nic.resyncs == []
    wire.xmit(sender.tcp.transmit())
    assert wire.received.application.data == b"m" * 300 + b"n" * 300
    sender.destruct()  # tls_dev_del is not called twice


def test_software_socket_is_not_validated():
    sender = KtlsSender(crypto_info(0x0303), TcpSender(0))
    assert sender.conf is TxConf.TLS_SW
    assert sender.tls_validate_xmit_skb(None, b"anything") == b"anything"
    sender.destruct()


# --- zero copy -----------------------------------------------------------------------------------------
@versions
@pytest.mark.parametrize("zerocopy", [False, True])
def test_file_changed_between_transmissions(version: int, zerocopy: bool):
    """Number 53: with zero copy the retransmission is of the file as it is now, and the peer finds out."""
    sender, nic = offloaded(version, zerocopy_sendfile=zerocopy)
    file = bytearray(b"f" * 300)
    assert sender.sendfile(file) == 300
    segments = sender.tcp.transmit()
    received = KtlsReceiver(sender.info, 2**32 - 150, keep=True)
    for segment in segments[:1] + segments[2:]:
        frame = nic.xmit(tcp_segment(segment))
        assert frame is not None
        received.segment(segment.seq, frame[66:])
    file[:] = b"g" * 300
    (again,) = sender.tcp.retransmit(segments[1].seq, segments[2].seq)
    frame = nic.xmit(tcp_segment(again))
    assert frame is not None
    received.segment(again.seq, frame[66:])
    if zerocopy:
        assert received.error == "EBADMSG"
    else:
        assert received.application.data == b"f" * 300


# --- everything at once --------------------------------------------------------------------------------
many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def writes(draw: st.DrawFn) -> list[tuple[bytes, int, int | None]]:
    out: list[tuple[bytes, int, int | None]] = []
    for number in range(draw(st.integers(1, 8))):
        size = draw(st.one_of(st.integers(1, 300), st.sampled_from([16384, 16385, 20000])))
        record_type = draw(st.sampled_from([None, None, None, 23, 22, 21]))
        more = MSG_MORE if record_type is None and draw(st.booleans()) else 0
        out.append((bytes([65 + number]) * size, more, record_type))
    return out


@many
@given(st.data())
def test_software_device_and_fallback_send_the_same(data: st.DataObject):
    """Any writes, any retransmissions, any acknowledgements."""
    info = crypto_info(data.draw(st.sampled_from(VERSIONS)), data.draw(st.sampled_from([16, 32])), 2**32 - 3)
    trio = Trio(info, mss=data.draw(st.sampled_from([200, 536, 1448, 8948])))
    sent = b""
    control: list[tuple[int, bytes]] = []
    for payload, flags, record_type in data.draw(writes()):
        trio.each(lambda s, write=(payload, flags, record_type): s.sendmsg(*write))
        if record_type in (None, 23):
            sent += payload
        else:
            assert record_type is not None
            control += [(record_type, payload[at : at + 16384]) for at in range(0, len(payload), 16384)]
        if flags & MSG_MORE:
            continue  # a record that is full has left in TLS_SW only
        trio.pump()
        tcp = trio.device.tcp
        una, in_flight = tcp.snd_una, (tcp.snd_nxt - tcp.snd_una) % 2**32
        if data.draw(st.booleans()):
            a = data.draw(st.integers(0, in_flight))
            b = data.draw(st.integers(a, min(in_flight, a + 3000)))
            bounds = (una + a) % 2**32, (una + b) % 2**32
            again = {name: sender.tcp.retransmit(*bounds) for name, sender in trio.senders.items()}
            for frame in trio.frames(again):
                trio.deliver(frame)
        if data.draw(st.integers(0, 3)) == 0:
            trio.ack((una + data.draw(st.integers(0, in_flight))) % 2**32)
    trio.send(b"the end")
    trio.expect(sent + b"the end", control)


@many
@given(st.data())
def test_device_told_from_the_record_list(data: st.DataObject):
    """REPLAY and PREFIX with what tls_get_record gives: the device sends what the fallback would."""
    sender, nic = offloaded(data.draw(st.sampled_from(VERSIONS)), mss=333)
    header_size = 13 if sender.info.version == 0x0303 else 5
    for number in range(data.draw(st.integers(1, 12))):
        sender.sendmsg(bytes([number]) * data.draw(st.integers(0, 700)))
        for segment in sender.tcp.transmit():
            nic.xmit(tcp_segment(segment))
    una, in_flight = sender.tcp.snd_una, (sender.tcp.snd_nxt - sender.tcp.snd_una) % 2**32
    for _ in range(data.draw(st.integers(1, 10))):
        a = data.draw(st.integers(0, in_flight - 1))
        b = data.draw(st.integers(a + 1, min(in_flight, a + 333)))
        (segment,) = sender.tcp.retransmit((una + a) % 2**32, (una + b) % 2**32)
        found = sender.tls_get_record(segment.seq)
        assert found is not None
        record, number = found
        names = (record.start_seq, number, record.data[:header_size])
        ahead = (segment.seq - record.start_seq) % 2**32
        kind = TxKind.PREFIX
        if ahead and data.draw(st.booleans()):
            kind = TxKind.RETRANSMIT
            replay = tcp_segment(Segment(record.start_seq, record.data[:ahead], False, False))
            request = TxRequest(TxKind.REPLAY, 0, 0, False, *names)
            assert [sent.status for sent in nic.device.transmit(replay, request)] == [TxStatus.REPLAYED]
        (sent,) = nic.device.transmit(tcp_segment(segment), TxRequest(kind, 0, 0, False, *names))
        if sent.status is not TxStatus.DROPPED_TAG:
            assert sent.frame == sender.tls_encrypt_skb(tcp_segment(segment))
        else:
            assert kind is TxKind.PREFIX and number < sender.rec_seq - TAG_RING


@many
@given(st.data())
def test_local_drops_and_retransmissions_with_next_record_sync(data: st.DataObject):
    """Packets are lost before or behind the device, in any pattern; what leaves twice is the same both times."""
    sender, nic = offloaded(data.draw(st.sampled_from(VERSIONS)), mss=data.draw(st.sampled_from([60, 100, 333])))
    wire = Wire(sender, nic)
    sent = b""
    for number in range(data.draw(st.integers(1, 12))):
        payload = bytes([number]) * data.draw(st.integers(1, 400))
        sent += payload
        assert sender.sendmsg(payload) == len(payload)
        segments = sender.tcp.transmit()
        wire.xmit([segment for segment in segments if data.draw(st.integers(0, 4))])
        if data.draw(st.booleans()):
            again = sender.tcp.retransmit()
            wire.xmit([segment for segment in again if data.draw(st.integers(0, 2))])
    wire.xmit(sender.tcp.retransmit())
    assert wire.received.application.data == sent
