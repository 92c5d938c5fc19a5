"""Where can a bit get to? A flat netlist of Yosys as a graph of bits."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

BITWISE = {"$and", "$or", "$xor", "$xnor", "$not", "$pos"}


class Netlist:
    """A module of `write_json`. Bits are numbers; what a cell does with them is kept apart by bits where it is easy."""

    def __init__(self, path: Path):
        self.module: dict[str, Any] = json.loads(path.read_text())["modules"]["top"]
        self._next: dict[Any, set[Any]] = defaultdict(set)
        for name, cell in self.module["cells"].items():
            self._add(name, cell["type"], cell["connections"], cell["parameters"], cell["port_directions"])

    def _add(self, name: str, kind: str, pins: dict[str, list[Any]], parameters: dict[str, Any], flow: dict) -> None:
        def edge(sources: Any, targets: Any) -> None:
            for source in sources:
                if not isinstance(source, str):  # a constant
                    self._next[source].update(targets)

        if kind in BITWISE:
            for port in ("A", "B"):
                bits = pins.get(port, [])
                for k, target in enumerate(pins["Y"]):
                    edge([bits[min(k, len(bits) - 1)]] if bits else [], [target])
        elif kind in ("$mux", "$pmux"):
            for k, target in enumerate(pins["Y"]):
                edge([pins["A"][k], *pins["B"][k :: len(pins["Y"])]], [target])
            edge(pins["S"], pins["Y"])
        elif kind == "$dff":
            for source, target in zip(pins["D"], pins["Q"], strict=True):
                edge([source], [target])
        elif kind == "$mem_v2":
            width = int(parameters["WIDTH"], 2)
            for column in range(width):
                edge(pins["WR_DATA"][column::width], pins["RD_DATA"][column::width])
            node = ("cell", name)
            for port in ("RD_ADDR", "WR_ADDR", "WR_EN", "RD_EN", "RD_ARST", "RD_SRST"):
                edge(pins[port], [node])
            self._next[node].update(pins["RD_DATA"])
        else:
            node = ("cell", name)
            for port, bits in pins.items():
                if flow[port] == "input":
                    edge(bits, [node])
                else:
                    self._next[node].update(bits)

    def net(self, name: str) -> set[int]:
        """Bits of the net with this path below the design."""
        return {bit for bit in self.module["netnames"][f"room.{name}"]["bits"] if not isinstance(bit, str)}

    def inputs(self, end: str) -> set[int]:
        """Bits of the design's inputs whose names end so."""
        ports = self.module["ports"].items()
        return {bit for name, port in ports if name.endswith(end) for bit in port["bits"]}

    def memory(self, name: str) -> set[int]:
        """What can be read of the memory with this path."""
        return {
            bit for bit in self.module["cells"][f"room.{name}"]["connections"]["RD_DATA"] if not isinstance(bit, str)
        }

    def reached(self, sources: set[int], *, but: set[int] = frozenset()) -> set[Any]:  # pyright: ignore
        """All bits that depend on one of these, other than by way of `but`."""
        seen, stack = set[Any](), list(sources)
        while stack:
            bit = stack.pop()
            if bit not in seen and bit not in but:
                seen.add(bit)
                stack += self._next.get(bit, ())
        return seen

    def outputs(self, bits: set[Any]) -> list[str]:
        """Outputs of the design with one of these bits."""
        ports = self.module["ports"].items()
        return sorted(name for name, port in ports if port["direction"] == "output" and bits & set(port["bits"]))
