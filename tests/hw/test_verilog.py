"""Generated Verilog: blocks that run, ports, lint, memories, the same bytes each time."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from amaranth.back import rtlil, verilog
from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.axi.documents import c_header, markdown
from hw.config import PRESETS
from hw.verilog import TOPS, generate, make_top, module_name
from hw.verilog_text import clean, trigger_constants, untriggered
from sim.engine.toolchain import find_verilator
from sim.generate import LINT_WAIVERS, describe_ports

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "registers.md"
GOLDEN = ROOT / "tests" / "data" / "ports.json"


def lint(path, top, waivers=True):
    """What Verilator says of a file."""
    root = find_verilator()
    assert root is not None
    command = [root / "bin" / "verilator_bin", "--lint-only", "-Wall", "--top-module", top]
    files = [*([LINT_WAIVERS] if waivers else []), path]
    done = subprocess.run(
        [*command, *files], capture_output=True, text=True, env={**os.environ, "VERILATOR_ROOT": root}
    )
    complaints = [line for line in done.stderr.splitlines() if line.startswith("%")]
    assert complaints or done.returncode == 0, done.stderr
    return complaints


PARTS = data.StructLayout({"constant": 3, "chosen": 4, "plain": 2, "zero": 1})


class Parts(wiring.Component):
    """A structure whose parts are driven in every way, two of them by constants."""

    def __init__(self):
        super().__init__({"select": In(1), "value": In(4), "parts": Out(PARTS)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.parts.constant.eq(5), self.parts.plain.eq(self.value), self.parts.zero.eq(0)]
        with m.If(self.select):
            m.d.comb += self.parts.chosen.eq(self.value)
        return m


def test_constants_of_a_structure_are_in_blocks_that_run(tmp_path):
    plain = verilog.convert(Parts(), name="dut", emit_src=False, strip_internal_attrs=True)
    assert len(untriggered(plain)) == 2, "Yosys has changed how it writes them"
    good = trigger_constants(plain)
    assert not untriggered(good)
    assert sorted(re.findall(r"parts\[[^=]*= [^;]*;", good)) == sorted(re.findall(r"parts\[[^=]*= [^;]*;", plain))
    for name, source in (("plain", plain), ("good", good)):
        (tmp_path / f"{name}.v").write_text(source)
    assert any("ALWNEVER" in line for line in lint(tmp_path / "plain.v", "dut"))
    assert lint(tmp_path / "good.v", "dut") == []


class Nothing(wiring.Component):
    """A named signal without bits, beside one that has some."""

    def __init__(self):
        super().__init__({"i": In(3), "o": Out(3)})

    def elaborate(self, platform):
        m = Module()
        nothing = Signal(0)
        m.d.comb += [nothing.eq(self.i), self.o.eq(self.i + nothing)]
        return m


def test_signals_without_bits_are_left_out(tmp_path):
    plain = verilog.convert(Nothing(), name="dut", emit_src=False, strip_internal_attrs=True)
    assert "[-1:0]" in plain, "Yosys has changed how it writes them"
    (tmp_path / "dut.v").write_text(clean(plain))
    assert lint(tmp_path / "dut.v", "dut") == []


def test_a_variable_that_is_all_constant_is_refused():
    with pytest.raises(ValueError, match="no other block drives a"):
        trigger_constants("module m;\n  reg [1:0] a;\n  always @*\n    a[1] = 1'h0;\nendmodule\n")


def test_waivers_are_few_and_have_their_reasons():
    lines = LINT_WAIVERS.read_text().splitlines()
    rules = [line.split()[-1] for line in lines if line.startswith("lint_off")]
    assert len(rules) <= 10 and not {"ALWNEVER", "UNDRIVEN", "LATCH", "MULTIDRIVEN", "UNOPTFLAT", "WIDTH"} & set(rules)
    for number, line in enumerate(lines):
        if line.startswith("lint_off"):
            assert lines[number - 1].startswith(("//", "lint_off"))


@pytest.mark.parametrize("preset", PRESETS)
def test_ports_are_the_golden_ones(preset):
    """A change here is a change of what users have connected: write the file again only if it is meant.

    `python -m tests.hw.test_verilog` writes it.
    """
    golden = json.loads(GOLDEN.read_text())
    assert golden[preset] == golden_ports(preset)


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "top"), [("tiny", "rx"), ("tiny", "tx"), ("100g", "duplex"), ("100g", "corundum")])
def test_generated_verilog(preset, top, tmp_path):
    """Lint is silent, every block runs, the ports are those described, and there is nothing but plain Verilog."""
    source = generate(PRESETS[preset], top)
    path = tmp_path / f"{module_name(top)}.v"
    path.write_text(source)
    assert lint(path, module_name(top)) == []
    assert untriggered(source) == []

    module = re.search(rf"^module {module_name(top)}\((.*?)\);\n(.*?)^endmodule", source, re.M | re.S)
    found = {}
    for direction, high, name in re.findall(r"^  (input|output) (?:\[(\d+):0\] )?(\w+)\s*;", module[2], re.M):
        found[name] = [direction, int(high or 0) + 1]
    assert found == golden_ports(preset)[top]["ports"]
    assert {name.strip() for name in module[1].split(",")} == set(found)

    modules = set(re.findall(r"^module (\\\S+|\w+)", source, re.M))
    instances = set(re.findall(r"^  (\\\S+|\w+)\s+(?:\\\S+|\w+)\s*\(\n\s*\.", source, re.M))
    assert instances == modules - {module_name(top)}, "an instance of what is not in the file"
    assert not re.search(r"\b(always_comb|always_ff|logic|bit|unique|priority)\b", re.sub(r"\\\S+", "", source))


@pytest.mark.slow
@pytest.mark.parametrize("top", TOPS)
def test_memories_have_no_transparent_ports(top):
    """A clocked read port that sees a write of the same cycle is not inferred as block RAM by every tool."""
    source = rtlil.convert(make_top(PRESETS["tiny"], top), name="top", emit_src=False)
    ports = re.findall(r"^  cell \$memrd_v2 .*?^  end", source, re.M | re.S)
    clocked = [port for port in ports if "\\CLK_ENABLE 1" in port]
    assert len(clocked) > 5
    assert all(set(re.search(r"TRANSPARENCY_MASK \d+'(\d*)", port)[1]) <= {"0"} for port in ports)


@pytest.mark.slow
def test_the_same_bytes_in_another_process():
    command = [sys.executable, "-m", "sim.cli", "generate", "--preset", "tiny", "--top", "tx"]
    outputs = set()
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        outputs.add(subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True).stdout)
    assert len(outputs) == 1 and b"module ktls_nic_tx(" in outputs.pop()


def test_documents_are_up_to_date():
    """`python -m tests.hw.test_verilog` writes it again."""
    assert PAGE.read_text() == markdown()


def test_the_header_compiles(tmp_path):
    compiler = next(
        (c for c in ("gcc", "cc", "g++", "clang") if subprocess.run(["which", c], capture_output=True).returncode == 0),
        None,
    )
    if compiler is None:
        pytest.skip("no C compiler")
    header = c_header()
    names = re.findall(r"#define (KTLS_NIC_\w+) +(\S+)", header)
    assert len(names) == len(dict(names)) > 60
    checks = "".join(
        f"typedef char check_{n}[({name}) == {value} ? 1 : -1];\n" for n, (name, value) in enumerate(names)
    )
    (tmp_path / "registers.h").write_text(header)
    (tmp_path / "use.c").write_text(
        f'#include "registers.h"\n#include "registers.h"\n{checks}int main(void) {{ return 0; }}\n'
    )
    subprocess.run([compiler, "-Wall", "-Werror", "-fsyntax-only", "use.c"], cwd=tmp_path, check=True)


def golden_ports(preset):
    tops = {}
    for top in TOPS:
        described = describe_ports(PRESETS[preset], top)
        ports = {p["name"]: [p["direction"], p["width"]] for p in described.pop("ports")}
        ((kind, layouts),) = described.items()
        fields = {n: {f: [p["offset"], p["width"]] for f, p in layout.items()} for n, layout in layouts.items()}
        tops[top] = {"ports": ports, kind: fields}
    return tops


if __name__ == "__main__":
    lines = json.dumps({preset: golden_ports(preset) for preset in PRESETS}, indent=1)
    GOLDEN.write_text(re.sub(r"\[\s+(\S+)\s+(\d+)\s+\]", r"[\1 \2]", lines) + "\n")
    PAGE.write_text(markdown())
