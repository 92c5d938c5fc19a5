"""The cycle model beside the RTL."""

import pytest

from model.cycles import Direction
from sim.bench import GRID
from sim.bench_model import TARGET, Compared, bench_model, capture_case, grid_case, groups, model_speed, summary, within
from sim.engine.toolchain import can_compile
from tests.sim.conftest import CAPTURES

SAMPLE = [t for t in GRID if t.name in ("segment_64", "segment_1448", "records_64B")]

pytestmark = pytest.mark.skipif(not can_compile(), reason="no C++ compiler")


def test_sample(device_engine):
    engine = device_engine(16)
    rows = [capture_case(engine, CAPTURES / f"{name}.pcap") for name in ("tls13-aes128-decoy", "tls12-aes256-small")]
    assert within(summary(rows)), rows
    assert max(row.exit_error for row in rows) <= TARGET, rows


def test_summaries():
    rows = [
        Compared("rx/w16/segment_64", 10, 100, 101, 1.0, -3.0, 1.0),
        Compared("rx/w16/segment_256", 10, 200, 199, -0.5, 0.0, 1.5),
        Compared("tx/w64/some", 10, 100, 101, 1.5, None, 2.5),
    ]
    said = summary(rows)
    assert (said["worst"], said["worst_case"], said["mean"]) == (1.5, "tx/w64/some", 1.0)
    assert (said["worst_rate"], said["worst_rate_case"], said["mean_rate"]) == (3.0, "rx/w16/segment_64", 1.5)
    assert not within(said) and within(summary(rows[1:]))
    parts = groups(rows)
    assert {name: part["cases"] for name, part in parts.items()} == {"rx/w16/grid": 2, "tx/w64/captures": 1}
    assert parts["tx/w64/captures"]["worst_rate"] is None


def test_speed():
    assert all(speed > 0 for speed in model_speed(count=2000, tries=1).values())


@pytest.mark.slow
def test_sample_grid(device_engine):
    engine = device_engine(16)
    rows = [grid_case(engine, traffic) for traffic in SAMPLE]
    assert within(summary(rows)), rows


@pytest.mark.slow
def test_sample_transmit(tx_device_engine):
    engine = tx_device_engine(16)
    rows = [grid_case(engine, traffic) for traffic in SAMPLE]
    rows.append(capture_case(engine, CAPTURES / "tls12-aes128-tx-loss.pcap"))
    assert within(summary(rows)), rows


@pytest.mark.slow
@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("direction", list(Direction))
def test_grid(width, direction):
    rows = bench_model((width,), (direction,), [])
    assert within(summary(rows)), rows


@pytest.mark.slow
@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("direction", list(Direction))
def test_captures(width, direction):
    rows = bench_model((width,), (direction,), sorted(CAPTURES.glob("*.pcap")), grid=())
    assert within(summary(rows)), rows
