"""`ktls-nic bench loss`: the sessions it takes, the figures it gives, what it says where it cannot."""

import json
import shutil

import pytest

import sim.bench_loss
import sim.recording
from model.contract import RxPolicy
from sim.bench_loss import POLICIES, Measured, means, measure_session, recorded
from sim.cli import main
from sim.errors import InputError
from sim.recording import Plan, Session, plans, record, sessions_in, why_not
from tests.sim.conftest import CAPTURES

REORDER = CAPTURES / "tls12-aes128-reorder.pcap"


def bench(*args):
    return main(["bench", "loss", *map(str, args)])


def test_capture_with_every_policy(tmp_path, capsys):
    assert bench("--captures", REORDER, "--json", "-", "--report", tmp_path) == 0
    captured = capsys.readouterr()
    data = json.loads(captured.out)
    assert data["resync"] == "sync"
    points = {p["policy"]: p for p in data["points"]}
    assert list(points) == ["published", "kernel", "full"]
    assert all((p["impairment"], p["percent"], p["sessions"]) == ("reorder", 3.0, 1) for p in points.values())
    assert points["full"]["offloaded"] > points["kernel"]["offloaded"] > 40
    for p in points.values():
        assert p["offloaded"] + p["mixed"] + p["software"] == pytest.approx(100, abs=0.1)
        assert p["offloaded_low"] == p["offloaded"] == p["offloaded_high"]
    assert [run["policy"] for run in data["runs"]] == list(points) and all(run["equal"] for run in data["runs"])
    assert set(data["runs"][0]["resync"]) == {"requests", "confirmed", "self_proven", "ignored"}
    assert {(p["impairment"], p["percent"]) for p in data["published"]} == {("reorder", 2), ("reorder", 5), ("loss", 5)}
    assert "3 % late" in captured.err and "EQUAL: in all 3 runs" in captured.err
    page, chart = ((tmp_path / name).read_text() for name in ("index.html", "loss.svg"))
    assert chart.strip() in page and "tls12-aes128-reorder" in page
    assert chart.count("<circle") == 3 * 3  # policies, panels
    assert "a little over 50 %" not in chart  # 5 % is beyond the axis of 3 %


def test_figures_are_those_of_sim(capsys):
    """The same capture, the same policy, the other command."""
    main(["sim", str(REORDER), "--engine", "model", "--direction", "rx", "--rx-policy", "full", "--json", "-"])
    rx = json.loads(capsys.readouterr().out)["connections"][0]["rx"]
    (full,) = (one for one in measure_session(*sessions_in([REORDER])) if one.policy is RxPolicy.FULL)
    assert full.records == (rx["records_offloaded"], rx["records_mixed"], rx["records_software"])


def test_captures_are_known_by_what_was_written_of_them():
    told = {s.name: (s.tls, s.impairment, s.percent) for s in sessions_in([CAPTURES])}
    assert told["tls13-aes128-clean"] == ("1.3", "none", 0)
    assert told["tls13-aes128-loss"] == ("1.3", "loss", 2.0)
    assert told["tls12-aes128-reorder"] == ("1.2", "reorder", 3.0)
    for other in ("tls13-aes256-loss-reorder-corrupt", "tls12-aes128-tx-loss", "tls13-aes128-mixed-vlan"):
        assert told[other][1] == ""


def test_capture_nothing_is_known_of(tmp_path, capsys):
    for suffix in (".pcap", ".keys"):
        shutil.copy(REORDER.with_suffix(suffix), tmp_path / f"mine{suffix}")
    assert bench("--captures", tmp_path, "--json", "-") == 0
    captured = capsys.readouterr()
    data = json.loads(captured.out)
    assert data["points"] == [] and len(data["runs"]) == 3 and data["runs"][0]["impairment"] is None
    assert "mine" in captured.err


@pytest.mark.parametrize(
    "files, message", [((), "no such file"), ((".pcap",), "no key log x.keys"), (None, "no capture with a key log")]
)
def test_captures_that_cannot_be_used(tmp_path, capsys, files, message):
    for suffix in files or ():
        shutil.copy(REORDER, tmp_path / f"x{suffix}")
    assert bench("--captures", tmp_path if files is None else tmp_path / "x.pcap") == 2
    assert message in capsys.readouterr().err.replace("there is ", "")


def test_applications_that_differ_are_a_failure(monkeypatch, capsys):
    real = sim.bench_loss.measure_session

    def wrong(session, mode):
        return [
            Measured(m.session, m.policy, m.records, m.resync, m.policy is not RxPolicy.FULL) for m in real(session)
        ]

    monkeypatch.setattr(sim.bench_loss, "measure_session", wrong)
    assert bench("--captures", REORDER) == 1
    assert "DIFFERENT" in capsys.readouterr().out.replace("\n", " ")


def test_where_nothing_can_be_recorded(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sim.recording, "why_not", lambda: "no tap here")
    monkeypatch.setattr(sim.recording, "BUNDLED", tmp_path / "none")
    assert bench() == 2
    assert "cannot record sessions: no tap here. Give captures" in capsys.readouterr().err
    bundled = tmp_path / "bundled"
    bundled.mkdir()
    for suffix in (".pcap", ".keys", ".json"):
        shutil.copy(REORDER.with_suffix(suffix), bundled)
    monkeypatch.setattr(sim.recording, "BUNDLED", bundled)
    assert bench() == 0
    captured = capsys.readouterr()
    assert "Taking the bundled captures" in captured.err and "3 % late" in captured.out


def test_plans_and_recordings_kept(monkeypatch, tmp_path):
    wanted = plans((0, 2), 2, 1000, ("1.2", "1.3"))
    assert len(wanted) == 3 * 2 * 2 and len({p.name for p in wanted}) == 12
    commands = []

    class Done:
        returncode, stderr = 0, ""

    def run(command, **_):
        commands.append(command)
        stem = command[command.index("--out") + 1]
        for suffix in (".pcap", ".json"):
            open(stem + suffix, "w").close()
        return Done

    monkeypatch.setattr(sim.recording.subprocess, "run", run)
    sessions = recorded(wanted, tmp_path, lambda *_: None)
    assert len(commands) == 12 and [s.name for s in sessions] == [p.name for p in wanted]
    assert ["--reorder", "0.02"] == commands[-1][-2:]
    assert recorded(wanted, tmp_path, lambda *_: None) == sessions and len(commands) == 12


def test_recording_that_fails(monkeypatch, tmp_path):
    class Done:
        returncode, stderr = 1, "Traceback\nip: not permitted\n"

    monkeypatch.setattr(sim.recording.subprocess, "run", lambda *_, **__: Done)
    with pytest.raises(InputError, match="recording tls13-loss2-1000B-1 failed: ip: not permitted"):
        record(Plan("1.3", "loss", 2, 1, 1000), tmp_path)


def test_means_weigh_records():
    def one(records, impairment="loss", percent=1.0):
        session = Session(CAPTURES, "1.3", impairment, percent, 1)
        return [Measured(session, policy, records, {}, True) for policy in POLICIES]

    found = means([*one((90, 10, 0)), *one((0, 0, 300)), *one((5, 5, 0), "none", 0.0), *one((1, 0, 0), "")])
    assert [(m.impairment, m.percent, m.sessions) for m in found[::3]] == [
        ("loss", 0.0, 1),
        ("loss", 1.0, 2),
        ("reorder", 0.0, 1),
    ]
    assert found[3].shares == (22.5, 2.5, 75) and found[3].low == (0, 0, 0) and found[3].high == (90, 10, 100)


@pytest.mark.slow
@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_recorded_here(tmp_path, capsys):
    assert bench("--points", "0,5", "--seeds", 1, "--size", 200_000, "--keep", tmp_path, "--json", "-") == 0
    data = json.loads(capsys.readouterr().out)
    assert {(p["impairment"], p["percent"]) for p in data["points"]} == {
        (kind, percent) for kind in ("loss", "reorder") for percent in (0, 5)
    }
    assert all(p["offloaded"] == 100 for p in data["points"] if not p["percent"])
    assert len(list(tmp_path.glob("*.pcap"))) == 3
