"""Ciphertext made to contain record headers: nothing is marked wrongly, and the search comes back.

Number 21 of the adversarial list (reference, section 8), for any chains; one at a time in test_resync.py.
"""

from random import Random
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import driver.resync
from driver.netdev import ResyncMode
from model.contract import MAX_LENGTH, MIN_LENGTH, RxPolicy, Status
from sim.traffic import TLS12, TLS13, Stream
from tests.model.decoys import decoy, sealed_as
from tests.model.resync_rig import NetRig

NEVER = {Status.CONFLICT, Status.CLOSED, Status.AUTH_FAILED, Status.BAD_HEADER, Status.BAD_CHECKSUM}
"""In honest traffic, however its bytes look."""
PATIENCE = 40
TAIL = 260
"""Records of 100 bytes without decoys at the end, each in a packet: longer than PATIENCE, and hints that back off."""


def layout(rng: Random, version: int) -> list[tuple[int, int]]:
    """Places of body bytes that can be chosen, [start, end), of the records to come."""
    prefix, behind = (13, 16) if version == TLS12 else (5, 17)
    bodies: list[tuple[int, int]] = []
    at = 0
    same = rng.choice([0, 400, 1000])
    while at < 45_000:
        size = same or rng.choice([0, rng.randrange(60), rng.randrange(2000), rng.randrange(16384)])
        bodies.append((at + prefix, at + prefix + size))
        at += prefix + size + behind
    return bodies


def decoys(rng: Random, version: int, bodies: list[tuple[int, int]]) -> dict[int, int]:
    """Length by place: chains of any length that lead to decoys, to real headers, beside them, or nowhere."""
    prefix = 13 if version == TLS12 else 5
    low, high = MIN_LENGTH[version], MAX_LENGTH[version]
    found: dict[int, int] = {}
    wide = [body for body in bodies if body[1] - body[0] >= 5]
    for _ in range(rng.choice([1, 3, 10, 40])):
        start, end = rng.choice(wide)
        place = rng.randrange(start, end - 4)
        for _ in range(rng.choice([1, 2, 5, 100])):
            if not any(a <= place <= b - 5 for a, b in bodies) or any(abs(place - p) < 5 for p in found):
                break
            near = [body for body in bodies if place < body[0] <= place + high]
            match rng.randrange(5):
                case 0:
                    target = place + 5 + rng.randrange(low, high + 1)
                case 1 if near:
                    target = rng.choice(near)[0] - prefix  # a real header
                case 2 if near:
                    target = rng.choice(near)[0] - prefix + rng.choice([-4, -1, 1, 4])
                case 3 if near:
                    target = rng.choice(near)[0] + rng.randrange(20)
                case _:
                    here = next(body for body in bodies if body[0] <= place < body[1])
                    later = next((body for body in bodies if body[0] > place), here)
                    target = later[0] + place - here[0]  # the same place of the next record
            length = target - place - 5
            if not low <= length <= high:
                length = rng.choice([low, high, low + 1])
            found[place] = length
            place += 5 + length
    return found


def hostile(rng: Random, version: int, seed: int) -> Stream:
    stream = Stream(version, seed=seed, start_seq=rng.choice([0, 2**31 - 20_000, 2**32 - 20_000]))
    bodies = layout(rng, version)
    lengths = decoys(rng, version, bodies)
    for start, end in bodies:
        body = bytearray(rng.randbytes(end - start) if rng.random() < 0.5 else bytes(end - start))
        for place, length in lengths.items():
            if start <= place <= end - 5:
                body[place - start : place - start + 5] = decoy(length)
        sealed_as(stream, bytes(body))
    stream.bulk([78 if version == TLS13 else 71] * TAIL)
    return stream


def order(rng: Random, stream: Stream) -> list[tuple[int, int]]:
    """Ranges of the wire as they arrive: holes that are filled late, swaps; the tail in order."""
    size = sum(len(r.wire) for r in stream.records[:-TAIL])
    mss = rng.choice([rng.randrange(100, 1000), 1448])
    edges = [*range(0, size, mss), size]
    parts = list(zip(edges, edges[1:], strict=False))
    for _ in range(rng.randrange(1, 4)):
        first = rng.randrange(1, len(parts))
        count = min(rng.choice([1, 2, 17_000 // mss + 1]), len(parts) - first)
        hole = parts[first : first + count]
        del parts[first : first + count]
        if rng.random() < 0.3:
            hole.reverse()
        back = min(first + rng.choice([1, 4, 30]), len(parts))
        parts[back:back] = hole
    at = size
    for record in stream.records[-TAIL:]:
        parts.append((at, at + len(record.wire)))
        at += len(record.wire)
    return parts


def check(rng: Random, version: int, policy: RxPolicy, mode: ResyncMode) -> NetRig:
    stream = hostile(rng, version, rng.randrange(2**16))
    with patch.object(driver.resync, "PATIENCE", PATIENCE):
        rig = NetRig(stream, policy, mode, acks=rng.random() < 0.8)
        statuses = [rig.segment(start, end) for start, end in order(rng, stream)]
    assert not NEVER & set(statuses)
    rig.expect_true_answers_of_either_kind()
    rig.expect_everything()
    assert set(statuses[-20:]) == {Status.DECRYPTED}
    return rig


@pytest.mark.parametrize("policy", [RxPolicy.KERNEL, RxPolicy.FULL])
@pytest.mark.parametrize("version", [TLS12, TLS13])
@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32 - 1), st.sampled_from(ResyncMode))
def test_21_decoys_anywhere(policy: RxPolicy, version: int, seed: int, mode: ResyncMode):
    check(Random(seed), version, policy, mode)


@pytest.mark.slow
@pytest.mark.parametrize("policy", list(RxPolicy))
@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_21_decoys_anywhere_at_length(policy: RxPolicy, version: int):
    """The same, many; decoys are asked about, chains break, and hints are needed now and then."""
    asked = broken = 0
    for seed in range(300):
        rig = check(Random(seed), version, policy, list(ResyncMode)[seed % 2])
        asked += any(place not in rig.numbered() for place in rig.requests)
        broken += len(rig.requests) > 1
    assert asked > 20 and broken > 20  # or the streams have become harmless
