"""Hash, placement, handles."""

import ipaddress
import random

import pytest

from model.commands import Tuple4
from model.contract import HASH_KEY_BITS, STASH, WAYS, Result, buckets
from model.table import FlowTable, hash_message, toeplitz

# Microsoft, "Verifying the RSS hash calculation": 40 bytes of key, TCP tuples, 32 bits of hash.
RSS_KEY = int("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa", 16) << (
    HASH_KEY_BITS - 320
)
RSS_VECTORS = [
    ("66.9.149.187", 2794, "161.142.100.80", 1766, 0x51CCC178),
    ("199.92.111.2", 14230, "65.69.140.83", 4739, 0xC626B0EA),
    ("24.19.198.95", 12898, "12.22.207.184", 38024, 0x5C2B394A),
    ("38.27.205.30", 48228, "209.142.163.6", 2217, 0xAFC7327F),
    ("153.39.163.191", 44251, "202.188.127.2", 1303, 0x10E828A2),
]


@pytest.mark.parametrize("source, source_port, destination, destination_port, expected", RSS_VECTORS)
def test_rss_vectors(source: str, source_port: int, destination: str, destination_port: int, expected: int):
    message = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    message += source_port.to_bytes(2, "big") + destination_port.to_bytes(2, "big")
    value = int.from_bytes(message, "big") << (320 - 96)
    assert toeplitz(RSS_KEY, value) >> 16 == expected


def test_rss_vector_ipv6():
    message = ipaddress.ip_address("3ffe:2501:200:1fff::7").packed
    message += ipaddress.ip_address("3ffe:2501:200:3::1").packed
    assert len(message) == 32  # the ports do not fit into 320 bits; the address part is linear
    ports = (2794).to_bytes(2, "big") + (1766).to_bytes(2, "big")
    high = toeplitz(RSS_KEY, int.from_bytes(message, "big") << 64)
    low = toeplitz(RSS_KEY, int.from_bytes(ports, "big") << 32)
    assert (high ^ low) >> 16 == 0x40207D3D


def test_message_words():
    v4 = Tuple4(b"\x0a\x00\x00\x01", 0x1234, b"\x0a\x00\x00\x02", 0x5678)
    assert hash_message(v4) == int("123456780a0000010a000002" + "00000000" * 7, 16)
    v6 = Tuple4(bytes(range(16)), 1, bytes(range(16, 32)), 2)
    words = "00010002 0c0d0e0f 1c1d1e1f 00000001 00010203 04050607 08090a0b 10111213 14151617 18191a1b"
    assert hash_message(v6) == int(words.replace(" ", ""), 16)


def test_first_and_last_message_bit():
    key = random.Random(1).getrandbits(HASH_KEY_BITS)
    assert toeplitz(key, 1 << 319) == key >> 320
    assert toeplitz(key, 1) == key >> 1 & (1 << 48) - 1


def tuples(count: int) -> list[Tuple4]:
    return [Tuple4(b"\x0a\0\0\1", 1000 + i, b"\x0a\0\0\2", 443) for i in range(count)]


def test_collisions_fill_two_buckets_and_the_stash():
    """hash_key 0 puts everything into bucket 0."""
    table: FlowTable[int] = FlowTable(64, 0)
    limit = 2 * WAYS + STASH
    added = [table.add(t, i) for i, t in enumerate(tuples(limit + 1))]
    assert [result for result, _ in added] == [Result.OK] * limit + [Result.NO_SPACE]
    assert [handle for _, handle in added] == [*range(limit), 0]
    assert table.free == 64 - limit
    assert table.delete(3)
    assert table.add(tuples(limit + 2)[-1], 9) == (Result.OK, limit)  # a fresh index into the freed way
    for i, key in enumerate(table.by_key.values()):
        assert table.get(key[0]) == key[1], i


def test_exists_is_told_before_no_slot_and_after_no_index():
    table: FlowTable[int] = FlowTable(17, 0)
    keys = tuples(17)
    assert [table.add(k, 0)[0] for k in keys[:16]] == [Result.OK] * 16
    assert table.add(keys[0], 0)[0] is Result.EXISTS
    assert table.add(keys[16], 0)[0] is Result.NO_SPACE
    small: FlowTable[int] = FlowTable(1, 0)
    small.add(keys[0], 0)
    assert small.add(keys[0], 0)[0] is Result.NO_SPACE


def test_indices_fresh_first_then_freed_longest_ago():
    table: FlowTable[int] = FlowTable(4, 5)
    keys = tuples(8)
    assert [table.add(k, 0)[1] for k in keys[:3]] == [0, 1, 2]
    assert table.delete(1) and table.delete(0)
    assert table.add(keys[3], 0)[1] == 3
    assert table.add(keys[4], 0)[1] == 1 << 16 | 1
    assert table.add(keys[5], 0)[1] == 1 << 16 | 0


def test_failed_add_uses_up_no_index():
    table: FlowTable[int] = FlowTable(4, 5)
    keys = tuples(3)
    table.add(keys[0], 0)
    assert table.add(keys[0], 0) == (Result.EXISTS, 0)
    assert table.add(keys[1], 0) == (Result.OK, 1)


def test_generations_wrap_after_256():
    table: FlowTable[int] = FlowTable(1, 5)
    handles = []
    for i in range(257):
        result, handle = table.add(tuples(1)[0], i)
        assert result is Result.OK
        handles.append(handle)
        assert table.delete(handle)
        assert not table.delete(handle)
        assert table.get(handle) is None
    assert handles == [g << 16 for g in range(256)] + [0]


def test_stale_handles():
    table: FlowTable[int] = FlowTable(4, 5)
    _, handle = table.add(tuples(1)[0], 7)
    for wrong in (handle + 1, 4, 0xFFFF, handle | 1 << 16, handle | 1 << 24):
        assert table.get(wrong) is None
        assert not table.delete(wrong)
    assert table.get(handle) == 7


@pytest.mark.parametrize("connections, expected", [(4, 2), (8, 2), (12, 3), (256, 64)])
def test_buckets(connections: int, expected: int):
    assert buckets(connections) == expected


def test_random_fill_reaches_half_of_the_slots():
    rng = random.Random(2)
    table: FlowTable[int] = FlowTable(256, rng.getrandbits(HASH_KEY_BITS))
    results = [
        table.add(Tuple4(rng.randbytes(4), rng.getrandbits(16), rng.randbytes(4), 443), i)[0] for i in range(256)
    ]
    assert results.count(Result.OK) == 256


def test_placement_follows_the_hash():
    """Tuples of one bucket in both tables fill it and the stash; a tuple of any other bucket still goes in."""
    connections, key = 64, random.Random(3).getrandbits(HASH_KEY_BITS)
    bits = f"{key:0{HASH_KEY_BITS}b}"

    def places(t: Tuple4) -> tuple[int, int]:
        """Both buckets, by the contract's words on strings of bits."""
        value = 0
        for i, bit in enumerate(f"{hash_message(t):0320b}"):
            if bit == "1":
                value ^= int(bits[i : i + 48], 2)
        digits = f"{value:048b}"
        return int(digits[32:48], 2) % 16, int(digits[16:32], 2) % 16

    candidates = tuples(12000)
    where = [places(t) for t in candidates]
    home = max(set(where), key=where.count)
    same = [t for t, p in zip(candidates, where, strict=True) if p == home]
    half = [t for t, p in zip(candidates, where, strict=True) if p[0] == home[0] and p[1] != home[1]]
    other_half = [t for t, p in zip(candidates, where, strict=True) if p[0] != home[0] and p[1] == home[1]]
    limit = 2 * WAYS + STASH
    table: FlowTable[int] = FlowTable(connections, key)
    assert [table.add(t, 0)[0] for t in same[: limit + 1]] == [Result.OK] * limit + [Result.NO_SPACE]
    assert table.add(half[0], 0)[0] is Result.OK
    assert table.add(other_half[0], 0)[0] is Result.OK
