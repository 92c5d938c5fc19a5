"""Place and route for ECP5, and what its report says of the rooms."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sim.errors import InputError
from sim.synth import HARNESS, INSTANCE, NEXTPNR, Endpoint, Placed, Progress, Step, room_of, run_program, run_tool

DEVICE = "LFE5U-85F-8"
ARGUMENTS = ("--85k", "--speed", "8", "--package", "CABGA756", "--placer", "static", "--router", "router2")
ROUTER = {
    "timing_driven": f"{0:032b}",
    "router2/currCongWeightMult": "0.5",
    "router2/histCongWeight": "0.5",
    "router2/bbMargin/x": "6",
    "router2/bbMargin/y": "6",
}
"""What nextpnr's command line has no options for, as settings of the placed netlist.

Wires used twice get dearer at a quarter of the pace that nextpnr has, in history at half of it, and a net may leave its
bounding box further. Timing is left to placement: the router would let critical wires keep what others need.
"""
BANDS = ((2, 9), (11, 21), (23, 33), (35, 45), (47, 57), (59, 69), (71, 81), (83, 93))
"""First and last row of slices between two rows of block RAM."""
COLUMNS = range(2, 125)
EMPTY_ROWS = (2, 5, 8)
"""Rows of each band, from its first one, whose LUTs stay empty where the design leaves room."""
FILL = 0.78
"""Share of the other LUTs that a design may need for that."""
RESOURCES = {"lut": "TRELLIS_COMB", "ff": "TRELLIS_FF", "block_ram": "DP16KD"}

_STAGES = (
    (re.compile(r"Info: Packing"), "nextpnr: packing", 0.02),
    (re.compile(r"Info: Running Static placer"), "nextpnr: placing", 0.05),
    (re.compile(r"Info: Running simulated annealing"), "nextpnr: placing", 0.1),
    (re.compile(r"Info: Routing globals"), "nextpnr: routing", 0.4),
)
PATIENCE = 20
"""Rounds of the router without fewer wires used twice before it is given up: by itself it would go on for ever."""
_ROUND = re.compile(r"Info: +iter=(\d+) .*overused=(\d+)")


def place_and_route(
    folder: Path, top: str, seed: int, mhz: float, sites: int, tell: Progress, program: Path | None = None
) -> Placed:
    """Place and route `netlist.json`, which needs `sites` LUTs, for `mhz`; less than that is no error. `program`: in
    place of the wheel's.

    InputError if it cannot be routed.
    """
    filled = fill_rows(folder / "netlist.json", empty_rows(sites))
    rounds: list[int] = []

    def line(text: str) -> None:
        for pattern, stage, share in _STAGES:
            if pattern.match(text):
                tell(stage, share)
        if match := _ROUND.match(text):
            rounds.append(int(match[2]))
            stage = f"nextpnr: routing, round {match[1]}, wires used twice: {rounds[-1]:,}"
            tell(stage, 1 - 0.6 * rounds[-1] / max(*rounds, 1))
            if rounds[-1] and min(rounds[-PATIENCE:]) > min(rounds):
                raise InputError(
                    f"cannot be routed on the {DEVICE}: in {len(rounds)} rounds never fewer than {min(rounds):,} wires "
                    "used twice. A smaller configuration, or another --seed, may be"
                )

    def run(*arguments: str) -> None:
        if program is None:
            run_tool(NEXTPNR, "run_nextpnr_ecp5", arguments, folder, line)
        else:
            run_program([str(program.resolve()), *arguments], NEXTPNR, folder, line)

    options = (*ARGUMENTS, "--freq", f"{mhz:g}", "--timing-allow-fail")
    run(*options, "--seed", str(seed), "--json", "netlist.json", "--no-route", "--write", "placed.json")
    (folder / f"{NEXTPNR}.log").rename(folder / f"{NEXTPNR}_place.log")
    set_router(folder / "placed.json")
    reports = ("--report", "report.json", "--detailed-timing-report")
    run(*options, "--json", "placed.json", "--no-pack", "--no-place", *reports)
    return read_report(json.loads((folder / "report.json").read_text("utf-8")), top, seed, filled)


def empty_rows(sites: int) -> list[int]:
    """Rows of the chip that stay empty if the design needs so many LUTs."""
    each = 8 * len(COLUMNS)
    whole = each * sum(last - first + 1 for first, last in BANDS)
    for count in range(len(EMPTY_ROWS), 0, -1):
        rows = [first + row for first, last in BANDS for row in EMPTY_ROWS[:count] if first + row <= last]
        if sites <= FILL * (whole - each * len(rows)):
            return rows
    return []


def fill_rows(netlist: Path, rows: Sequence[int]) -> int:
    """Put LUTs that do nothing into those rows of Yosys's netlist, which has 80 MB. Says how many.

    nextpnr's static placer draws a design together as close as its cells fit, and there the wires do not suffice.
    """
    before, start, cells = netlist.read_text("utf-8").partition(f'"{HARNESS}": {{')
    ports, end, cells = cells.partition('"cells": {')
    if not end:
        raise InputError(f"{netlist}: has no module {HARNESS}")
    filled = {
        f"blk{x}_{y}_{s}{k}": {
            "hide_name": 0,
            "type": "TRELLIS_COMB",
            "parameters": {"MODE": "LOGIC", "INITVAL": "0" * 16},
            "attributes": {"BEL": f"X{x}/Y{y}/SLICE{s}.K{k}"},
            "port_directions": {},
            "connections": {},
        }
        for x in COLUMNS
        for y in rows
        for s in "ABCD"
        for k in range(2)
    }
    text = json.dumps(filled)[1:-1] + ("," if filled else "")
    netlist.write_text(f"{before}{start}{ports}{end}{text}{cells}", encoding="utf-8")
    return len(filled)


def set_router(placed: Path) -> None:
    """Put ROUTER into a netlist that nextpnr has written, which has 100 MB and a setting a line."""
    before, start, settings = placed.read_text("utf-8").partition('"settings": {')
    if not start:
        raise InputError(f"{placed}: has no settings of nextpnr")
    settings, end, behind = settings.partition("}")
    given = json.loads(f"{{{settings}}}") | ROUTER
    placed.write_text(f"{before}{start}{json.dumps(given)[1:-1]}{end}{behind}", encoding="utf-8")


def read_report(report: Mapping[str, Any], top: str, seed: int, filled: int = 0) -> Placed:
    """What matters of nextpnr's report, which says how long after the clock a signal comes to each register, and counts
    the LUTs of `fill_rows` too."""
    (clock,) = report["fmax"].values()

    def room(cell: str) -> str:
        below = f"{INSTANCE}."
        return room_of(cell.removeprefix(below), top) if cell.startswith(below) else "ports"

    worst: dict[str, Endpoint] = {}
    for net in report["detailed_net_timings"]:
        for end in net["endpoints"]:
            name, ns = room(end["cell"]), max(end["delay"])
            if name not in worst or worst[name].ns < ns:
                worst[name] = Endpoint(name, round(ns, 3), net["net"])
    (path,) = (
        p["path"]
        for p in report["critical_paths"]
        if p["from"].startswith(("posedge", "negedge")) and p["to"] == p["from"]
    )
    steps = [Step(room(s["to"]["cell"]), s["type"], s.get("net", s["to"]["cell"]), round(s["delay"], 3)) for s in path]
    used = report["utilization"]
    return Placed(
        device=DEVICE,
        seed=seed,
        mhz=clock["achieved"],
        longest=steps,
        rooms=sorted(worst.values(), key=lambda end: -end.ns),
        used={
            name: (used[bel]["used"] - (filled if name == "lut" else 0), used[bel]["available"])
            for name, bel in RESOURCES.items()
        },
    )
