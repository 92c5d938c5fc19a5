"""AES-GCM encryption vectors (NIST CAVP, Wycheproof) through keystream, encrypt, GHASH and seal together."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from hw.config import Config
from sim.engine.component import ComponentEngine
from tests.hw.testbench import run_streams
from tests.hw.tx_gcm_vectors import SealingRooms, Streams, differences, nist, wycheproof_valid


def encrypt(vectors, width, **waits):
    config = Config(width=width, connections=64)
    dut = SealingRooms(config)
    streams = Streams(vectors, config, seed=width)
    counts = streams.counts

    async def expect(ctx):
        ctx.set(dut.expected, len(vectors))

    names = ("keys", "requests", "plain", "items")
    outputs = run_streams(
        dut,
        [(getattr(dut, name), getattr(streams, name)) for name in names],
        [(getattr(dut, name), count) for name, count in counts.items()],
        processes=[expect], seed=width, extra_cycles=50, **waits,
    )  # fmt: skip
    return streams.encrypted(*outputs)


def test_vectors_are_all_there():
    everything = nist(128) + nist(256)
    assert Counter(8 * len(v.tag) for v in everything) == dict.fromkeys((128, 120, 112, 104, 96, 64, 32), 750)
    assert {8 * len(v.aad) for v in everything} == {0, 128, 160, 384, 720}
    assert {8 * len(v.plaintext) for v in everything} == {0, 104, 128, 256, 408}
    assert len(wycheproof_valid()) == 79


@pytest.mark.parametrize("width", [16, pytest.param(64, marks=pytest.mark.slow)])
def test_sample(width):
    everything = nist(128) + nist(256) + wycheproof_valid()
    vectors = random.Random(width).sample(everything, 6)
    assert differences(vectors, encrypt(vectors, width, idle=0.2, backpressure=0.2)) == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [16, 32, 64])
def test_complete_set(width):
    """Every vector, on the compiled engine where there is one, keys replaced from batch to batch."""
    config = Config(width=width, connections=256)
    engine = ComponentEngine(lambda: SealingRooms(config))
    loaded, everything = 0, nist(128) + nist(256) + wycheproof_valid()
    for start in range(0, len(everything), config.connections):
        vectors = everything[start : start + config.connections]
        loaded += len(vectors)
        streams = Streams(vectors, config, seed=start)
        result = engine.run(
            streams.inputs, streams.counts, idle=0.1, backpressure=0.1, seed=start, settle=50,
            settings={"expected": loaded},
        )  # fmt: skip
        results = streams.encrypted(*(result.outputs[name] for name in ("keystream", "patches", "orders")))
        assert differences(vectors, results) == []


def test_one_wrong_bit_anywhere_is_noticed():
    good = next(v for v in nist(256) if len(v.aad) == 20 and v.plaintext and len(v.tag) == 16)

    def flipped(field):
        value = getattr(good, field)
        return replace(good, **{field: bytes([value[0] ^ 1]) + value[1:]})

    fields = ("key", "iv", "aad", "plaintext", "ciphertext", "tag")
    vectors = [good, *map(flipped, fields)]
    assert len(differences(vectors, encrypt(vectors, 16))) == len(fields)
