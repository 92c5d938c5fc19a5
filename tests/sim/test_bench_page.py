"""Bare `ktls-nic bench`: rows, page and exit status on results that nothing was simulated for, and one real run."""

import json
import re
import xml.dom.minidom

import pytest

import sim.bench_all
from sim.bench import bus_limit
from sim.bench_all import measure_all
from sim.bench_cases import Measured, Timed, Told, cases, measure_case
from sim.bench_page import bench_page
from sim.bench_rows import Figure, counted, figures
from sim.cli import main
from sim.engine.toolchain import can_compile

FIELDS = {"name", "value", "unit", "target", "bus", "met", "model", "model_error", "failure"}
SIZES = ("64", "256", "1448", "9000")


def fabricated(case, told):
    """Half of the bus, but 60 in the model; 50 cycles for whatever takes time."""
    one = Measured(case, cycles=1000, seconds=0.01)
    if case.kind == "rate":
        one.rtl, one.model = {"rate": bus_limit(case.width, case.traffic.segment) / 2}, {"rate": 60.0}
        one.model_error = -0.5
    elif case.kind == "duplex":
        one.rtl = {f"{d}_{which}": 10.0 for d in ("rx", "tx") for which in ("both", "alone")}
    elif case.kind in ("latency", "not_offloaded", "cut"):
        one.rtl = dict.fromkeys(SIZES, 50.0)
    else:
        one.rtl = {"install": 50, "longest": 97, "interval": 32.0, "rate": 1.0, "latency": 50}
    return one


def failing(case, told):
    return Measured(case, failure="broken <here>") if case.name == "rx/w16/latency" else fabricated(case, told)


@pytest.fixture
def whole():
    return [fabricated(case, Told("model")) for case in cases((16, 64))]


def test_rows(whole):
    rows = {row.name: row for row in figures(whole)}
    assert len(rows) == len(figures(whole)), "names are not unique"
    assert rows["rx/w64/segment_1448"].json() == {
        "name": "rx/w64/segment_1448", "value": 30.16, "unit": "payload B/cycle", "target": 60.0, "bus": 60.33,
        "met": False, "model": 60.0, "model_error": -0.5, "failure": "",
    }  # fmt: skip
    assert rows["tx/w16/records_64B"].value == 1.0 and rows["tx/w16/records_64B"].met
    assert rows["rx/w16/round_robin_1024"].value == 1.0
    assert rows["rx/w16/install_longest"].met is False and rows["rx/w16/install_interval"].met
    assert rows["rx/w16/latency_64"].met and rows["tx/w16/latency_64"].met is None
    assert rows["duplex/w64/tx_segment_9000_ratio"].value == 1.0


@pytest.mark.parametrize("unit, met", [("cycles", True), ("cycles beyond beats", True), ("payload B/cycle", False)])
def test_target_is_a_most_or_a_least(unit, met):
    assert Figure("x", 1.0, unit, target=2.0).met is met
    assert Figure("x", 2.0, unit, target=2.0).met is True


def test_page_is_whole_and_well_formed(whole):
    rows = figures(whole)
    page = bench_page(whole, rows, "fabricated & few")
    plots = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    titles = [xml.dom.minidom.parseString(plot).getElementsByTagName("title")[0].firstChild.data for plot in plots]
    assert len(titles) == 2 * 5 + 1, titles
    assert "W=64: rate against record size" in titles
    assert "fabricated &amp; few" in page
    assert not re.search(r"<script|<link|src=|href=|@import|url\(", page), "the page needs something else"
    assert all(row.name in page for row in rows)
    first = plots[0]
    assert "rx, RTL, 1448: 7.6" in first and "rx, cycle model, 1448: 60" in first and "target: 15.7" in first


def test_page_of_a_few_cases():
    """A size alone, nothing that is a plot of its own, a failure with characters of HTML."""
    few = [failing(case, None) for case in cases((16,), only=["rx/w16/segment_1448", "rx/w16/latency"])]
    assert len(few) == 2
    rows = figures(few)
    assert counted(rows) == {"met": 0, "missed": 1, "failed": 1, "without_target": 0}
    page = bench_page(few, rows, "")
    assert "failed: broken &lt;here&gt;" in page
    assert page.count("<svg") == 1, "one point is no line: simulation speed alone"


def test_only_brings_what_shares_are_taken_of():
    names = [case.name for case in cases((16, 64), only=["w64/records_64B"])]
    assert [n for n in names if n.startswith("rx")] == ["rx/w64/segment_1448", "rx/w64/records_64B"]
    assert not any("w16" in n for n in names)
    assert [case.name for case in cases((16,), only=["duplex/w16/segment_64", "tx/w16/latency"])] == [
        "tx/w16/latency",
        "duplex/w16/segment_64",
    ]
    quick = cases((16,), quick=True)
    assert max(c.held for c in quick) == 256 and max(c.traffic.frames for c in quick if c.traffic) == 512


def test_4096_connections_only_run_if_named():
    name = "rx/w64/round_robin_4096"
    assert name not in [case.name for case in cases((64,))]
    assert name not in [case.name for case in cases((64,), only=["round_robin"])]
    base, most = cases((64,), only=[name])
    assert (base.name, most.name, most.held) == ("rx/w64/segment_1448", name, 4096)


def test_overload_only_runs_if_named():
    kinds = [f"overload_{record}_{option}" for record in ("64B", "16B") for option in ("stall", "raw")]
    assert not any(case.kind in kinds for case in cases((16,)))
    found = cases((16,), only=["overload"])
    assert [case.name for case in found] == [f"rx/w16/{kind}" for kind in kinds]
    assert [case.kind for case in cases((16,), only=["overload_16B_raw"])] == ["overload_16B_raw"]
    (raw,) = cases((16,), only=["overload_16B_raw"])
    rows = figures([Measured(raw, {"rate": 0.99951, "latency": 105, "decrypted": 0.25})])
    assert [(row.name, row.value, row.met) for row in rows] == [
        ("rx/w16/overload_16B_raw", 1.0, True),
        ("rx/w16/overload_16B_raw_latency", 105, False),
        ("rx/w16/overload_16B_raw_decrypted", 0.25, None),
    ]


def test_share_of_a_base_that_failed():
    measured = [fabricated(case, None) for case in cases((16,), only=["rx/w16/records_64B"])]
    measured[0] = Measured(measured[0].case, failure="stalled")
    rows = figures(measured)
    assert [row.failure for row in rows] == ["stalled", "segment_1448 failed"]


def test_a_case_that_raises_is_a_failure(monkeypatch):
    monkeypatch.setattr("sim.bench_cases._measure", lambda *args: 1 / 0)
    (case, *_) = cases((16,), only=["rx/w16/install"])
    assert measure_case(case, Told("pysim")).failure == "ZeroDivisionError: division by zero"


def test_timed_counts_both_directions_once():
    class Device:
        width = 16

        def run(self, *cycles):
            results = tuple(type("Result", (), {"cycles": c}) for c in cycles)
            return results if len(results) > 1 else results[0]

    timed = Timed(Device())
    timed.run(10)
    timed.run(20, 30)
    assert timed.cycles == 40 and timed.width == 16


@pytest.mark.parametrize("measure, status", [(fabricated, 0), (failing, 1)])
def test_command(monkeypatch, capsys, tmp_path, measure, status):
    real = measure_all
    monkeypatch.setattr(sim.bench_all, "measure_all", lambda *args: real(*args, measure=measure))
    page = tmp_path / "page.html"
    command = ["bench", "--engine", "pysim", "--width", "16,64", "--quick", "--jobs", "1", "--html", str(page)]
    assert main([*command, "--json", "-"]) == status
    out = capsys.readouterr()
    data = json.loads(out.out)
    assert set(data) == {
        "engine", "quick", "jobs", "dask", "seed", "sbox", "rx_policy", "summary", "rows", "cases",
    }  # fmt: skip
    assert all(set(row) == FIELDS for row in data["rows"])
    assert data["cases"][0] == {
        "name": "rx/w16/segment_64", "cycles": 1000, "seconds": 0.01, "cycles_per_second": 100000, "failure": "",
    }  # fmt: skip
    assert data["summary"]["missed"] and data["summary"]["failed"] == status
    assert "rx/w16/install_interval" in out.err and page.read_text().startswith("<!doctype html>")
    if status:
        assert [row["failure"] for row in data["rows"] if row["value"] is None] == ["broken <here>"]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["bench", "--only", "nothing-like-it"], "no case is named like"),
        (["bench", "rx", "--quick"], "--quick is for 'ktls-nic bench' alone"),
    ],
)
def test_usage(capsys, monkeypatch, tmp_path, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_dask_that_is_not_installed(capsys, monkeypatch, tmp_path):
    def missing(name):
        raise ImportError(name)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sim.bench_all.importlib, "import_module", missing)
    assert main(["bench", "--engine", "pysim", "--only", "install", "--dask", "tcp://127.0.0.1:1"]) == 2
    assert "--group cluster" in capsys.readouterr().err


def test_dask():
    """Without its own processes: what counts is the way there and back."""
    distributed = pytest.importorskip("distributed", reason="dependency group cluster")
    wanted = cases((16,), quick=True)
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster:
        measured = measure_all(wanted, Told("model"), dask=cluster.scheduler_address, measure=fabricated)
    assert [m.case for m in measured] == wanted and not any(m.failure for m in measured)


@pytest.mark.slow
@pytest.mark.skipif(not can_compile(), reason="no C++ compiler")
def test_real_run(capsys, tmp_path):
    """In two processes; what was measured before stays as good."""
    page = tmp_path / "bench.html"
    command = ["bench", "--engine", "compiled", "--width", "16", "--quick", "--jobs", "2", "--only", "rx/w16,tx/w16"]
    assert main([*command, "--html", str(page), "--json", "-"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert rows["rx/w16/segment_1448"]["value"] >= 15.2 and rows["tx/w16/segment_1448"]["value"] >= 15.2
    assert all(rows[f"rx/w16/{name}"]["met"] for name in ("records_64B", "latency_1448", "install"))
    assert max(abs(row["model_error"] or 0) for row in rows.values()) <= 2
    assert page.read_text().count("<svg") == 6
