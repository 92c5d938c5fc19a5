"""Frames of every kind the parser may meet, built by scapy, and their beats."""

import random

from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Raw

MACS = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
EXTENSIONS = {0: IPv6ExtHdrHopByHop, 43: IPv6ExtHdrRouting, 60: IPv6ExtHdrDestOpt}


def to_beats(frame: bytes, width: int) -> list[dict]:
    """The frame as payloads of a beat stream."""
    beats = []
    for at in range(0, len(frame), width):
        part = frame[at : at + width]
        beats.append({
            "data": int.from_bytes(part, "little"),
            "keep": (1 << len(part)) - 1,
            "last": int(at + width >= len(frame)),
        })  # fmt: skip
    return beats


def vlan(tags) -> Ether:
    """Ethernet header with 802.1Q (0x8100) and 802.1ad (0x88A8) tags, as listed."""
    packet = Ether(**MACS)
    for tag in tags:
        packet /= Dot1AD(vlan=5) if tag == 0x88A8 else Dot1Q(vlan=7)
    return packet


def extension(kind: int, words: int = 0):
    """An extension header of (words + 1) * 8 bytes."""
    if kind == 43:
        # With segments left, the checksum would be over the last of the addresses.
        return IPv6ExtHdrRouting(addresses=[f"2001:db8::{k}" for k in range((words + 1) // 2)], segleft=0)
    options, left = [], 8 * words + 6
    while left:
        size = min(left, 254)  # even, as `left` is: never one byte too few for another option
        options.append(PadN(optdata=bytes(size - 2)))
        left -= size
    return EXTENSIONS[kind](options=options)


def tcp(options: int = 0, payload: bytes = b"", **fields):
    """A TCP segment with `options` words of options."""
    header = TCP(**({"sport": 1234, "dport": 443, "seq": 0x12345678, "flags": "PA"} | fields))
    header.options = [("NOP", None)] * (4 * options)
    return header / Raw(payload) if payload else header


def ipv4(segment, options: int = 0, tags=(), **fields) -> bytes:
    header = IP(**({"src": "192.0.2.1", "dst": "198.51.100.7", "id": 77} | fields))
    if options:
        header.options = [IPOption_NOP() for _ in range(4 * options)]
    return bytes(vlan(tags) / header / segment)


def ipv6(segment, extensions=(), tags=(), **fields) -> bytes:
    """`extensions` holds (kind, words) pairs, or the word "fragment"."""
    packet = vlan(tags) / IPv6(**({"src": "2001:db8::1:2", "dst": "2001:db8:ffff::9"} | fields))
    for item in extensions:
        packet /= IPv6ExtHdrFragment(offset=0, m=1) if item == "fragment" else extension(*item)
    return bytes(packet / segment)


def arp() -> bytes:
    return bytes(Ether(**MACS) / ARP(pdst="192.0.2.9"))


def udp(payload: bytes) -> bytes:
    return bytes(Ether(**MACS) / IP(dst="192.0.2.9") / UDP(dport=443) / Raw(payload))


def random_frame(rng: random.Random, most: int = 300) -> bytes:
    """A frame of a random kind: mostly parsable ones, with now and then a byte flipped, a cut or padding."""
    tags = rng.choices((0x8100, 0x88A8), k=rng.choice((0, 0, 0, 1, 2, 3)))
    segment = tcp(
        rng.choice((0, 0, 3, 3, rng.randint(0, 10))),
        rng.randbytes(rng.choice((0, rng.randint(1, 20), rng.randint(1, most)))),
        sport=rng.getrandbits(16),
        dport=rng.getrandbits(16),
        seq=rng.getrandbits(32),
        flags=rng.choice(("A", "PA", "PA", "PA", "S", "R", "RA", "SA", "FPA")),
    )
    kind = rng.random()
    if kind < 0.45:
        frame = ipv4(
            segment,
            rng.choice((0, 0, rng.randint(0, 10))),
            tags,
            src=".".join(str(b) for b in rng.randbytes(4)),
            flags=rng.choice(("", "", "DF", "DF", "evil", "MF")),
            frag=rng.choice((0, 0, 0, 0, 0, 3)),
        )
    elif kind < 0.9:
        hops = rng.choice((0, 0, 1, 2, 3, 4))
        chain = [(rng.choice((0, 43, 60)), rng.choice((0, 0, 1, 2))) for _ in range(hops)]
        if rng.random() < 0.05:
            chain.append("fragment")
        source = ":".join(f"{rng.getrandbits(16):x}" for _ in range(8))
        frame = ipv6(segment, chain, tags, src=source)
    elif kind < 0.95:
        frame = udp(rng.randbytes(rng.randint(0, 100)))
    else:
        frame = arp()
    fate = rng.random()
    if fate < 0.1:
        frame = frame[: rng.randint(1, len(frame))]
    elif fate < 0.2:
        frame += rng.randbytes(rng.randint(1, 70))
    elif fate < 0.35:
        at = rng.randrange(len(frame)) if rng.random() < 0.3 else rng.randrange(12, min(len(frame), 80))
        frame = frame[:at] + bytes([frame[at] ^ 1 << rng.randrange(8)]) + frame[at + 1 :]
    return frame
