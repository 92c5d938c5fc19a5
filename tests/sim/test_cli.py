"""The command line: exit status, JSON, files, and what it says to bad input."""

import json
import re
import shutil
import struct
import subprocess
import sys

import pytest

from sim.capture import read_capture
from sim.cli import main
from sim.pcapng import PcapngWriter
from tests.sim.conftest import CAPTURES
from tests.sim.sessions import frames

CLEAN = CAPTURES / "tls13-aes128-clean.pcap"
MODEL = ["--engine", "model"]


def sim(*args, capture=CLEAN):
    return main(["sim", str(capture), *MODEL, *map(str, args)])


def write_pcap(path, some_frames, link_type=1):
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link_type)
    for n, frame in enumerate(some_frames):
        out += struct.pack("<IIII", n, 0, len(frame), len(frame)) + frame
    path.write_bytes(out)
    return path


def test_table_and_verdict(capsys):
    assert sim() == 0
    out = capsys.readouterr().out
    assert "10.77.0.2:4433" in out and "AES_128_GCM_SHA256" in out and "22/0/0" in out
    assert "EQUAL: golden model only (no RTL), 229 packets" in out


def test_table_fits_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert sim(capture=CAPTURES / "tls13-aes128-16conn.pcap") == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_json_fields_are_those_of_the_interface(capsys):
    assert sim("--json", "-") == 0
    captured = capsys.readouterr()
    data = json.loads(captured.out)
    assert {"engine", "width", "cycles", "cycles_per_second", "packets", "connections", "counters"} <= set(data)
    assert {"total", "compared", "mismatches"} <= set(data["packets"])
    (connection,) = data["connections"]
    assert {"client", "server", "version", "cipher", "offloaded", "reason", "rx"} <= set(connection)
    assert set(connection["rx"]) == {
        "application_bytes",
        "application_sha256",
        "packets",
        "packets_decrypted",
        "records",
        "records_offloaded",
        "records_mixed",
        "records_software",
        "resync_requests",
    }
    recorded = json.loads(CLEAN.with_suffix(".json").read_text())["connections"][0]
    assert connection["rx"]["application_sha256"] == recorded["server_to_client_sha256"]
    assert data["counters"]["rx_tls_decrypted_packets"] == connection["rx"]["packets_decrypted"]
    assert "EQUAL" in captured.err  # the table goes where the JSON does not


@pytest.mark.parametrize("direction", ["rx", "tx", "both"])
def test_directions(capsys, direction):
    assert sim("--direction", direction, "--json", "-") == 0
    captured = capsys.readouterr()
    data = json.loads(captured.out)
    (connection,) = data["connections"]
    assert data["direction"] == direction and connection["offloaded"]
    assert (connection["rx"] is None) is (direction == "tx")
    assert (connection["tx"] is None) is (direction == "rx")
    total = {"rx": 229, "tx": 100, "both": 329}[direction]
    assert data["packets"]["total"] == total
    assert any(name.startswith("tx_tls_") for name in data["counters"]) is (direction != "rx")
    assert ("what the host sent" in captured.err) is (direction != "rx")
    assert ("(client > server)" in captured.err) is (direction != "tx")
    if direction != "rx":
        assert "all 100 packets sent are on the wire as they were captured, 15 of them encrypted" in flat(captured.err)


def flat(text):
    return " ".join(text.split())


@pytest.mark.parametrize(("resync", "moved"), [("rebuild", 103195), ("next-record", 0), ("prefix", 352)])
def test_mechanisms(capsys, resync, moved):
    capture = CAPTURES / "tls12-aes128-tx-loss.pcap"
    assert sim("--direction", "tx", "--tx-resync", resync, "--json", "-", capture=capture) == 0
    data = json.loads(capsys.readouterr().out)
    tx = data["connections"][0]["tx"]
    assert set(tx) == {
        "packets",
        "packets_encrypted",
        "wire_identical",
        "wire_mismatches",
        "out_of_order",
        "fallback",
        "dropped",
        "replayed_bytes",
    }
    assert tx["replayed_bytes"] == moved and tx["out_of_order"] == 11 and tx["wire_identical"] == tx["packets"] == 296
    assert tx["fallback"] == (11 if resync == "next-record" else 0) == tx["packets"] - tx["packets_encrypted"]


@pytest.mark.parametrize("policy", ["published", "kernel", "full"])
def test_rx_policy(tmp_path, capsys, policy):
    capture = CAPTURES / "tls13-aes256-loss-reorder-corrupt.pcap"
    out, report = tmp_path / "x.pcapng", tmp_path / "r"
    args = ("--rx-policy", policy, "--direction", "rx", "--json", "-", "--out", out, "--report", report)
    assert sim(*args, capture=capture) == 0
    captured = capsys.readouterr()
    data = json.loads(captured.out)
    (connection,) = data["connections"]
    assert data["rx_policy"] == policy
    assert connection["resync"] == {"requests": 1, "confirmed": 1, "self_proven": 0, "ignored": 0}
    assert data["counters"]["rx_tls_resync_req_pkt"] == 1
    assert " 1/1/0 " in captured.err
    page = (report / "index.html").read_text()
    assert f"receive policy {policy};" in page
    said = "asks the host whether a record begins at sequence number 2668037019"
    for text in (out.read_bytes().decode(errors="replace"), page):
        assert text.count(said) == 1


def test_policy_and_resyncs_without_a_receive_direction(capsys):
    assert sim("--direction", "tx", "--json", "-") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["rx_policy"] is None and data["connections"][0]["resync"] is None


def test_every_status_is_explained():
    from model.commands import Descriptor
    from model.contract import Checksum, Status
    from sim.annotate import describe

    said = {describe(Descriptor(status, Checksum.GOOD, True, 5, proven=True)) for status in Status}
    assert len(said) == len(Status) and all("proves the headers found behind a gap" in text for text in said)


def test_nothing_sent_can_be_read(tmp_path, capsys):
    path = tmp_path / "x.keys"
    text = CLEAN.with_suffix(".keys").read_text()
    path.write_text(re.sub(r"(CLIENT_TRAFFIC_SECRET_0 \w+) \w+", r"\1 " + "00" * 32, text))
    assert sim("--keys", path, "--direction", "tx") == 2
    captured = capsys.readouterr()
    assert "nothing the host sends could be read: no record of what the host sends decrypts" in flat(captured.err)
    assert "NOTHING ENCRYPTED" in captured.out
    # the receive direction does not need it
    assert sim("--keys", path) == 0


def test_a_packet_that_leaves_changed_is_exit_status_1(monkeypatch, capsys, tmp_path):
    from dataclasses import replace

    from tests.sim.test_tx_run import GoldenEngine

    def flip(number, sent):
        return [replace(sent[0], frame=sent[0].frame[:-1] + b"?")] if number == 50 else sent

    monkeypatch.setattr("sim.cli._make_tx_engine", lambda name, config, progress: GoldenEngine(flip))
    report = tmp_path / "r"
    assert main(["sim", str(CLEAN), "--direction", "tx", "--engine", "pysim", "--report", str(report)]) == 1
    out = flat(capsys.readouterr().out)
    assert "DIFFERENT: packet " in out and "frame byte" in out and "-tx-batch" in out
    assert "Differences" in (report / "index.html").read_text()


def test_json_is_described(tmp_path):
    path = tmp_path / "x.json"
    assert sim("--json", path) == 0
    described = (CAPTURES.parents[2] / "docs" / "json.md").read_text()
    data = json.loads(path.read_text())

    def names(value):
        if isinstance(value, dict):
            for key, inner in value.items():
                yield key
                if key not in ("device_counters", "tx_device_counters"):
                    yield from names(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from names(inner)

    missing = {n for n in names(data) if f"`{n}`" not in described}
    assert not missing


def test_out_is_the_capture_with_plaintext_and_comments(tmp_path):
    path = tmp_path / "x.pcapng"
    assert sim("--out", path) == 0
    before, after = read_capture(CLEAN), read_capture(path)
    assert len(after.packets) == len(before.packets)
    assert after.key_log == CLEAN.with_suffix(".keys").read_text()
    changed = sum(a.frame != b.frame for a, b in zip(after.packets, before.packets, strict=True))
    assert changed == 213
    from scapy.utils import RawPcapNgReader

    with RawPcapNgReader(str(path)) as reader:
        comments = [meta.comments[0].decode() for _, meta in reader]
    assert sum(c.startswith("ktls-nic: DECRYPTED") for c in comments) == 213
    assert any(re.search(r"stream bytes \d+\.\.\d+, records? \d+", c) for c in comments)


def test_report_is_one_page_that_needs_nothing_else(tmp_path):
    assert sim("--report", tmp_path / "out", capture=CAPTURES / "tls13-aes256-loss-reorder-corrupt.pcap") == 0
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("<svg") > 5 and "rx_tls_decrypted_packets" in page
    assert not re.search(r"(src|href)=", page)
    assert "RETRANSMISSION" in page and 'class="start"' in page and 'class="bad"' in page


def test_report_draws_both_directions(tmp_path):
    options = ("--report", tmp_path / "out", "--tx-resync", "rebuild")
    assert sim(*options, capture=CAPTURES / "tls12-aes128-tx-loss.pcap") == 0
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<h2>Received</h2>" in page and "<h2>Sent</h2>" in page
    assert page.count('class="rebuilt"') > 11 and "tx_tls_ooo" in page and "bytes over the bus for it" in page


def test_secrets_inside_the_capture(tmp_path, capsys):
    path = tmp_path / "x.pcapng"
    with PcapngWriter(path, CLEAN.with_suffix(".keys").read_text()) as writer:
        for p in read_capture(CLEAN).packets:
            writer.write(p.frame, p.time_ns, p.wire_length, "", True)
    assert sim(capture=path) == 0
    assert "22/0/0" in capsys.readouterr().out


def test_truncated_capture_runs_what_is_whole_and_says_so(tmp_path, capsys):
    path = tmp_path / "x.pcap"
    path.write_bytes(CLEAN.read_bytes()[:200_000])
    assert sim("--keys", CLEAN.with_suffix(".keys"), capture=path) == 2
    captured = capsys.readouterr()
    assert re.search(r"the file ends inside packet 1\d\d .*file byte 200000\)", captured.err)
    assert "EQUAL" in captured.out


def test_no_handshake(tmp_path, capsys):
    path = write_pcap(tmp_path / "x.pcap", frames(read_capture(CLEAN))[60:])
    assert sim("--keys", CLEAN.with_suffix(".keys"), capture=path) == 2
    captured = capsys.readouterr()
    assert "no TLS connection could be read: handshake not in the capture (starts in the middle)" in captured.err
    assert "NOTHING READ" in captured.out


def test_key_log_of_another_session(capsys):
    assert sim("--keys", CAPTURES / "tls13-aes128-loss.keys") == 2
    assert "no secrets in the key log for client random c09ed80a" in capsys.readouterr().err


def test_no_key_log(tmp_path, capsys):
    path = tmp_path / "alone.pcap"
    shutil.copy(CLEAN, path)
    assert sim(capture=path) == 2
    assert "no key log for client random c09ed80a" in capsys.readouterr().err


def test_keys_that_do_not_fit(tmp_path, capsys):
    path = tmp_path / "x.keys"
    text = CLEAN.with_suffix(".keys").read_text()
    path.write_text(re.sub(r"(SERVER_TRAFFIC_SECRET_0 \w+) \w+", r"\1 " + "00" * 32, text))
    assert sim("--keys", path) == 2
    assert "the keys do not fit (record 0: authentication failed)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p.mkdir(), "is a directory, not a capture"),
        (lambda p: p.write_bytes(b""), "the file is empty"),
        (lambda p: p.write_bytes(b"hello world"), "neither pcap nor pcapng"),
        (lambda p: write_pcap(p, [bytes(60)], 276), r"link type 276 (Linux cooked capture v2 (SLL2))"),
        (lambda p: None, "No such file or directory"),
        (lambda p: write_pcap(p, []), "no packets in the capture"),
        (lambda p: write_pcap(p, [bytes(60)]), "there is no TCP connection of this host in it"),
    ],
)
def test_files_that_are_no_capture(tmp_path, capsys, make, message):
    path = tmp_path / "x.pcap"
    make(path)
    assert sim(capture=path) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--keys", "/nonexistent/x"], "No such file"),
        (["--connections", "100"], "must be a power of two"),
        (["--host", "10.0.0.9"], "no TCP packet from or to it"),
        (["--out", "/nonexistent/x.pcapng"], "there is no folder /nonexistent"),
        (["--json", "/nonexistent/x.json"], "there is no folder /nonexistent"),
    ],
)
def test_arguments_that_cannot_be(capsys, args, message):
    assert sim(*args) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("args", [["--backpressure", "1"], ["--width", "8"], ["--engine", "x"], ["--idle", "-1"]])
def test_arguments_argparse_refuses(capsys, args):
    with pytest.raises(SystemExit) as stop:
        sim(*args)
    assert stop.value.code == 2 and args[0] in capsys.readouterr().err


def test_malformed_key_log_names_the_line(tmp_path, capsys):
    path = tmp_path / "x.keys"
    path.write_text("# fine\nCLIENT_RANDOM 00\n")
    assert sim("--keys", path) == 2
    assert "x.keys, line 2" in capsys.readouterr().err


def test_difference_is_exit_status_1(monkeypatch, capsys, tmp_path):
    from model.commands import Delivery
    from tests.sim.test_run_model import GoldenEngine

    def flip(number, delivery):
        frame = delivery.frame[:-1] + b"?" if number == 50 else delivery.frame
        return Delivery(frame, delivery.descriptor)

    monkeypatch.setattr("sim.cli._make_engine", lambda name, config, progress: GoldenEngine(config, flip))
    report = tmp_path / "r"
    assert main(["sim", str(CLEAN), "--direction", "rx", "--engine", "pysim", "--report", str(report)]) == 1
    out = capsys.readouterr().out.replace("\n", " ")
    assert "DIFFERENT: packet " in out and "waveform of the failing stretch: " in out and "--seed 1" in out
    assert "Differences" in (report / "index.html").read_text()


@pytest.mark.parametrize("module, what", [("bench", "rx"), ("bench", "tx"), ("bench_duplex", "duplex")])
def test_bench_rows_are_those_of_the_interface(monkeypatch, capsys, module, what):
    from hw.config import Config
    from sim.bench import Row

    policy = None if what == "tx" else Config.rx_policy.value

    def measure(widths, engine, seed, progress, shape):
        assert shape == Config(sbox="bram")
        progress("measuring", 0.5)
        return [Row(f"{what}/w{width}/{engine}", 1.5, "B/cycle", None) for width in widths]

    monkeypatch.setattr(f"sim.{module}.bench_{what}", measure)
    assert (
        main(["bench", what, "--engine", "pysim", "--width", "32", "--seed", "7", "--sbox", "bram", "--json", "-"]) == 0
    )
    row = {"name": f"{what}/w32/pysim", "value": 1.5, "unit": "B/cycle", "target": None}
    assert json.loads(capsys.readouterr().out) == {
        "seed": 7, "sbox": "bram", "rx_policy": policy, "rows": [row],
    }  # fmt: skip


@pytest.mark.parametrize("command", [[], ["sim"], ["generate"], ["bench"]])
def test_help_teaches(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    assert "ktls-nic" in capsys.readouterr().out


def test_as_a_program():
    command = [sys.executable, "-m", "sim.cli", "sim", str(CLEAN), *MODEL, "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CAPTURES.parents[2], check=False)
    assert done.returncode == 0 and json.loads(done.stdout)["equal"] is True
