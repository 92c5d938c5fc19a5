"""The transmit device's RTL against the golden device: every kind of request, right and wrong ones, bit by bit."""

import random

import pytest

from hw.config import Config
from sim.engine.tx import TxEngine, make_tx_engine
from sim.schedule import TxFrame
from sim.traffic import TLS12, TLS13, Stream
from tests.hw.test_tx_track import requests_of
from tests.model.tx_rig import TxRig


def compare(engine: TxEngine, seed: int) -> None:
    rng = random.Random(seed)
    stream = Stream(
        rng.choice([TLS12, TLS13]),
        seed=seed,
        key_size=rng.choice([16, 32]),
        ipv6=rng.random() < 0.4,
        start_seq=2**32 - 3000,
    )
    sizes = rng.choice([(0, 1, 13, 60), (300, 900), (9000,)])
    for _ in range(40 if max(sizes) < 100 else 8):
        stream.record(stream.rng.randbytes(rng.choice(sizes)))
    rig = TxRig(stream)
    frames = requests_of(rng, rig, 60)
    frames = [(f[: len(f) - 1] if k % 11 == 7 else f, r) for k, (f, r) in enumerate(frames)]  # not whole
    want = [rig.device.transmit(frame, request) for frame, request in frames]
    engine.reset()
    waits = {"idle": 0.2, "backpressure": 0.3} if seed % 2 else {}
    result = engine.run([stream.add(), *(TxFrame(f, r) for f, r in frames)], seed=seed, **waits)
    assert result.responses[0].handle == rig.handle
    for number, (got, expected) in enumerate(zip(result.sent, want, strict=True)):
        assert got == expected, f"frame {number}, {frames[number][1].kind.name}, seed={seed}"


@pytest.fixture(scope="module")
def engine():
    with make_tx_engine("auto", Config(width=16, connections=256)) as made:
        yield made


@pytest.mark.default_cases(20)
@pytest.mark.parametrize("seed", range(40))
def test_requests_right_and_wrong(engine, seed):
    compare(engine, seed)


@pytest.mark.slow
@pytest.mark.parametrize("width", [16, 64])
def test_requests_at_length(width):
    with make_tx_engine("auto", Config(width=width, connections=8)) as engine:
        for seed in range(1000, 1300):
            compare(engine, seed)
