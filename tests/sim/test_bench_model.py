"""The cycle model beside the RTL."""

import pytest

from model.cycles import Direction
from sim.bench import GRID
from sim.bench_model import TARGET, bench_model, capture_case, grid_case, summary
from sim.engine.toolchain import can_compile
from tests.sim.conftest import CAPTURES

SAMPLE = [t for t in GRID if t.name in ("segment_64", "segment_1448", "records_64B")]

pytestmark = pytest.mark.skipif(not can_compile(), reason="no C++ compiler")


def test_sample(device_engine):
    engine = device_engine(16)
    rows = [capture_case(engine, CAPTURES / f"{name}.pcap") for name in ("tls13-aes128-decoy", "tls12-aes256-small")]
    assert summary(rows)["worst"] <= TARGET, rows
    assert max(row.exit_error for row in rows) <= TARGET, rows


@pytest.mark.slow
def test_sample_grid(device_engine):
    engine = device_engine(16)
    rows = [grid_case(engine, traffic) for traffic in SAMPLE]
    assert summary(rows)["worst"] <= TARGET, rows


@pytest.mark.slow
def test_sample_transmit(tx_device_engine):
    engine = tx_device_engine(16)
    rows = [grid_case(engine, traffic) for traffic in SAMPLE]
    rows.append(capture_case(engine, CAPTURES / "tls12-aes128-tx-loss.pcap"))
    assert summary(rows)["worst"] <= TARGET, rows


@pytest.mark.slow
@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("direction", list(Direction))
def test_grid(width, direction):
    rows = bench_model((width,), (direction,), [])
    assert summary(rows)["worst"] <= TARGET, rows


@pytest.mark.slow
@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("direction", list(Direction))
def test_captures(width, direction):
    rows = bench_model((width,), (direction,), sorted(CAPTURES.glob("*.pcap")), grid=())
    assert summary(rows)["worst"] <= TARGET, rows
