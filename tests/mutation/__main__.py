"""`python -m tests.mutation [NAME ...]`: is each seeded fault found by the tests that are named for it?

Works in a copy. The tests run once without a fault first: one that fails then proves nothing. Exit status 0 if every
fault was found.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as xml
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.mutation.faults import FAULTS, Fault

ROOT = Path(__file__).parents[2]
FOLDERS = ("hw", "model", "driver", "sim", "tests")
MISTAKES = ("NameError", "SyntaxError", "AttributeError", "TypeError", "ImportError", "KeyError", "ValueError")
"""What a fault that is no hardware ends with: nothing was found by a test then."""


@dataclass(frozen=True)
class Result:
    """`outcome`: caught, survived, or invalid: the fault broke the elaboration, or the tests fail without it."""

    name: str
    path: str
    outcome: str
    test: str | None
    message: str | None
    seconds: float


def copy_to(folder: Path) -> None:
    for name in FOLDERS:
        ignored = (
            shutil.ignore_patterns("__pycache__", "data") if name == "tests" else shutil.ignore_patterns("__pycache__")
        )
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    (folder / "tests" / "data").symlink_to(ROOT / "tests" / "data")
    shutil.copy(ROOT / "pyproject.toml", folder)


def run_tests(folder: Path, tests: str) -> tuple[str | None, str | None]:
    """The first test that fails, and what it says; None if none does."""
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    # no bytecode: a patched file may have the size and the second of the one before
    environment = os.environ | {
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "KTLS_NIC_CACHE": str(folder / "cache"),
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-m",
        "not slow",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:unraisableexception",
        "--tb=short",
        f"--junitxml={report}",
    ]
    done = subprocess.run([*command, *tests.split()], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode == 0:
        return None, None
    if not report.exists():
        return "pytest", (done.stdout + done.stderr)[-300:]
    for case in xml.parse(report).iter("testcase"):
        for failure in (*case.findall("failure"), *case.findall("error")):
            return f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}", failure.get("message", "")
    return "pytest", done.stdout[-300:]


def check(folder: Path, fault: Fault) -> Result:
    file = folder / fault.path
    text = file.read_text()
    start = time.monotonic()
    file.write_text(text.replace(fault.old, fault.new, 1))
    try:
        test, message = run_tests(folder, fault.tests)
    finally:
        file.write_text(text)
    outcome = "caught" if test else "survived"
    if message and message.split(":")[0].split(".")[-1] in MISTAKES:
        outcome = "invalid"
    line = message.splitlines()[0][:160] if message else None
    return Result(fault.name, fault.path, outcome, test, line, round(time.monotonic() - start, 1))


def table(results: list[Result]) -> str:
    rows = ["| fault | in | found by |", "| --- | --- | --- |"]
    for r in results:
        found = f"`{r.test}`" if r.outcome == "caught" else f"**{r.outcome}** {r.test or ''}"
        rows.append(f"| {r.name} | `{r.path}` | {found} |")
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="faults whose name or path contains one of these; none: all")
    parser.add_argument("--passing", action="store_true", help="the tests are known to pass without a fault")
    parser.add_argument("--json", type=Path, help="write the results there, too")
    given = parser.parse_args()
    chosen = [f for f in FAULTS if not given.names or any(n in f.name or n in f.path for n in given.names)]
    if not chosen:
        parser.error("no fault has such a name")
    with tempfile.TemporaryDirectory(prefix="ktls-nic-mutation-") as name:
        folder = Path(name)
        copy_to(folder)
        every = dict.fromkeys(test for fault in chosen for test in fault.tests.split())
        test, message = run_tests(folder, " ".join(every)) if not given.passing else (None, None)
        if test:
            print(f"error: {test} fails without a fault: {message}", file=sys.stderr)
            return 2
        results = []
        for number, fault in enumerate(chosen, 1):
            result = check(folder, fault)
            results.append(result)
            print(
                f"{number}/{len(chosen)} {result.outcome}: {fault.name} ({result.seconds} s) {result.test or ''}",
                flush=True,
            )
            if given.json:
                given.json.write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n")
    print(table(results))
    count = sum(r.outcome == "caught" for r in results)
    print(f"{count} of {len(results)} found")
    return 0 if count == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
