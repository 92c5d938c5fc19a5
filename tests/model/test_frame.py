"""The parser: scapy judges the fields and checksums, the contract's section 1 what is parsed at all."""

import random
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, IPOption_NOP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether

from model.commands import Tuple4
from model.contract import HEADER_WINDOW, MAX_FRAME, Checksum
from model.frame import Frame, parse, tuple_key
from sim.traffic import ACK, RST, SYN, Stream, tcp_frame

V4 = Tuple4(bytes([10, 0, 0, 1]), 443, bytes([10, 0, 0, 2]), 50000)
V6 = Tuple4(bytes(range(16)), 443, bytes(range(16, 32)), 50000)


def parsed(frame: bytes) -> Frame:
    packet = parse(frame)
    assert packet is not None
    return packet


@pytest.mark.parametrize("tags", [0, 1, 2])
@pytest.mark.parametrize("extensions", range(4))
@pytest.mark.parametrize("options", [0, 40])
def test_scapy_packets(tags: int, extensions: int, options: int):
    """Numbers 16 and 20: VLAN and QinQ, IPv4 options, IPv6 extension headers, TCP options to 60 bytes."""
    headers: list[Any] = [IPv6ExtHdrHopByHop(), IPv6ExtHdrRouting(addresses=[]), IPv6ExtHdrDestOpt()]
    ip4: Any = IP(src="10.1.2.3", dst="10.4.5.6", options=[IPOption_NOP()] * (0, 4, 20, 40)[extensions])
    ip6: Any = IPv6(src="fd00::1", dst="fd00::2")
    for header in headers[:extensions]:
        ip6 = ip6 / header
    for ip in (ip4, ip6):
        link: Any = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
        for i in range(tags):
            link = link / (Dot1AD(vlan=7) if tags == 2 and i == 0 else Dot1Q(vlan=9))
        tcp: Any = TCP(sport=4433, dport=40000, seq=2**32 - 2, flags="PA", options=[("NOP", None)] * options)
        frame = bytes(link / ip / tcp / (b"payload" * 3))
        if frame.index(struct.pack("!HH", 4433, 40000)) + 20 > HEADER_WINDOW:
            assert parse(frame) is None
            continue
        packet = parsed(frame + b"trailer")
        judge: Any = Ether(frame)
        assert packet.checksum is Checksum.GOOD
        assert frame[packet.payload : packet.end] == bytes(judge[TCP].payload) == b"payload" * 3
        assert packet.seq == judge[TCP].seq
        assert packet.flags == int(judge[TCP].flags) & 0xFF
        assert (packet.tuple4.remote_port, packet.tuple4.local_port) == (4433, 40000)
        layer = judge[IP] if ip is ip4 else judge[IPv6]
        assert frame[packet.ip :][: len(bytes(layer))] == bytes(layer)
        assert tuple_key(packet.tuple4) == packet.key
        assert packet.candidate


@pytest.mark.parametrize("tuple4", [V4, V6])
@pytest.mark.parametrize("length", [0, 1, 2, 1447, 1448])
def test_every_flipped_bit_is_seen_by_the_checksum(tuple4: Tuple4, length: int):
    frame = tcp_frame(tuple4, 77, random.Random(length).randbytes(length))
    base = parsed(frame)
    assert base.checksum is Checksum.GOOD
    checked = range(base.ip, base.end) if tuple4 is V4 else range(base.tcp, base.end)
    step = 1 if length < 10 else 97
    for position in list(checked)[::step]:
        flipped = bytearray(frame)
        flipped[position] ^= 0x10
        packet = parse(bytes(flipped))
        assert packet is None or packet.checksum is Checksum.BAD, position


@pytest.mark.parametrize("tuple4", [V4, V6])
def test_truncated_frames(tuple4: Tuple4):
    """Cut at every byte: not parsed until 20 bytes of TCP header are there, then BAD, then GOOD."""
    frame = tcp_frame(tuple4, 1, b"0123456789", vlans=[(0x8100, 1)])
    whole = parsed(frame)
    for size in range(len(frame) + 1):
        packet = parse(frame[:size])
        if size < whole.tcp + 20:
            assert packet is None
        else:
            assert packet == whole._replace(checksum=Checksum.GOOD if size == len(frame) else Checksum.BAD)


def change(frame: bytes, offset: int, value: int) -> bytes:
    return frame[:offset] + bytes([value]) + frame[offset + 1 :]


F4 = tcp_frame(V4, 1, b"abc")
F6 = tcp_frame(V6, 1, b"abc")
DESTINATION = (60, bytes([0, 0, 1, 4]) + bytes(4))


@pytest.mark.parametrize(
    "frame",
    [
        tcp_frame(V4, 1, b"abc", vlans=[(0x8100, 1)] * 3),
        tcp_frame(V4, 1, b"abc", vlans=[(0x9100, 1)]),
        change(F4, 12, 0x86) + b"",  # ethertype 0x8600
        change(F4, 14, 0x55),  # version 5
        change(F4, 14, 0x44),  # IHL 4
        change(F4, 23, 17),  # UDP
        tcp_frame(V4, 1, b"abc", fragment=0x2000),
        tcp_frame(V4, 1, b"abc", fragment=1),
        tcp_frame(V4, 1, b"abc", fragment=0x1FFF),
        change(F4, 17, 39),  # total length below 40
        change(F4, 17, 51),  # and below the TCP header's end
        change(F4, 46, 0x40),  # data offset 4
        change(F4, 46, 0xF0),  # the TCP header ends behind the IP packet
        change(F6, 14, 0x45),
        change(F6, 20, 44),  # fragment header
        change(F6, 20, 51),
        change(F6, 18, 0)[:18] + b"\0\0" + F6[20:],  # jumbogram
        tcp_frame(V6, 1, b"abc", extension_headers=[DESTINATION] * 4),
        tcp_frame(V6, 1, b"abc", extension_headers=[(44, bytes(8))]),
        tcp_frame(V6, 1, b"abc", extension_headers=[(60, bytes([0, 6]) + bytes(54))]),  # beyond the window
        b"",
        bytes(60),
        F4[:12] + b"\x81\x00",
    ],
)
def test_not_parsed(frame: bytes):
    assert parse(frame) is None


@pytest.mark.parametrize(
    "frame",
    [
        tcp_frame(V4, 1, b"abc", fragment=0x4000),  # don't fragment
        tcp_frame(V4, 1, b"abc", fragment=0x8000),  # the reserved bit is not looked at
        tcp_frame(V4, 1, b"abc", ip_options=b"\x01" * 40, tcp_options=b"\x01" * 40),
        tcp_frame(V6, 1, b"abc", extension_headers=[DESTINATION] * 3),
        tcp_frame(V6, 1, b"abc", extension_headers=[(60, bytes([0, 5]) + bytes(46))]),
        tcp_frame(V4, 1, b"abc", vlans=[(0x88A8, 1), (0x8100, 2)]),
        tcp_frame(V4, 1, b"", trailer=bytes(6)),
    ],
)
def test_parsed(frame: bytes):
    assert parsed(frame).checksum is Checksum.GOOD


def test_largest_packet():
    room = MAX_FRAME - 14 - 20 - 32
    assert parsed(tcp_frame(V4, 1, bytes(room))).end == MAX_FRAME
    assert parse(tcp_frame(V4, 1, bytes(room + 1))) is None


def test_window_ends_at_byte_128():
    """The TCP header may begin at byte 108 at most: 14 + 40 + 48 of extensions, and one tag of 4, but not two."""
    fits = tcp_frame(V6, 1, b"abc", extension_headers=[(60, bytes([0, 4]) + bytes(38)), DESTINATION])
    assert parsed(fits).tcp == 102
    tagged = tcp_frame(
        V6, 1, b"abc", vlans=[(0x8100, 1)], extension_headers=[(60, bytes([0, 4]) + bytes(38)), DESTINATION]
    )
    assert parsed(tagged).tcp == 106
    beyond = tcp_frame(
        V6, 1, b"abc", vlans=[(0x8100, 1)] * 2, extension_headers=[(60, bytes([0, 4]) + bytes(38)), DESTINATION]
    )
    assert parse(beyond) is None


@pytest.mark.parametrize("flags, candidate", [(ACK, True), (SYN, False), (RST, False), (0, True), (0xF8, True)])
def test_candidates(flags: int, candidate: bool):
    assert parsed(tcp_frame(V4, 1, b"x", flags=flags)).candidate is candidate
    assert not parsed(tcp_frame(V4, 1, b"", flags=flags)).candidate


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([F4, F6, tcp_frame(V4, 9, bytes(50), vlans=[(0x8100, 1)])]))
def test_never_fails_on_garbage(garbage: bytes, frame: bytes):
    parse(garbage)
    for cut in range(0, len(frame), 5):
        parse(frame[:cut] + garbage)


def test_stream_of_any_tuple_is_found_by_its_key():
    for ipv6 in (False, True):
        stream = Stream(seed=5, ipv6=ipv6)
        assert parsed(stream.frame(1, b"x")).key == tuple_key(stream.tuple4)
