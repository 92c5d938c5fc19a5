"""Recorded TLS sessions to measure on: made here over an impaired link, or found in files.

`sim/data/capture_tls.py` makes them: two network namespaces, this machine's TCP and OpenSSL at both ends, a user-space
wire between them. It comes as the bundled captures were recorded with, and is a program of its own.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.errors import InputError

SCRIPT = Path(__file__).parent / "data" / "capture_tls.py"
BUNDLED = Path(__file__).parents[1] / "tests" / "data" / "captures"
"""Of a checkout."""
TUN = Path("/dev/net/tun")
IMPAIRMENTS = ("loss", "reorder")


@dataclass(frozen=True)
class Session:
    """A capture with its key log beside it.

    `impairment` is "loss", "reorder", "none", or "" for anything else; `percent` of the segments with data have it.
    """

    capture: Path
    tls: str
    impairment: str
    percent: float
    seed: int

    @property
    def name(self) -> str:
        return self.capture.stem


@dataclass(frozen=True)
class Plan:
    """A session to record: `size` bytes to the client in records of 16 KB."""

    tls: str
    impairment: str
    percent: float
    seed: int
    size: int

    @property
    def name(self) -> str:
        return f"tls{self.tls.replace('.', '')}-{self.impairment}{self.percent:g}-{self.size}B-{self.seed}"


def plans(points: Iterable[float], seeds: int, size: int, versions: Iterable[str]) -> list[Plan]:
    """Both impairments at every percentage, for every seed from 1; without any (0 %) once for both."""
    versions = tuple(versions)
    shares = sorted(set(points))
    kinds = [("none", p) for p in shares if p == 0] + [(kind, p) for kind in IMPAIRMENTS for p in shares if p]
    return [
        Plan(version, kind, percent, seed, size)
        for kind, percent in kinds
        for version in versions
        for seed in range(1, seeds + 1)
    ]


def why_not() -> str:
    """What keeps this machine from recording; empty if nothing does."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "it makes network namespaces, for which it must run as root"
    if not os.access(TUN, os.R_OK | os.W_OK):
        return f"there is no {TUN} to read and write (in a container: --device {TUN} --cap-add NET_ADMIN)"
    absent = [tool for tool in ("ip", "openssl") if shutil.which(tool) is None]
    return f"{' and '.join(absent)}: not installed" if absent else ""


def record(plan: Plan, folder: Path) -> Session:
    """Record a session into the folder, unless it is there already."""
    stem = folder / plan.name
    found = Session(stem.with_name(f"{plan.name}.pcap"), plan.tls, plan.impairment, plan.percent, plan.seed)
    if stem.with_name(f"{plan.name}.json").is_file() and found.capture.is_file():  # the .json is written last
        return found
    command = [sys.executable, str(SCRIPT), "--out", str(stem), "--tls", plan.tls]
    command += ["--down", str(plan.size), "--up", "1000", "--seed", str(plan.seed)]
    if plan.impairment in IMPAIRMENTS:
        command += [f"--{plan.impairment}", str(plan.percent / 100)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise InputError(f"recording {plan.name} failed: {said[-1] if said else f'status {done.returncode}'}")
    return found


def sessions_in(paths: Iterable[Path]) -> list[Session]:
    """The captures named, and those with a key log in the folders named."""
    found: list[Session] = []
    for path in paths:
        captures = sorted(p for p in path.glob("*.pcap*") if _keys(p).is_file()) if path.is_dir() else [path]
        for capture in captures:
            if not capture.is_file():
                raise InputError(f"{capture}: no such file")
            if not _keys(capture).is_file():
                raise InputError(f"{capture}: there is no key log {_keys(capture).name} beside it")
            found.append(_described(capture))
    if not found:
        raise InputError(f"no capture with a key log in {', '.join(map(str, paths))}")
    return found


def _keys(capture: Path) -> Path:
    return capture.with_suffix(".keys")


def _described(capture: Path) -> Session:
    """By what the recording script wrote beside it."""
    try:
        args: dict[str, Any] = json.loads(capture.with_suffix(".json").read_text())["args"]
        shares = {kind: 100 * float(args[kind]) for kind in ("loss", "reorder", "duplicate", "corrupt")}
        plain = args["records"] == "full" and args["direction"] == "rx" and args["decoy"] == "False"
        tls, seed = str(args["tls"]), int(args["seed"])
    except (OSError, ValueError, KeyError, TypeError):
        return Session(capture, "", "", 0.0, 0)
    kinds = [kind for kind, share in shares.items() if share]
    impairment = ""
    if plain and not kinds:
        impairment = "none"
    elif plain and kinds in ([kind] for kind in IMPAIRMENTS):
        impairment = kinds[0]
    return Session(capture, tls, impairment, round(shares.get(impairment, 0.0), 6), seed)
