"""Both directions at once: the engine on stand-ins, and the bench on devices that share more than a clock."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped

from hw.config import Config
from model.commands import Read
from model.device import GoldenDevice
from model.tx_commands import Sent, TxRequest
from model.tx_device import GoldenTxDevice
from sim.bench import Traffic
from sim.bench_duplex import bench_duplex
from sim.engine import BatchResult, SimulationStalled, TxBatchResult, make_duplex_engine
from sim.schedule import TxFrame
from tests.sim.standin import SILENT, StandIn
from tests.sim.test_tx_engine import FRAMES, TxStandIn


class DuplexStandIn(wiring.Component):
    def __init__(self, config):
        self.parts = StandIn(config), TxStandIn(config)
        super().__init__({name: Out(part.signature) for name, part in self._named()})
        for part in self.parts:
            part._MustUse__used = True  # the bench makes one for its ports only

    def _named(self):
        return zip(("receive", "transmit"), self.parts, strict=True)

    def elaborate(self, platform):
        m = Module()
        for name, part in self._named():
            m.submodules[name] = part
            connect(m, part, flipped(getattr(self, name)))
        return m


@pytest.fixture
def engine():
    with make_duplex_engine("pysim", Config(), device=DuplexStandIn) as made:
        yield made


def test_each_direction_has_its_own_streams(engine):
    events = [FRAMES[3], Read(7), FRAMES[5], Read(0)]
    sends = [TxFrame(f, TxRequest()) for f in FRAMES[:6]] + [Read(0)]
    received, sent = engine.run(events, sends, idle=0.2, backpressure=0.3, seed=2)
    assert [d.frame for d in received.deliveries] == [FRAMES[3], FRAMES[5]]
    assert [r.value for r in received.responses] == [21, 2]
    assert [s for one in sent.sent for s in one] == [Sent(f, 0, 0) for f in FRAMES[:6]]
    assert [r.value for r in sent.responses] == [6]


def test_both_run_at_once(engine):
    received, sent = engine.run(FRAMES, [TxFrame(f, TxRequest()) for f in FRAMES])
    assert received.first_in.tolist() == sent.first_in.tolist()
    assert received.last_out[0] < sent.last_in[-1] and sent.last_out[0] < received.last_in[-1]


def test_what_is_missing_is_said_of_either(engine):
    with pytest.raises(SimulationStalled, match="command 0 of 1 has no answer") as stalled:
        engine.run([Read(SILENT)], [TxFrame(f, TxRequest()) for f in FRAMES], watchdog=50)
    assert stalled.value.command == 0 and stalled.value.frame is None


class Shared:
    """Golden devices: a cycle a beat, `slower` while both have frames; `break_tx`: a wrong byte in the last frame."""

    def __init__(self, name, config, *, progress=None, slower=1, break_tx=False):
        self.config, self.slower, self.break_tx = config, slower, break_tx
        self.reset()

    def reset(self):
        self.rx, self.tx = GoldenDevice(256), GoldenTxDevice(256)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self, events, tx_events):
        frames = [e for e in events if isinstance(e, bytes)]
        sends = [e for e in tx_events if isinstance(e, TxFrame)]
        step = self.slower if frames and sends else 1
        nothing = np.zeros(0, np.int64)
        received = BatchResult(
            [self.rx.receive(f) for f in frames],
            [self.rx.command(e) for e in events if not isinstance(e, bytes)],
            *[nothing] * 3, self._cycles(frames, step), nothing, nothing, 0,
        )  # fmt: skip
        sent = [self.tx.transmit(e.frame, e.request) for e in sends]
        if self.break_tx and sent:
            frame = sent[-1][0].frame
            sent[-1] = [replace(sent[-1][0], frame=frame[:-1] + bytes([frame[-1] ^ 1]))]
        return received, TxBatchResult(
            sent,
            [self.tx.command(e) for e in tx_events if not isinstance(e, TxFrame)],
            *[nothing] * 3, self._cycles([e.frame for e in sends], step), *[nothing] * 3, 0,
        )  # fmt: skip

    def _cycles(self, frames, step):
        return np.cumsum([step * -(-len(f) // self.config.width) for f in frames])


GRID = [Traffic("segment_64", "segments", 1, 500, 64, 20), Traffic("round_robin_3", "connections", 3, 500, 100, 21)]


@pytest.mark.parametrize("slower, ratio", [(1, 1.0), (2, 0.5)])
def test_bench_shows_what_is_shared(slower, ratio):
    rows = bench_duplex([16], "", 1, None, GRID, lambda *a, **k: Shared(*a, **k, slower=slower))
    values = {row.name: row.value for row in rows}
    for direction in ("rx", "tx"):
        name = f"duplex/w16/{direction}_segment_64"
        assert values[f"{name}_alone"] == pytest.approx(64 / 9, abs=0.01)  # 130 bytes
        assert values[f"{name}_ratio"] == values[f"duplex/w16/{direction}_round_robin_3_ratio"] == ratio
        assert values[name] == pytest.approx(64 / 9 * ratio, abs=0.01)


def test_bench_refuses_what_software_would_not_have_sent():
    with pytest.raises(AssertionError, match="1 of 20 frames are not what software would have sent"):
        bench_duplex([16], "", 1, None, GRID[:1], lambda *a, **k: Shared(*a, **k, break_tx=True))


@pytest.mark.slow
def test_the_directions_of_the_device_do_not_disturb_each_other():
    grid = [Traffic("segment_64", "", 1, 16384, 64, 100), Traffic("round_robin_8", "", 8, 1024, 1448, 80)]
    rows = bench_duplex([16], "auto", 1, None, grid)
    assert [row.value for row in rows if row.name.endswith("_ratio")] == [1.0] * 4
