"""The recorded sessions through the RTL: every packet, descriptor, answer and counter equals the golden model's."""

import json

import pytest

from hw.config import Config
from model.contract import RxPolicy
from sim.connections import follow
from sim.engine import make_engine
from sim.engine.toolchain import can_compile
from sim.run import Settings, run
from tests.sim.conftest import CAPTURES, NAMES
from tests.sim.sessions import session

WIDTHS = [16, pytest.param(32, marks=pytest.mark.slow), pytest.param(64, marks=pytest.mark.slow)]


class Shared:
    """An engine for many runs: closing it is a reset."""

    def __init__(self, engine):
        self.run, self.reset, self.close = engine.run, engine.reset, engine.reset


def check(name, engine, settings):
    outcome = run(follow(*session(name)), settings, lambda: engine)
    assert outcome.equal, [str(m) for m in outcome.mismatches[:5]]
    assert outcome.compared == outcome.packets and outcome.mismatched == 0
    recorded = json.loads((CAPTURES / f"{name}.json").read_text())["connections"]
    expected = {c["server_port"]: c["server_to_client_sha256"] for c in recorded}
    for socket in outcome.sockets:
        assert socket.receiver.application.sha256 == expected[socket.connection.server[1]]


@pytest.mark.parametrize("backpressure", [0.0, 0.3])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_compiled(device_engine, width, name, backpressure):
    if not can_compile():
        pytest.skip("no C++ compiler")
    settings = Settings("compiled", Config(width=width), backpressure, idle=backpressure / 3, seed=11)
    check(name, Shared(device_engine(width)), settings)


@pytest.mark.slow
@pytest.mark.parametrize("policy", [RxPolicy.PUBLISHED, RxPolicy.KERNEL])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [16, 64])
def test_policies(device_engine, width, name, policy):
    config = Config(width=width, rx_policy=policy)
    check(name, Shared(device_engine(width, rx_policy=policy)), Settings("compiled", config, seed=11))


@pytest.mark.slow
@pytest.mark.parametrize("policy", [RxPolicy.PUBLISHED, RxPolicy.FULL])
@pytest.mark.parametrize("name", NAMES)
def test_late(device_engine, name, policy):
    """With S-boxes in block RAM, and the registers that an ECP5 wants."""
    config = Config(sbox="bram", rx_policy=policy)
    settings = Settings("compiled", config, 0.2, idle=0.1, seed=11)
    check(name, Shared(device_engine(16, rx_policy=policy, sbox="bram")), settings)


def test_pysim():
    """One short session: the other engine says the same."""
    engine = make_engine("pysim", Config())
    check("tls12-aes128-tx-loss", engine, Settings("pysim", seed=3))
