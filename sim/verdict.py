"""The run in words: one line of verdict, and what became of each connection."""

from typing import Any

from sim.run import Outcome


def verdict(outcome: Outcome) -> str:
    """One line: what was compared with what, and how it came out."""
    if not outcome.equal:
        mismatches = outcome.all_mismatches
        more = len(mismatches) - 1
        return f"DIFFERENT: {mismatches[0]}" + (f" (and {more} more)" if more else "")
    said = [_compared(outcome)]
    found = True
    word = "NOTHING READ"
    if outcome.receives:
        read = [s for s in outcome.sockets if s.read]
        found = bool(read)
        said.append(
            f"applications of {len(read)} connection{'s' if len(read) != 1 else ''} read the same with offload and in "
            "software"
            if read
            else "no connection could be read"
        )
        if outcome.reencrypted:
            said[-1] += f"; {outcome.reencrypted} decrypted packets encrypt back to the wire"
    if outcome.tx:
        encrypted = sum(s.packets_encrypted for s in outcome.tx.sockets.values())
        if not outcome.receives:
            found, word = bool(encrypted), "NOTHING ENCRYPTED"
        said.append(
            f"all {outcome.tx.packets} packets sent are on the wire as they were captured, {encrypted} of them "
            "encrypted by the device"
        )
    return f"{'EQUAL' if found else word}: {'; '.join(said)}"


def _compared(outcome: Outcome) -> str:
    settings, tx = outcome.settings, outcome.tx
    counts = {"rx": f"{outcome.packets} packets"}
    if tx:
        counts["tx"] = f"{tx.packets} packets sent"
        counts["both"] = f"{outcome.packets} packets received and {tx.packets} sent"
    which = counts[outcome.direction]
    if settings.engine == "model":
        return f"golden model only (no RTL), {which}"
    what = {"rx": "descriptors", "tx": "completions", "both": "descriptors, completions"}[outcome.direction]
    return f"all {which}, {what}, answers and counters of the RTL (W={settings.config.width}) equal the golden model's"


def offload_text(connection: dict[str, Any]) -> str:
    """The offload column: yes, or why not; and what stopped the stream."""
    text = "yes" if connection["offloaded"] else f"no: {connection['reason']}"
    for key in ("error", "note"):
        if connection[key]:
            text += f"; {connection[key]}"
    return text


def tx_offload_text(connection: dict[str, Any]) -> str:
    """The same for what the host sends."""
    return "yes" if connection["tx_offloaded"] else f"no: {connection['tx_reason']}"
