"""The recorded sessions sent through the RTL: frames, completions, answers and counters equal the golden model's, the
wire is as captured."""

import pytest

from driver.tx_context import TxResync
from hw.config import Config
from sim.connections import follow
from sim.engine import make_tx_engine
from sim.engine.toolchain import can_compile
from sim.replay import Settings
from sim.tx_run import run_tx
from tests.sim.conftest import NAMES
from tests.sim.sessions import before_segmentation, capture_of, frames, session

WIDTHS = [16, pytest.param(32, marks=pytest.mark.slow), pytest.param(64, marks=pytest.mark.slow)]
LOSSY = "tls12-aes128-tx-loss"


class Shared:
    """An engine for many runs: closing it is a reset."""

    def __init__(self, engine):
        self.run, self.reset, self.close = engine.run, engine.reset, engine.reset


@pytest.fixture(scope="module")
def tx_engine():
    engines = {}

    def get(width):
        if not can_compile():
            pytest.skip("no C++ compiler")
        if width not in engines:
            engines[width] = make_tx_engine("compiled", Config(width=width))
        engines[width].reset()
        return engines[width]

    yield get
    for engine in engines.values():
        engine.close()


def check(name, engine, settings, resync=TxResync.PREFIX, host=None):
    if host and "v6" in name:
        host = "fd77::2"
    outcome = run_tx(follow(*session(name), host), settings, resync, lambda: Shared(engine))
    assert not outcome.mismatches, [str(m) for m in outcome.mismatches[:5]]
    assert outcome.compared == outcome.packets == outcome.identical[None] and outcome.mismatched == 0
    return outcome


@pytest.mark.parametrize("backpressure", [0.0, 0.3])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_compiled(tx_engine, width, name, backpressure):
    settings = Settings("compiled", Config(width=width), backpressure, idle=backpressure / 3, seed=11)
    check(name, tx_engine(width), settings)


@pytest.mark.parametrize("resync", TxResync)
@pytest.mark.parametrize("name", [n for n in NAMES if "loss" in n or "reorder" in n or "decoy" in n])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_other_sides_losses_by_every_mechanism(tx_engine, width, name, resync):
    """Seen from the far side packets are lost on their way down: jumps, replays, adoptions."""
    settings = Settings("compiled", Config(width=width), backpressure=0.1, seed=5)
    check(name, tx_engine(width), settings, resync, "10.77.0.2")


@pytest.mark.parametrize("width", WIDTHS)
def test_retransmissions_by_every_mechanism(tx_engine, width):
    moved = {}
    for resync in TxResync:
        outcome = check(LOSSY, tx_engine(width), Settings("compiled", Config(width=width)), resync)
        (socket,) = outcome.sockets.values()
        assert socket.out_of_order == 11
        moved[resync] = socket.replayed_bytes
    assert 0 < moved[TxResync.PREFIX] <= 0.05 * moved[TxResync.REBUILD]


@pytest.mark.parametrize("backpressure", [0.0, 0.5])
@pytest.mark.parametrize("name", ["tls12-aes128-clean", "tls13-aes256-v6"])
@pytest.mark.parametrize("width", WIDTHS)
def test_frames_captured_before_they_were_cut_into_segments(tx_engine, width, name, backpressure):
    capture, log = session(name)
    host, source = (
        ("fd77::2", bytes.fromhex("fd77") + bytes(13) + b"\2") if "v6" in name else ("10.77.0.2", b"\x0aM\0\2")
    )
    merged = before_segmentation(frames(capture), source, 65_535)
    assert max(map(len, merged)) > 9216
    engine = tx_engine(width)
    settings = Settings("compiled", Config(width=width), backpressure, idle=backpressure / 3, seed=3)
    outcome = run_tx(follow(capture_of(merged), log, host), settings, make_engine=lambda: Shared(engine))
    assert not outcome.mismatches, [str(m) for m in outcome.mismatches[:5]]
    assert outcome.device_counters["encrypted"] > sum(s.packets_encrypted for s in outcome.sockets.values()) > 0


@pytest.mark.slow
def test_pysim():
    """One short session: the other engine says the same."""
    check("tls13-aes256-v6", make_tx_engine("pysim", Config()), Settings("pysim", seed=3))
