"""The bench of the tools themselves."""

import subprocess
import sys
from pathlib import Path

import pytest

from hw.config import Config
from sim import bench_tools
from sim.bench import Row
from sim.bench_tools import bench_tools as bench
from sim.bench_tools import best, demo, golden_rates, timed
from sim.engine.toolchain import BuildError, can_compile
from sim.errors import InputError
from tests.sim.conftest import CAPTURES


def test_best_is_the_shortest():
    clock = iter([0.0, 3.0, 10.0, 11.0, 20.0, 22.0])
    assert best(lambda: None, 3, lambda: next(clock)) == 1.0


def test_processor_seconds_count_what_was_waited_for():
    name, spent = timed("some", lambda: subprocess.run([sys.executable, "-c", "sum(range(10**7))"], check=True), 2)
    assert (name.name, spent.name) == ("some", "some_processor")
    assert name.value > 0 and spent.value > 0.05


def test_golden_rates():
    rates = golden_rates([CAPTURES / "tls12-aes256-small.pcap"], Config(), 1)
    assert set(rates) == {"rx", "tx", "pass"} and all(rate > 0 for rate in rates.values())
    assert rates["pass"] < rates["rx"]


def test_a_main_job_that_fails_is_no_figure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(bench_tools, "DEMO", "no-such-capture")
    with pytest.raises(InputError, match="the main job ended with status"):
        demo(tmp_path)


def test_a_part_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch):
    def fails(*_: object) -> list[Row]:
        raise BuildError("no compiler")

    row = Row("tools/golden_rx", 1.0, "Mb/processor s", None)
    monkeypatch.setattr(bench_tools, "golden_rows", lambda shape, tries: [row])
    monkeypatch.setattr(bench_tools, "demo_rows", fails)
    monkeypatch.setattr(bench_tools, "engine_rows", fails)
    told: list[str] = []
    assert bench((16,), tries=1, failed=lambda name, error: told.append(f"{name}: {error}")) == [row]
    assert told == ["the main job: no compiler", "the compiled engine, W=16: no compiler"]
    with pytest.raises(BuildError):
        bench((16,), tries=1)


@pytest.mark.slow
@pytest.mark.skipif(not can_compile(), reason="no C++ compiler")
def test_rows():
    rows = {row.name: row for row in bench((16,), tries=1)}
    assert rows["tools/demo_cold"].value > rows["tools/demo_warm"].value > 0
    assert rows["tools/w16/build"].value > rows["tools/w16/from_cache"].value
    assert rows["tools/w16/compiled"].value > 0 and rows["tools/golden_rx"].target == 200
