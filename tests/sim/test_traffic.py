"""The generator itself, judged by scapy and by a decryption of its records."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from sim.traffic import TLS12, TLS13, Stream


@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize("length", [0, 1, 7, 1448])
def test_scapy_agrees_on_checksums_and_fields(ipv6: bool, length: int):
    stream = Stream(seed=length, ipv6=ipv6)
    frame = stream.frame(2**32 - 3, stream.rng.randbytes(length), vlans=[(0x8100, 5)])
    packet: Any = Ether(frame)
    tcp = packet[TCP]
    assert (tcp.seq, tcp.sport, tcp.dport) == (2**32 - 3, stream.tuple4.remote_port, stream.tuple4.local_port)
    assert len(bytes(tcp.payload)) == length
    found = tcp.chksum, packet[IP].chksum if not ipv6 else None
    del tcp.chksum
    if not ipv6:
        del packet[IP].chksum
    rebuilt: Any = Ether(bytes(packet))
    assert found == (rebuilt[TCP].chksum, rebuilt[IP].chksum if not ipv6 else None)
    assert ipv6 == (IPv6 in packet)


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("key_size", [16, 32])
def test_records_decrypt(version: int, key_size: int):
    stream = Stream(version, key_size=key_size, record_number=2**64 - 1, start_seq=2**32 - 10)
    stream.record(b"first", padding=4)
    stream.record(b"second", content_type=21)
    assert [r.number for r in stream.records] == [2**64 - 1, 0]
    for r in stream.records:
        assert (r.seq - stream.start_seq) % 2**32 == stream.wire.index(r.wire)
        if version == TLS12:
            aad = r.number.to_bytes(8, "big") + r.wire[:3] + len(r.payload).to_bytes(2, "big")
            assert AESGCM(stream.key).decrypt(r.nonce, r.wire[13:], aad) == r.payload
            assert r.nonce[4:] == r.wire[5:13]
        else:
            plain = AESGCM(stream.key).decrypt(r.nonce, r.wire[5:], r.wire[:5])
            assert plain.rstrip(b"\0") == r.payload + bytes([r.content_type])


def test_segments_cover_the_wire_once_and_wrap():
    stream = Stream(start_seq=2**32 - 20)
    wire = stream.bulk([10, 0, 300])
    pieces = stream.segments(wire, cuts=[5, 5, 20, len(wire), 0])
    assert b"".join(p for _, p in pieces) == wire
    assert [s for s, _ in pieces] == [2**32 - 20, 2**32 - 15, 0]
    assert len(stream.frames(wire, mss=1)) == len(wire)
