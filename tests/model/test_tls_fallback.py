"""tls_sw_fallback: one packet in software is what TLS_SW would have sent, for every cut; or it is dropped."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.ktls_tx import KtlsSender
from model.tcp_tx import TcpSender
from sim.traffic import ACK, FIN, Stream, tcp_frame
from tests.model.ktls_rig import TUPLE, VERSIONS, Nic, crypto_info

BEFORE = b"from before the offload"
PLAIN = [b"p" * 35, b"", b"another record", bytes(range(60))]
KINDS = [(version, key_size) for version in VERSIONS for key_size in (16, 32)]


class Offloaded:
    """A socket with records on its list. `wire` is what must leave, sealed by `sim.traffic`.

    Offsets count from the start marker, which stands shortly before the sequence numbers wrap.
    """

    def __init__(self, version: int, key_size: int = 16) -> None:
        info = crypto_info(version, key_size, record_number=2**32 - 2)
        self.start = 2**32 - 70
        tcp = TcpSender(self.start - len(BEFORE))
        tcp.write(BEFORE)
        self.sender = KtlsSender(info, tcp, Nic(), tag_space=b"not to be leaked")
        stream = Stream(version, info.key, info.salt, info.iv, info.record_number)
        for number, data in enumerate(PLAIN):
            nonce = (int.from_bytes(info.iv, "big") + number) % 2**64
            self.sender.sendmsg(data, record_type=100)
            stream.record(data, 100, explicit_nonce=nonce.to_bytes(8, "big"))
        tcp.transmit()
        self.wire = stream.wire
        self.size = len(self.wire)
        self.starts = [record.seq - stream.start_seq for record in stream.records]
        self.plain = tcp.data(self.start, self.size)

    def at(self, offset: int) -> int:
        return (self.start + offset) % 2**32

    def frame(self, start: int, end: int, plain: bool = True, **options: Any) -> bytes:
        whole = BEFORE + (self.plain if plain else self.wire)
        payload = whole[len(BEFORE) + start : len(BEFORE) + end]
        return tcp_frame(TUPLE, self.at(start), payload, **options)

    def encrypts(self, start: int, end: int, **options: Any) -> None:
        frame = self.frame(start, end, bad_tcp=True, **options)
        assert self.sender.tls_encrypt_skb(frame) == self.frame(start, end, plain=False, **options), (start, end)

    def drops(self, start: int, end: int) -> None:
        assert self.sender.tls_encrypt_skb(self.frame(start, end)) is None, (start, end)


def test_host_leaves_the_tag_to_others():
    socket = Offloaded(0x0304)
    assert socket.plain.count(b"not to be leaked") == len(PLAIN)
    assert socket.plain != socket.wire and len(socket.plain) == socket.size


@pytest.mark.parametrize("version, key_size", KINDS)
def test_every_range(version: int, key_size: int):
    """Inside header, nonce, body, tag; one byte; across records (43); TLS 1.3 with its own AAD and prepend."""
    socket = Offloaded(version, key_size)
    for start, end in itertools.combinations(range(socket.size + 1), 2):
        assert socket.sender.tls_get_record(socket.at(start)) is not None
        if start % 3 == 0 or end - start < 20:
            socket.encrypts(start, end)


@pytest.mark.parametrize("version", VERSIONS)
def test_whole_stream_as_one_packet(version: int):
    """Before it is segmented."""
    socket = Offloaded(version)
    socket.encrypts(0, socket.size, flags=ACK | FIN, tcp_options=b"", vlans=[(0x8100, 3)], trailer=b"pad")


def test_no_payload_passes():
    socket = Offloaded(0x0304)
    frame = tcp_frame(TUPLE, 12345, b"", flags=ACK | FIN, bad_tcp=True)
    assert socket.sender.tls_encrypt_skb(frame) == frame


def test_not_tcp():
    with pytest.raises(ValueError, match="not a TCP packet"):
        Offloaded(0x0304).sender.tls_encrypt_skb(bytes(60))


@pytest.mark.parametrize("version", VERSIONS)
def test_before_and_across_the_marker(version: int):
    """Number 44: wholly before it, untouched; across it, dropped."""
    socket = Offloaded(version)
    for start in range(-len(BEFORE), 0):
        for end in (start + 1, 0):
            frame = socket.frame(start, end, bad_tcp=True)
            assert socket.sender.tls_encrypt_skb(frame) == frame
        socket.drops(start, 1)
        socket.drops(start, 30)


@pytest.mark.parametrize("version", VERSIONS)
def test_acknowledged_is_dropped(version: int):
    """Number 45: also where only the packet's beginning is."""
    socket = Offloaded(version)
    second, third = socket.starts[1], socket.starts[2]
    socket.sender.tcp.ack(socket.at(0))
    frame = socket.frame(-5, 0)
    assert socket.sender.tls_encrypt_skb(frame) is None  # the marker is gone
    socket.encrypts(0, 10)
    socket.sender.tcp.ack(socket.at(second - 1))
    socket.encrypts(10, second)
    socket.sender.tcp.ack(socket.at(third))
    for start, end in ((0, 10), (second - 1, second), (second, third), (third - 1, third + 30)):
        socket.drops(start, end)
    socket.encrypts(third, socket.size)
    socket.sender.tcp.ack(socket.at(socket.size))
    socket.drops(third, socket.size)


def test_not_written_yet_is_dropped():
    socket = Offloaded(0x0304)
    frame = tcp_frame(TUPLE, socket.at(socket.size), b"x")
    assert socket.sender.tls_encrypt_skb(frame) is None


def test_after_the_socket_is_closed():
    """The records stay until the socket is destroyed, and then nothing leaves."""
    socket = Offloaded(0x0304)
    socket.sender.shutdown()
    socket.encrypts(0, 50)
    socket.sender.destruct()
    socket.drops(0, 50)


@pytest.mark.parametrize("version", VERSIONS)
def test_payload_alone(version: int):
    socket = Offloaded(version)
    fallback = socket.sender.fallback
    assert fallback is not None
    assert fallback.encrypt(socket.at(3), socket.plain[3:90]) == socket.wire[3:90]
    assert fallback.encrypt(socket.at(-4), BEFORE[-4:]) == BEFORE[-4:]
    assert fallback.encrypt(socket.at(-4), BEFORE[-4:] + socket.plain[:1]) is None
    assert fallback.encrypt(0, b"") == b""


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_packets_and_acknowledgements(data: st.DataObject):
    """What is not dropped is right; what was not acknowledged is not dropped."""
    socket = Offloaded(data.draw(st.sampled_from(VERSIONS)))
    acked = -len(BEFORE)
    for _ in range(data.draw(st.integers(1, 20))):
        if data.draw(st.integers(0, 4)) == 0:
            acked = max(acked, data.draw(st.integers(acked, socket.size)))
            socket.sender.tcp.ack(socket.at(acked))
        start = data.draw(st.integers(-len(BEFORE), socket.size - 1))
        end = data.draw(st.integers(start + 1, socket.size))
        sent = socket.sender.tls_encrypt_skb(socket.frame(start, end))
        assert sent is None or sent == socket.frame(start, end, plain=False)
        assert sent is not None or start < acked or start < 0 < end
