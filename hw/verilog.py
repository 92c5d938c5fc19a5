"""Verilog and RTLIL of the tops."""

import re
from dataclasses import dataclass

from amaranth.back import rtlil, verilog
from amaranth.hdl import Value
from amaranth.lib import wiring

from hw.axi.top import TOPS as AXI_TOPS
from hw.axi.top import Top
from hw.config import Config
from hw.corundum.layouts import Taps
from hw.corundum.top import CorundumTop

FORMATS = ("verilog", "rtlil")
TOPS = (*AXI_TOPS, "corundum")


def make_top(config: Config, top: str, taps: Taps | None = None) -> wiring.Component:
    """The component of that name; `taps` shape `corundum` and nothing else."""
    return CorundumTop(config, taps) if top == "corundum" else Top(config, top)


@dataclass(frozen=True)
class PortInfo:
    name: str
    direction: str
    """`input` or `output`."""
    width: int


def ports_of(top: wiring.Component) -> list[PortInfo]:
    """The ports of the module, clock and reset first, then in the order of the signature."""
    ports = [PortInfo("clk", "input", 1), PortInfo("rst", "input", 1)]
    for path, member, value in top.signature.flatten(top):
        direction = "input" if member.flow == wiring.In else "output"
        ports.append(PortInfo("_".join(map(str, path)), direction, len(Value.cast(value))))
    return ports


def module_name(top: str) -> str:
    return f"ktls_nic_{top}"


def generate(config: Config, top: str = "rx", format: str = "verilog", taps: Taps | None = None) -> str:
    """Self-contained Verilog-2001, or RTLIL, of a top; no vendor primitive.

    The text is the same for the same configuration and tool versions.
    """
    component = make_top(config, top, taps)
    flat = component.signature.flatten(component)
    ports = {"_".join(map(str, path)): (Value.cast(value), None) for path, _, value in flat}
    name = module_name(top)
    if format == "rtlil":
        return rtlil.convert(component, name=name, ports=ports, emit_src=False)
    text = verilog.convert(component, name=name, ports=ports, emit_src=False, strip_internal_attrs=True)
    return clean(text)


def clean(text: str) -> str:
    """Yosys's Verilog without what is wrong in Verilog."""
    # signals of no bits, which nothing uses
    return trigger_constants(re.sub(r"^  wire \[-1:0\] [^\n]*;\n", "", text, flags=re.M))


# --- always blocks -------------------------------------------------------------------------------------
# Yosys writes what drives a part of a variable as an `always @*` of its own. If that is a constant, nothing ever
# triggers the block, and the part stays X.
_NAME = r"(?:\\\S+ |[A-Za-z_][\w$]*)"
_LONE = re.compile(rf"^  always @\*\n    (?P<target>{_NAME}) ?(?P<part>\[[^\]\n]*\])? = (?P<value>[^;\n]*);\n", re.M)
_BLOCK = re.compile(r"^  always @\*(?: begin\n.*?^  end\n|\n    [^\n]*\n)", re.M | re.S)
_CONSTANT = re.compile(r"(?:\{[\s,\d'hbdox_?a-fA-FxzXZ]*\}|\d+'[hbd][\da-fA-FxXzZ_?]+)\s*")


def untriggered(text: str) -> list[re.Match[str]]:
    """Statements of `always @*` blocks that read nothing, and so never run."""
    return [match for match in _LONE.finditer(text) if _CONSTANT.fullmatch(match["value"])]


def trigger_constants(text: str) -> str:
    """The same Verilog with each such statement in a block that does run: another one that drives the variable."""
    return "".join(_trigger_constants(module) for module in re.split(r"(?<=^endmodule\n)", text, flags=re.M))


def _trigger_constants(module: str) -> str:
    for match in untriggered(module):
        assignment = re.compile(rf"^\s+(?:\S+:\s*)?{re.escape(match['target'])} ?(?:\[[^\]\n]*\])? = ", re.M)
        module = module.replace(match[0], "", 1)
        for block in _BLOCK.finditer(module):
            if assignment.search(block[0]) and not untriggered(block[0]):
                statement = match[0].removeprefix("  always @*\n")
                body = block[0].removeprefix("  always @*").removeprefix(" begin").removesuffix("  end\n")
                changed = f"  always @* begin\n{statement.rstrip()}{body}  end\n"
                module = module[: block.start()] + changed + module[block.end() :]
                break
        else:
            raise ValueError(f"no other block drives {match['target']}")
    return module
