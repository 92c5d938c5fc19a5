"""docs/verilog.md out of tests/data/verilog.json."""

import json
from typing import Any

from tests.verilog.cases import NAMES, ROOT, SIMULATORS, WAITS, WAITS_CAPTURE, WAITS_PACKETS

DATA = ROOT / "tests" / "data" / "verilog.json"
PAGE = ROOT / "docs" / "verilog.md"
TITLES = {"icarus": "Icarus", "verilator": "Verilator"}

TOP = """\
# The Verilog in Icarus and Verilator

Made by `make verilog-page`, which plays all of it; the figures are in `tests/data/verilog.json`.

Preset tiny, top `duplex`: both directions of a capture at once, through the AXI4-Stream ports with the bus models of
cocotbext-axi, the driver's commands through the AXI4-Lite port. *Equal*: every frame, descriptor, completion, answer
and counter is the golden model's, applications read what they read in software, decrypted packets encrypt back to the
wire, and what was sent is what was captured.
"""

CAPTURES_TEXT = """\
## All captures, whole

Packets that passed the device, and of those the ones it decrypted or encrypted. Seconds of the simulation, without
building, on two shared cores; cycles do not depend on the machine.
"""

WAITS_TEXT = """\
## Idle x backpressure

Cycles for the first {packets} packets of {capture}. Every port that gives pauses in a cycle with
one probability and every port that takes with the other (the channels of AXI4-Lite, too), each on its own. Seed {seed};
`make verilog-page RECORD_ARGS="--seed N"` takes another. Every point is compared as above.
"""


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def verdict(run: dict[str, Any]) -> str:
    return "equal" if run["equal"] else "**not equal**"


def capture_rows(captures: dict[str, Any]) -> list[list[str]]:
    rows = []
    for name in NAMES:
        for simulator in SIMULATORS:
            run = captures.get(name, {}).get(simulator)
            if run is None:
                rows.append([name, "", "", "", TITLES[simulator], "", "not run"])
                continue
            passed = [
                f"{run[d]['packets']} / {run[d]['offloaded']}" if d in run else "" for d in ("receive", "transmit")
            ]
            cycles, seconds = (f"{run[key]:,.0f}" if key in run else "" for key in ("cycles", "seconds"))
            rows.append([name, *passed, cycles, TITLES[simulator], seconds, verdict(run)])
    return rows


def waits_rows(waits: dict[str, Any], simulator: str) -> list[list[str]]:
    idles = sorted({idle for idle, _ in WAITS})
    rows = []
    for idle in idles:
        runs = [waits.get(point(*pair), {}).get(simulator) for pair in WAITS if pair[0] == idle]
        rows.append(
            [f"{idle:g}", *("not run" if r is None else f"{r['cycles']:,}" if r["equal"] else verdict(r) for r in runs)]
        )
    return rows


def point(idle: float, backpressure: float) -> str:
    return f"idle {idle:g}, backpressure {backpressure:g}"


def markdown(data: dict[str, Any]) -> str:
    lines = [TOP, CAPTURES_TEXT]
    head = ["capture", "received / decrypted", "sent / encrypted", "cycles", "simulator", "seconds", "result"]
    lines += [*table(head, capture_rows(data["captures"])), ""]
    lines.append(WAITS_TEXT.format(packets=WAITS_PACKETS, capture=WAITS_CAPTURE, seed=data["seed"]))
    waits = sorted({backpressure for _, backpressure in WAITS})
    for simulator in SIMULATORS:
        head = [f"{TITLES[simulator]}: idle", *(f"backpressure {wait:g}" for wait in waits)]
        lines += [*table(head, waits_rows(data["waits"], simulator)), ""]
    tools = ", ".join(f"{name} {version}" for name, version in data["tools"].items())
    sources = " and ".join(
        f"{', '.join(f'`{source}`' for source in played(data, simulator))} in {TITLES[simulator]}"
        for simulator in SIMULATORS
    )
    lines.append(f"With {tools}. SHA-256 of the Verilog: {sources}.")
    return "\n".join(lines) + "\n"


def played(data: dict[str, Any], simulator: str) -> list[str]:
    """What the SHA-256 of the Verilog in that simulator began with."""
    runs = [*data["captures"].values(), *data["waits"].values()]
    return sorted({run[simulator]["source"] for run in runs if simulator in run})


def load() -> dict[str, Any]:
    return json.loads(DATA.read_text())
