"""`python -m tests.verilog`: cycles a second of every engine on the same packets, in one table.

pysim and the compiled model simulate the device by its streams; cocotb plays through the AXI ports of the Verilog, with
its bus models and the driver's register accesses.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from hw.config import PRESETS
from sim.capture import read_capture
from sim.connections import follow
from sim.engine import make_engine
from sim.replay import Settings
from sim.run import run
from sim.secrets import KeyLog
from tests.verilog.cases import CAPTURES, NAMES, PRESET, SIMULATORS
from tests.verilog.simulators import NotInstalled, build, cut, play

ENGINES = ("pysim", "compiled")


def own(name: str, capture: str, packets: int) -> tuple[int, float]:
    """Cycles and seconds of one of the project's engines."""
    config = PRESETS[PRESET]
    path = CAPTURES / f"{capture}.pcap"
    log = KeyLog()
    log.add(path.with_suffix(".keys").read_text(), "keys")
    with make_engine(name, config) as engine:
        followed = follow(cut(read_capture(path), packets), log, None)
        outcome = run(followed, Settings(name, config), make_engine=lambda: engine)
    assert outcome.equal
    return outcome.cycles, outcome.simulation_seconds


def cocotb(name: str, capture: str, packets: int) -> tuple[int, float]:
    with tempfile.TemporaryDirectory() as folder:
        report = play(build(name, "rx", Path(folder)), "rx", capture, Path(folder), packets=packets)
    return report["cycles"], report["seconds"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.verilog", description=__doc__.splitlines()[0])
    parser.add_argument("--capture", choices=NAMES, default="tls12-aes256-small")
    parser.add_argument("--packets", type=int, default=60, help="of the capture, the first ones (0: all)")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    given = parser.parse_args()
    rows = {}
    for name in (*ENGINES, *SIMULATORS):
        measure = own if name in ENGINES else cocotb
        try:
            cycles, seconds = measure(name, given.capture, given.packets)
        except NotInstalled as why:
            print(f"{name}: {why}", file=sys.stderr)
            continue
        rows[name] = {"cycles": cycles, "seconds": round(seconds, 3), "cycles_per_second": round(cycles / seconds)}
    print(f"\n{given.capture}, first {given.packets} packets, received, preset {PRESET}\n")
    print("| engine | cycles | cycles/s |\n| --- | --- | --- |")
    for name, row in rows.items():
        label = name if name in ENGINES else f"cocotb, {name}"
        print(f"| {label} | {row['cycles']:,} | {row['cycles_per_second']:,} |")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
