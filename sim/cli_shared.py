"""What the subcommands of `ktls-nic` share: exit statuses, options, types of options, files to write."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from hw.config import OVERLOADS, SBOXES, Config
from model.contract import RxPolicy
from sim.errors import InputError

EQUAL, DIFFERENT, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def natural(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


natural.__name__ = "number (1 or more)"


def add_policy(parser: argparse.ArgumentParser, default: str | None = Config.rx_policy.value) -> None:
    parser.add_argument(
        "--rx-policy",
        choices=[policy.value for policy in RxPolicy],
        default=default,
        help="how the receive device goes on behind lost, late or forged packets: published (a gap in a record gives "
        "the record up; behind one over a header the device looks for a header itself and asks the stack to confirm "
        "it), kernel (the same, and what contradicts a header that it relied on, or follows a wrong tag, is never "
        "marked decrypted), full (kernel, and late packets are decrypted; "
        "headers found behind a gap are kept until the stack confirms them or a whole authentic record "
        f"proves them without it); default {default or 'the preset'}",
    )


def add_sbox(parser: argparse.ArgumentParser, default: str | None = Config.sbox) -> None:
    parser.add_argument(
        "--sbox",
        choices=SBOXES,
        default=default,
        help="S-boxes as ROM read at once, in LUTs (rom; an AES round a cycle, fastest to simulate), as gates (logic; "
        "fewer LUTs of four inputs) or those of the data with a registered read in block RAM (bram; a round in two "
        f"cycles); default {default or 'the preset'}",
    )


def add_overload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--overload",
        choices=OVERLOADS,
        default=Config.overload,
        help="what the receive device does when its crypto is behind, as with records of a few bytes: stall (it takes "
        "frames more slowly), raw (it does not wait: frames that ask too much pass raw, though their headers are "
        "looked at as far as there is time); "
        f"default {Config.overload}",
    )


def resolve(engine: str) -> str:
    if engine != "auto":
        return engine
    from sim.engine.toolchain import can_compile

    return "compiled" if can_compile() else "pysim"


def check_writable(*targets: Path | str | None) -> None:
    """Raise InputError for a file that cannot be written, before the work; "-" is standard output, None no file."""
    for path in (Path(target) for target in targets if target not in (None, "-")):
        if path.is_dir():
            raise InputError(f"{path}: is a folder, not a file")
        if not path.absolute().parent.is_dir():
            raise InputError(f"{path}: there is no folder {path.absolute().parent}")


def write_json(data: dict[str, Any], target: str) -> None:
    text = json.dumps(data, indent=2) + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        Path(target).write_text(text, encoding="utf-8")
