"""`ktls-nic generate`: files, sidecar, exit status. The device inside is a stand-in, so that it takes a second."""

import json
import re

import pytest

import hw.axi.top
import hw.corundum.top
from hw.axi.documents import c_header, markdown
from hw.axi.systemrdl import system_rdl
from hw.config import PRESETS, Config
from hw.verilog import generate
from sim.cli import main
from sim.generate import LINT_WAIVERS, signals
from tests.hw.test_axi_top import TxStandIn
from tests.hw.test_verilog import lint
from tests.sim.standin import StandIn


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setattr(hw.axi.top, "RxDevice", StandIn)


def test_a_file_and_its_sidecar(tmp_path):
    path = tmp_path / "nic.v"
    assert main(["generate", "--preset", "tiny", "--width", "32", "--overload", "raw", "-o", str(path)]) == 0
    source = path.read_text()
    sidecar = json.loads((tmp_path / "nic.json").read_text())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["nic.json", "nic.v"]
    assert sidecar["module"] == "ktls_nic_rx" and f"module {sidecar['module']}(" in source
    assert sidecar["configuration"]["width"] == 32 and sidecar["configuration"]["connections"] == 8
    assert sidecar["configuration"]["overload"] == "raw"
    assert sidecar["configuration"]["top"] == "rx" and sidecar["tools"]["amaranth"]
    assert {"name": "s_axis_rx_tdata", "direction": "input", "width": 256} in sidecar["ports"]
    assert sidecar["tuser"]["m_axis_rx_tuser"]["status"] == {"offset": 0, "width": 4}
    assert lint(path, "ktls_nic_rx") == []


def test_the_same_bytes_twice(tmp_path):
    for name in ("a", "b"):
        assert main(["generate", "-o", str(tmp_path / f"{name}.v")]) == 0
    assert (tmp_path / "a.v").read_bytes() == (tmp_path / "b.v").read_bytes()


def test_standard_output_and_rtlil(capsys):
    assert main(["generate", "--format", "rtlil"]) == 0
    assert "module \\ktls_nic_rx\n" in capsys.readouterr().out


def test_extras(tmp_path):
    assert main(["generate", "-o", str(tmp_path / "nic.v"), "--with-extras"]) == 0
    registers = {"nic_registers.h", "nic_registers.md", "nic_registers.rdl"}
    names = {"nic.v", "nic.json", "nic.core", "nic.f", "nic.vlt", *registers}
    assert {p.name for p in tmp_path.iterdir()} == names
    assert (tmp_path / "nic.f").read_text() == "nic.v\n"
    assert (tmp_path / "nic.vlt").read_text() == LINT_WAIVERS.read_text()
    assert (tmp_path / "nic_registers.h").read_text() == c_header()
    assert (tmp_path / "nic_registers.md").read_text() == markdown()
    assert (tmp_path / "nic_registers.rdl").read_text() == system_rdl("rx")
    core = (tmp_path / "nic.core").read_text()
    assert core.startswith("CAPI=2:\n")  # by this line FuseSoC knows the file
    assert set(re.findall(r"files: \[(.*)\]", core)) <= names and "toplevel: ktls_nic_rx" in core


def test_corundum(tmp_path, monkeypatch):
    monkeypatch.setattr(hw.corundum.top, "RxDevice", StandIn)
    monkeypatch.setattr(hw.corundum.top, "TxDevice", TxStandIn)
    arguments = ["--top", "corundum", "--preset", "tiny", "--tap", "tx_user=6", "--tap", "rx_dest=12"]
    path = tmp_path / "nic.v"
    assert main(["generate", *arguments, "-o", str(path), "--with-extras"]) == 0
    sidecar = json.loads((tmp_path / "nic.json").read_text())
    widths = {port["name"]: port["width"] for port in sidecar["ports"]}
    assert sidecar["module"] == "ktls_nic_corundum"
    assert (widths["m_axis_if_tx_tuser"], widths["s_axis_if_tx_cpl_tag"], widths["s_axis_if_rx_tdest"]) == (6, 5, 12)
    assert widths["s_axis_if_rx_tdata"] == 128 and widths["m_axis_if_rx_tuser"] == 97
    assert sidecar["headers"]["tx"]["record_number"] == {"offset": 128, "width": 64}

    # the instance, in a block that has ports of its names and wider buses of addresses
    buses = [
        f"{p['direction']} wire [{23 if p['name'].endswith('addr') else p['width'] - 1}:0] {p['name']}"
        for p in sidecar["ports"]
    ]
    instance = (tmp_path / "nic_instance.v").read_text()
    block = f"module block (\n{','.join(buses)}\n);\n{instance}endmodule\n"
    (tmp_path / "block.v").write_text(block + path.read_text())
    assert [line for line in lint(tmp_path / "block.v", "block") if "UNUSEDSIGNAL" not in line] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--connections", "100"], "connections 100"),
        (["--with-extras"], "name one with -o"),
        (["-o", "nowhere/nic.v"], "no folder"),
        (["-o", "nic.json"], "end it in .v"),
        (["--connections", "0"], "connections 0"),
        (["--tap", "tx_id=9"], "only --top corundum"),
        (["--top", "corundum", "--tap", "tid=9"], "there are tx_id"),
        (["--top", "corundum", "--tap", "tx_user=1"], "tx_user 1: must be 2 to 128"),
        (["--top", "corundum", "--tap", "tx_user"], "--tap: "),
    ],
)
def test_what_cannot_be_made_is_said(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["generate", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["verilog", "rtlil"])
def test_signals_worth_watching_are_there(form):
    source = generate(Config(), "rx", form)
    paths = signals(source)
    assert {f"ktls_nic_rx.{room}.commands__ready" for room in ("receive", "receive_registers")} <= set(paths)
    for path in paths:
        module, _, name = path.rpartition(".")
        body = source[re.search(rf"^module \\?{re.escape(module)}\b", source, re.M).end() :]
        assert re.search(rf"\b{name}\b", re.split(r"^end(?:module)?$", body, maxsplit=1, flags=re.M)[0]), path
        # a module's name is its path: each is there once
        parent, _, instance = module.rpartition(".")
        assert not parent or re.search(rf"\\{re.escape(module)} +\\?{instance}\b", source), path


def test_the_presets_of_the_issue_are_there():
    assert {"tiny", "ecp5", "100g"} <= PRESETS.keys()
    assert PRESETS["ecp5"].width == 16 and PRESETS["100g"].width == 64
