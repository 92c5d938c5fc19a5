"""The cache of compiled models, and what is said when tools are missing."""

import os
import shutil
from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.config import Config
from sim.engine import BuildError, ComponentEngine, SimulationError, SimulationStalled, make_engine, toolchain
from sim.engine.bench import probe_ports
from sim.engine.compiled import CompiledBench
from sim.engine.pysim import PysimBench
from tests.sim.standin import StandIn

needs_compiler = pytest.mark.skipif(not toolchain.can_compile(), reason="no C++ compiler")
ENGINES = ["pysim", pytest.param("compiled", marks=needs_compiler)]


class Adder(wiring.Component):
    """Adds `offset` to what comes in; an 80-bit payload; `total` counts. Says one thing twice if asked to."""

    i: In(stream.Signature(80))
    o: Out(stream.Signature(80))
    offset: In(8)
    repeat: In(1)
    drop: In(1)
    total: Out(16)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [
            self.o.valid.eq(self.i.valid & ~self.drop),
            self.i.ready.eq((self.o.ready | self.drop) & ~self.repeat),
            self.o.p.eq(self.i.p + self.offset),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.total.eq(self.total + 1)
        return m


@pytest.fixture(scope="module", params=ENGINES)
def adder(request: pytest.FixtureRequest):
    engine = ComponentEngine(Adder, request.param)
    yield engine
    engine.close()


@pytest.mark.parametrize("idle, backpressure", [(0.0, 0.0), (0.5, 0.5)])
def test_component(adder: ComponentEngine, idle: float, backpressure: float):
    adder.reset()
    values = [k << 70 | k for k in range(300)]
    result = adder.run({"i": values}, {"o": 300}, idle=idle, backpressure=backpressure, settings={"offset": 7})
    assert result.outputs["o"] == [v + 7 for v in values]
    assert (result.taken_in["i"] == result.given_out["o"]).all()
    assert adder.get("total") == 300
    assert adder.run({"i": [1]}, {"o": 1}).outputs["o"] == [8]


def test_component_faults(adder: ComponentEngine):
    adder.reset()
    with pytest.raises(SimulationError, match="o: more came out"):
        adder.run({"i": [1, 2]}, {"o": 1})
    adder.reset()
    with pytest.raises(SimulationError, match="more came out"):
        adder.run({"i": [1]}, {"o": 3}, settings={"repeat": 1})
    adder.reset()
    with pytest.raises(SimulationStalled, match="i: 2 of 2; given out o: 0 of 2"):
        adder.run({"i": [1, 2]}, {"o": 2}, settings={"drop": 1}, watchdog=100)
    with pytest.raises(ValueError, match="no input named x"):
        adder.run({"x": [1]}, {"o": 1})


class Fickle(wiring.Component):
    """Takes its word back: valid falls without a transfer."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(1)
        m.d.sync += [self.o.valid.eq(self.i.valid), self.o.p.eq(self.i.p)]
        return m


@pytest.mark.parametrize("engine", ENGINES)
def test_broken_stream_rule_is_found(engine: str):
    device = ComponentEngine(Fickle, engine)
    assert device.run({"i": list(range(9))}, {"o": 9}).outputs["o"] == list(range(9))
    with pytest.raises(SimulationError, match="o: valid or payload did not hold"):
        device.run({"i": list(range(9))}, {"o": 9}, backpressure=0.7, idle=0.5)
    device.close()


class Parts(wiring.Component):
    """What comes in, beside a part that is a constant and one that sometimes is driven."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(data.StructLayout({"plain": 8, "constant": 3, "chosen": 4, "zero": 1})))
    cycles: Out(8)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready),
            self.o.p.plain.eq(self.i.p),
            self.o.p.constant.eq(5),
        ]
        with m.If(self.i.p[0]):
            m.d.comb += self.o.p.chosen.eq(9)
        m.d.sync += self.cycles.eq(self.cycles + 1)
        return m


@pytest.mark.parametrize("engine", ENGINES)
def test_a_constant_in_a_part_of_a_structure_is_there(engine: str):
    """Yosys writes it as a block that reads nothing, which Verilator would leave out."""
    device = ComponentEngine(Parts, engine)
    expected = [value | 5 << 8 | (value & 1) * 9 << 11 for value in range(20)]
    assert device.run({"i": list(range(20))}, {"o": 20}).outputs["o"] == expected
    device.close()


@needs_compiler
def test_cache(tmp_path: Path):
    text: list[str] = []
    tell = lambda what, share: text.append(what)  # noqa: E731
    source = tmp_path / "standin.py"
    source.write_bytes(Path(__file__).with_name("standin.py").read_bytes())
    os.utime(source, (1e9, 1e9))
    if (known := toolchain.default_cache_dir() / "runtime").is_dir():
        shutil.copytree(known, tmp_path / "runtime")  # Verilator's own part, most of the build

    def build(sources: list[Path]) -> toolchain.Model:
        factory = lambda: StandIn(Config(width=16, connections=8))  # noqa: E731
        bench = CompiledBench(factory, sources=sources, cache_dir=tmp_path, progress=tell)
        bench.close()
        return bench.model

    first = build([source])
    assert first.built and text[0] == "elaborating the design" and text[-1] == "built"
    assert any(t.startswith("compiling: 1 of ") for t in text)
    text.clear()
    second = build([source])
    assert not second.built and second.path == first.path and not text
    third = build([])  # not known by its sources: elaborated, and found by its RTLIL
    assert not third.built and third.path == first.path and text == ["elaborating the design"]
    assert not list(tmp_path.glob("build-*"))
    text.clear()
    os.utime(source)  # may have been changed after it was imported: not trusted
    assert not build([source]).built and text == ["elaborating the design"]


def test_no_compiler(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(toolchain, "find_compiler", lambda: None)
    config = Config(width=16, connections=8)
    with pytest.raises(BuildError, match=r"needs a C\+\+ compiler"):
        make_engine("compiled", config, device=StandIn)
    assert isinstance(make_engine("auto", config, device=StandIn).bench, PysimBench)


@needs_compiler
def test_unusable_cache_directory(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(BuildError, match="KTLS_NIC_CACHE"):
        make_engine("compiled", Config(), device=StandIn, cache_dir=tmp_path / "file" / "x")


def test_unknown_engine():
    with pytest.raises(ValueError, match="must be one of auto, compiled, pysim"):
        make_engine("verilog", Config(), device=StandIn)


def test_ports():
    ports = {p.name: p for p in probe_ports(Adder)}
    assert (ports["i"].is_input, ports["i"].width, ports["i"].words) == (True, 80, 3)
    assert not ports["total"].is_stream
