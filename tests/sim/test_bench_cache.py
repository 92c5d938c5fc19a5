"""`ktls-nic bench cache`: what it finds where reasoning says what comes out, its JSON and its chart, bad values."""

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from model.contract import RxPolicy
from model.cycles.context import MEMORIES, STATE_BYTES
from model.cycles.packets import HEADERS
from sim.bench_cache import FRAMING, Settings, bench_cache, clock_for
from sim.cache_chart import cache_chart
from sim.cli import main
from sim.cli_bench import MOST_CONNECTIONS

SETTINGS = Settings(MEMORIES["ddr4"], packets=2000)
LINE = 400 * 1448 / (1448 + HEADERS + FRAMING)
"""Payload of a full link, Gb/s."""


def bench(*args):
    return main(["bench", "cache", *map(str, args)])


def test_no_rate_is_lost_if_all_fit():
    rows = bench_cache(SETTINGS, (1, 200, 256), (256,))
    assert len(rows) == 3
    for row in rows:
        assert (row.hit_rate, row.share, row.traffic) == (1, 1, 0)
        assert row.rate == pytest.approx(LINE, rel=1e-3)


@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_more_connections_never_hit_more(exponent: float):
    rows = bench_cache(replace(SETTINGS, exponent=exponent), (64, 256, 4096), (64, 256))
    for entries in (64, 256):
        hits = [row.hit_rate for row in rows if row.entries == entries]
        assert hits == sorted(hits, reverse=True) and hits[0] == 1 > hits[-1]
    for small, large in zip(rows[::2], rows[1::2], strict=True):
        assert small.hit_rate <= large.hit_rate and small.rate <= large.rate * 1.001 <= large.alone * 1.002


def test_all_alike():
    """A cache of a quarter of the connections holds a quarter of what comes; a miss moves contexts both ways."""
    (row,) = bench_cache(replace(SETTINGS, exponent=0.0), (1024,), (256,))
    assert row.hit_rate == pytest.approx(0.25, abs=0.03)
    memory = SETTINGS.memory
    assert row.read / row.written == pytest.approx(memory.moved(SETTINGS.read) / memory.moved(SETTINGS.state))
    packets_a_ns = row.rate / (8 * SETTINGS.segment)
    assert row.read == pytest.approx(8 * packets_a_ns * (1 - row.hit_rate) * memory.moved(SETTINGS.read))


def test_bandwidth_is_the_limit():
    """Nearly every packet misses: what the memory moves is the rate, and it moves what it can."""
    slow = replace(SETTINGS, memory=replace(SETTINGS.memory, bandwidth=20), exponent=0.0)
    (row,) = bench_cache(slow, (1 << 16,), (64,))
    assert row.traffic == pytest.approx(slow.reach, rel=0.02) and row.share < 0.5
    (state,) = bench_cache(replace(slow, state=208), (1 << 16,), (64,))
    assert state.rate > 2 * row.rate


def test_trains_hit():
    one, four = (bench_cache(replace(SETTINGS, exponent=0.0, train=n), (1 << 16,), (64,))[0] for n in (1, 4))
    assert one.hit_rate < 0.01 and four.hit_rate == pytest.approx(0.75, abs=0.01)


def test_the_same_seed_is_the_same_run():
    rows = [bench_cache(replace(SETTINGS, packets=1000, seed=n), (4096,), (256,)) for n in (3, 3, 4)]
    assert rows[0] == rows[1] != rows[2]


def test_json_and_chart(tmp_path, capsys):
    svg = tmp_path / "cache.svg"
    given = ("--connections", "64,4096", "--entries", "256,64", "--packets", 1000, "--seed", 7, "--latency", 200)
    assert bench(*given, "--svg", svg, "--json", "-") == 0
    captured = capsys.readouterr()
    data = json.loads(captured.out)
    rows = data.pop("rows")
    assert data.pop("memory") == {"name": "ddr4", "latency": 200, "bandwidth": 38.4, "efficiency": 0.8, "burst": 64}
    assert data == {
        "link": 400,
        "clock": 800,
        "width": 64,
        "segment": 1448,
        "record": 16384,
        "exponent": 1,
        "train": 1,
        "state": 1106,
        "read": 1519,
        "reach": pytest.approx(245.76),
        "ways": 8,
        "misses": 16,
        "sbox": "rom",
        "rx_policy": "full",
        "packets": 1000,
        "seed": 7,
    }
    assert [(row["connections"], row["entries"]) for row in rows] == [(64, 64), (64, 256), (4096, 64), (4096, 256)]
    fields = {"connections", "entries", "rate", "alone", "share", "hit_rate", "read", "written", "traffic", "doubt"}
    assert all(set(row) == fields for row in rows)
    assert "seed 7" in captured.err and "hits, % of packets" in captured.err
    drawn = ElementTree.fromstring(svg.read_text())
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}circle"))) == 3 * len(rows)


def test_policy_and_memory_say_what_is_moved(capsys):
    given = ("--connections", 1024, "--entries", 64, "--packets", 1000, "--width", 16, "--link", 100)
    assert bench(*given, "--rx-policy", "published", "--memory", "hbm2", "--json", "-") == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["state"], data["read"], data["memory"]["burst"]) == (48, 48 + 45 + 320, 32)
    assert data["clock"] == clock_for(100, 16) == pytest.approx(800)
    assert set(STATE_BYTES) == {policy.value for policy in RxPolicy}


@pytest.mark.parametrize("connections", [(1,), (1, 1 << 20)])
def test_chart_of_what_has_no_traffic(connections):
    ElementTree.fromstring(cache_chart(bench_cache(replace(SETTINGS, packets=1000), connections, (8,)), "a < b"))


@pytest.mark.parametrize(
    "wrong, said",
    [
        (("--entries", "100"), "100 is no multiple of the 8 ways"),
        (("--entries", str(MOST_CONNECTIONS * 2)), "more than the"),
        (("--connections", str(MOST_CONNECTIONS + 1)), "more than the"),
        (("--width", "16", "--width", "64"), "takes one"),
        (("--packets", "10"), "--packets: 10 is not from 1,000"),
        (("--segment", "20000"), "--segment: 20,000 is not from 1 to 9,000"),
        (("--record", "16385"), "--record: 16,385 is not"),
        (("--seed", "-1"), "--seed: -1 is not"),
        (("--svg", "/no/such/folder/a.svg"), "there is no folder"),
        (("--json", "/"), "is a folder"),
    ],
)
def test_what_cannot_be(wrong, said, capsys):
    assert bench(*wrong) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        ("--connections", "0,4"),
        ("--connections", "many"),
        ("--zipf", "-1"),
        ("--link", "0"),
        ("--clock", "nan"),
        ("--memory", "sram"),
        ("--bandwidth", "inf"),
    ],
)
def test_what_is_no_number(wrong, capsys):
    with pytest.raises(SystemExit) as ended:
        bench(*wrong)
    assert ended.value.code == 2 and f"argument {wrong[0]}" in capsys.readouterr().err
