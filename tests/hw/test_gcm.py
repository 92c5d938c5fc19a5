"""AES-GCM vectors (NIST CAVP, Wycheproof) through keystream and GHASH room together."""

import random
from dataclasses import replace

import pytest

from hw.config import Config
from sim.engine.component import ComponentEngine
from tests.hw.gcm_vectors import Rooms, Streams, differences, nist, wycheproof
from tests.hw.testbench import run_streams


def decrypt(vectors, width, **waits):
    config = Config(width=width, connections=64)
    dut = Rooms(config)
    streams = Streams(vectors, config, seed=width)
    counts = streams.counts

    async def expect(ctx):
        ctx.set(dut.expected, len(vectors))

    outputs = run_streams(
        dut,
        [(dut.keys, streams.keys), (dut.requests, streams.requests), (dut.beats, streams.beats)],
        [(dut.keystream, counts["keystream"]), (dut.j0, counts["j0"]), (dut.hashes, counts["hashes"])],
        processes=[expect], seed=width, extra_cycles=50, **waits,
    )  # fmt: skip
    return streams.decrypted(*outputs)


def test_vectors_are_all_there():
    assert [len(nist(128)), len(nist(256)), len(wycheproof())] == [375, 375, 133]
    assert sum(vector.plaintext is None for vector in nist(128) + nist(256)) > 100


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("width", [16, 32, 64])
def test_sample(width):
    everything = nist(128) + nist(256) + wycheproof()
    vectors = random.Random(width).sample(everything, 30)
    assert differences(vectors, decrypt(vectors, width, idle=0.2, backpressure=0.2)) == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [16, 32, 64])
def test_complete_set(width):
    """Every vector, on the compiled engine where there is one, keys replaced from batch to batch."""
    config = Config(width=width, connections=256)
    engine = ComponentEngine(lambda: Rooms(config))
    loaded, everything = 0, nist(128) + nist(256) + wycheproof()
    for start in range(0, len(everything), config.connections):
        vectors = everything[start : start + config.connections]
        loaded += len(vectors)
        streams = Streams(vectors, config, seed=start)
        result = engine.run(
            streams.inputs, streams.counts, idle=0.1, backpressure=0.1, seed=start, settle=50,
            settings={"expected": loaded},
        )  # fmt: skip
        results = streams.decrypted(*(result.outputs[name] for name in ("keystream", "j0", "hashes")))
        assert differences(vectors, results) == []


def test_one_wrong_bit_anywhere_is_noticed():
    good = next(v for v in nist(256) if v.plaintext and len(v.aad) == 20)

    def flipped(field):
        value = getattr(good, field)
        return replace(good, **{field: bytes([value[0] ^ 1]) + value[1:]})

    bad = [flipped(field) for field in ("key", "iv", "aad", "ciphertext", "tag")]
    results = decrypt([good, *bad], 16)
    assert results == [good.plaintext] + [None] * 5
    assert len(differences([good, *bad], results)) == 5
