"""Verilog and RTLIL of the tops."""

from dataclasses import dataclass

from amaranth.back import rtlil, verilog
from amaranth.hdl import Value
from amaranth.lib import wiring

from hw.axi.top import TOPS as AXI_TOPS
from hw.axi.top import Top
from hw.config import Config
from hw.corundum.layouts import Taps
from hw.corundum.top import CorundumTop
from hw.verilog_text import clean

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
