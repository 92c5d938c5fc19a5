"""An estimate of the longest paths of an ECP5 netlist before it is placed: seconds, not half an hour.

Cells have the delays that nextpnr has for speed grade 8; a wire that leaves a slice has an average. Routing differs by
several nanoseconds from path to path, so this ranks designs, and rooms of one; it does not say what clock they reach.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

WIRE = 0.85
"""ns of routing from one cell to the next, an average of placed designs."""
CLOCK_TO_Q = {"TRELLIS_FF": 0.52, "DP16KD": 4.26, "PDPW16KD": 4.26}
LUT, MUX, SUM, CARRY = 0.24, 0.20, 0.45, 0.07


@dataclass(frozen=True)
class LongPath:
    """A longest path: `levels` LUTs, carry chains and memories read at once between two registers."""

    end: str
    """The register at its end."""
    ns: float
    levels: int
    through: tuple[str, ...]
    """Register at its start and cells on its way."""


@dataclass(frozen=True)
class _Arc:
    """Through a cell from one bit to another."""

    source: int
    ns: float
    level: int


def _arcs(kind: str, ports: Mapping[str, list[Any]], inputs: set[str]) -> Iterator[tuple[int | str, list[_Arc]]]:
    """Outputs of a combinational cell with what they depend on."""

    def of(names: Any, ns: float, level: int) -> list[_Arc]:
        return [_Arc(bit, ns, level) for name in names for bit in ports[name] if isinstance(bit, int)]

    if kind == "CCU2C":
        operands = [name for name in inputs if name != "CIN"]
        carry = of(["CIN"], CARRY, 0)
        yield from ((bit, of(operands, SUM + WIRE, 1) + of(["CIN"], SUM, 0)) for n in "01" for bit in ports[f"S{n}"])
        yield from ((bit, of(operands, SUM + WIRE, 1) + carry) for bit in ports["COUT"])
    elif kind in ("PFUMX", "L6MUX21"):  # in the slice of the LUTs in front
        select = "C0" if kind == "PFUMX" else "SD"
        data = [name for name in inputs if name != select]
        yield from ((bit, of(data, MUX, 0) + of([select], MUX + WIRE, 1)) for bit in ports["Z"])
    elif kind == "TRELLIS_DPR16X4":
        yield from ((bit, of(["RAD"], LUT + WIRE, 1)) for bit in ports["DO"])
    elif kind == "LUT4":
        yield from ((bit, of(inputs, LUT + WIRE, 1)) for bit in ports["Z"])


def longest_paths(netlist: Mapping[str, Any], top: str) -> list[LongPath]:
    """The longest path to each register of a flat netlist (JSON of Yosys), longest first."""
    cells = netlist["modules"][top]["cells"]
    arrival: dict[int, tuple[float, int]] = {}
    before: dict[int, int] = {}  # the bit that each waits for longest
    driver: dict[int, str] = {}
    arcs: dict[int, list[_Arc]] = {}
    ends: list[tuple[str, list[int]]] = []
    for name, cell in cells.items():
        kind, ports = cell["type"], cell["connections"]
        inputs = {port for port, way in cell["port_directions"].items() if way == "input"}
        driver |= {bit: name for port in ports.keys() - inputs for bit in ports[port] if isinstance(bit, int)}
        if kind in CLOCK_TO_Q:
            for port, bits in ports.items():
                if port not in inputs:
                    arrival |= {bit: (CLOCK_TO_Q[kind], 0) for bit in bits if isinstance(bit, int)}
            ends.append((name, [bit for port in inputs for bit in ports[port] if isinstance(bit, int)]))
        else:
            arcs.update((bit, into) for bit, into in _arcs(kind, ports, inputs) if isinstance(bit, int))
            if kind == "TRELLIS_DPR16X4":
                written = [bit for port in inputs - {"RAD"} for bit in ports[port] if isinstance(bit, int)]
                ends.append((name, written))

    def settle(bit: int) -> tuple[float, int]:
        """When a bit is there, and behind how many levels; without recursion, paths are long."""
        stack = [bit]
        while stack:
            here = stack[-1]
            if here in arrival:
                stack.pop()
                continue
            waiting = [arc.source for arc in arcs.get(here, ()) if arc.source not in arrival]
            if waiting:
                stack += waiting
                continue
            arrival[here] = (0.0, 0)
            for arc in arcs.get(here, ()):
                ns, levels = arrival[arc.source]
                if (there := (ns + arc.ns, levels + arc.level)) > arrival[here]:
                    arrival[here], before[here] = there, arc.source
            stack.pop()
        return arrival[bit]

    def way(bit: int) -> Iterator[str]:
        while True:
            yield driver.get(bit, "port")
            if bit not in before:
                return
            bit = before[bit]

    paths: list[LongPath] = []
    for name, bits in ends:
        last = max(bits, key=settle, default=0)
        ns, levels = settle(last)
        paths.append(LongPath(name, round(ns + WIRE, 2), levels, tuple(way(last))[::-1]))
    return sorted(paths, key=lambda path: -path.ns)
