"""The run in words: one line of verdict, and what became of each connection."""

from typing import Any

from sim.run import Outcome


def verdict(outcome: Outcome) -> str:
    """One line: what was compared with what, and how it came out."""
    settings = outcome.settings
    if not outcome.equal:
        first = str(outcome.mismatches[0])
        more = len(outcome.mismatches) - 1
        return f"DIFFERENT: {first}" + (f" (and {more} more)" if more else "")
    if settings.engine == "model":
        compared = f"golden model only (no RTL), {outcome.packets} packets"
    else:
        compared = (
            f"all {outcome.compared} packets, descriptors, answers and counters of the RTL "
            f"(W={settings.config.width}) equal the golden model's"
        )
    read = [s for s in outcome.sockets if s.read]
    same = (
        f"applications of {len(read)} connection{'s' if len(read) != 1 else ''} read the same with offload and in "
        "software"
        if read
        else "no connection could be read"
    )
    wire = f"; {outcome.reencrypted} decrypted packets encrypt back to the wire" if outcome.reencrypted else ""
    return f"{'EQUAL' if read else 'NOTHING READ'}: {compared}; {same}{wire}"


def offload_text(connection: dict[str, Any]) -> str:
    """The offload column: yes, or why not; and what stopped the stream."""
    text = "yes" if connection["offloaded"] else f"no: {connection['reason']}"
    for key in ("error", "note"):
        if connection[key]:
            text += f"; {connection[key]}"
    return text
