"""Yosys's Verilog, put right: what `ktls-nic generate` writes and what the compiled engine simulates."""

import re


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
            raise ValueError(
                f"no other block drives {match['target']}, which has a constant in {match['part'] or 'it'}: "
                "give the whole of it a value in one assignment"
            )
    return module
