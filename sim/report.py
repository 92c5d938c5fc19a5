"""`--report`: a self-contained page with the table, the counters and the picture of every stream."""

from html import escape
from pathlib import Path
from typing import Any

from sim.boxes import received_boxes, received_records, sent_boxes, sent_records
from sim.connections import Connection
from sim.picture import Box, Strips, bands, overview
from sim.placement import RecordMap, place_packets, record_maps
from sim.run import Outcome
from sim.summary import note, summarize
from sim.verdict import offload_text, tx_offload_text, verdict

MAX_PICTURES = 64

STYLE = """
:root { --ink: #1d2329; --soft: #68727d; --line: #d9dee3; --paper: #ffffff; --field: #f5f7f9;
  --dec: #3fa34d; --raw: #4b7fd1; --pre: #c3cad2; --bad: #8a6fb0; --start: #d3262f; --mixed: #e39b2d;
  --prefixed: #2f9c95; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --soft: #98a2ad; --line: #38414b;
  --paper: #171b20; --field: #1f252c; --pre: #4a545f; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 1240px; margin: 2.5rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; }
h3 { font-size: 1rem; margin: 2rem 0 .2rem; }
p { margin: .3rem 0; } .soft { color: var(--soft); } code { font-size: .9em; }
.verdict { padding: .6rem .9rem; border-left: 4px solid var(--dec); background: var(--field); margin: 1rem 0; }
.verdict.bad { border-color: var(--start); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .3rem .8rem .3rem 0; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 500; } td.n, th.n { text-align: right; }
.pair { display: flex; flex-wrap: wrap; gap: 0 4rem; }
.key { display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; font-size: .85rem; color: var(--soft); margin: .5rem 0; }
.key i { display: inline-block; width: 1.4em; height: .8em; margin-right: .4em; }
.key i.tick { width: 3px; height: 1em; vertical-align: -2px; }
svg { display: block; max-width: 100%; height: auto; }
.overview { background: var(--field); margin: .6rem 0; padding: 4px 0; }
.band { display: flex; align-items: flex-start; gap: .6rem; margin: 7px 0; }
.band span { flex: 0 0 5.6em; text-align: right; font-size: .75rem; color: var(--soft);
  font-variant-numeric: tabular-nums; }
.band svg { flex: 1 1 auto; min-width: 0; background: linear-gradient(var(--field) 16px, transparent 16px); }
svg text { font: 9px system-ui, sans-serif; fill: #fff; text-anchor: middle; pointer-events: none; }
.dec { fill: var(--dec); background: var(--dec); } .raw { fill: var(--raw); background: var(--raw); }
.pre { fill: var(--pre); background: var(--pre); } .bad { fill: var(--bad); background: var(--bad); }
.rebuilt { fill: var(--mixed); background: var(--mixed); }
.prefixed { fill: var(--prefixed); background: var(--prefixed); }
.rec-offloaded { fill: var(--dec); background: var(--dec); }
.rec-mixed { fill: var(--mixed); background: var(--mixed); }
.rec-software { fill: var(--raw); background: var(--raw); }
.start { stroke: var(--start); stroke-width: 1.8; } .tick { background: var(--start); }
details > summary { cursor: pointer; color: var(--soft); margin: .3rem 0; }
"""

KEY = """<div class="key">
<span><i class="dec"></i>decrypted by the device</span><span><i class="raw"></i>as received on the wire</span>
<span><i class="start tick"></i>a record begins</span><span><i class="bad"></i>wrong checksum</span>
<span><i class="pre"></i>before the keys were installed</span></div>
<div class="key"><span>strip below: the record was</span><span><i class="rec-offloaded"></i>offloaded</span>
<span><i class="rec-mixed"></i>mixed (encrypted again, then in software)</span>
<span><i class="rec-software"></i>in software</span></div>"""


TX_KEY = """<div class="key">
<span><i class="dec"></i>in order, encrypted by the device</span>
<span><i class="prefixed"></i>out of order, from the middle of its record</span>
<span><i class="rebuilt"></i>out of order, behind the record's preceding bytes</span>
<span><i class="raw"></i>encrypted by software</span><span><i class="bad"></i>dropped</span>
<span><i class="start tick"></i>a record begins</span></div>"""


def write_report(outcome: Outcome, folder: Path) -> Path:
    """Write `index.html` into the folder; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "index.html"
    path.write_text(render(outcome), encoding="utf-8")
    return path


def render(outcome: Outcome) -> str:
    name = outcome.followed.capture.path.name
    summary = summarize(outcome)
    status = verdict(outcome)
    lines = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(name)}: TLS offload</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{STYLE}</style></head><body>",
        f"<h1>{escape(name)}</h1>",
        f'<p class="soft">{_run_line(summary)}</p>',
        f'<p class="verdict{"" if outcome.equal else " bad"}">{escape(status)}</p>',
        *(f'<p class="soft">Note: {escape(w)}</p>' for w in summary["warnings"]),
        *_mismatches(summary),
        *_received(outcome, summary),
        *_sent(outcome, summary),
        "<h2>Counters</h2>",
        _counters(summary),
        "</body></html>",
    ]
    return "\n".join(lines)


def _received(outcome: Outcome, summary: dict[str, Any]) -> list[str]:
    if not outcome.receives:
        return []
    return [
        "<h2>Received</h2>",
        _connections(summary),
        "<h3>Streams</h3>",
        "<p>Each line is a stretch of the received stream; boxes are TCP segments with their packet numbers, at their "
        "sequence numbers. The upper row holds what arrived in order, the rows below what came late or again. "
        "Point at a box to see what the device did and why.</p>",
        KEY,
        *_pictures(outcome),
    ]


def _sent(outcome: Outcome, summary: dict[str, Any]) -> list[str]:
    if outcome.tx is None:
        return []
    drawn = [
        (socket.connection.name, "", boxes, sent_records(socket)) for socket, boxes in sent_boxes(outcome.tx).items()
    ]
    return [
        "<h2>Sent</h2>",
        _tx_connections(summary),
        "<h3>Streams</h3>",
        f"<p>The same for what the host sends, from the first offloaded record on; packets out of order by mechanism "
        f"{outcome.tx.resync.value}.</p>",
        TX_KEY,
        *_drawn(drawn),
    ]


def _run_line(summary: dict[str, Any]) -> str:
    engine = summary["engine"]
    how = (
        "golden model only"
        if engine == "model"
        else f"engine {engine}, {summary['cycles']:,} cycles at {summary['cycles_per_second']:,.0f} a second"
    )
    waits = ", ".join(f"{k} {summary[k]:g}" for k in ("idle", "backpressure") if summary[k])
    packets = summary["packets"]
    policy = f"; receive policy {summary['rx_policy']}" if summary["rx_policy"] else ""
    return escape(
        f"{packets['captured']} packets captured, {packets['total']} through the device ({_halves(packets)}); {how}; "
        f"{summary['width']} bytes a beat{policy}; seed {summary['seed']}{'; ' + waits if waits else ''}"
    )


def _halves(packets: dict[str, Any]) -> str:
    return " and ".join(f"{packets[way]} {way}" for way in ("received", "sent") if packets[way] is not None)


def _mismatches(summary: dict[str, Any]) -> list[str]:
    if not summary["mismatches"]:
        return []
    rows = "".join(f"<li><code>{escape(m)}</code></li>" for m in summary["mismatches"])
    wave = f"<p>Waveform: <code>{escape(summary['waveform'])}</code></p>" if summary["waveform"] else ""
    return ["<h2>Differences</h2>", f"<ul>{rows}</ul>{wave}"]


def _connections(summary: dict[str, Any]) -> str:
    head = (
        "<tr><th>client</th><th>server</th><th>version, cipher</th><th>offload</th>"
        '<th class="n">packets decrypted</th><th class="n">records offloaded</th><th class="n">mixed</th>'
        '<th class="n">software</th><th class="n">resyncs asked for</th><th class="n">confirmed</th>'
        '<th class="n">self-proven</th><th class="n">ignored</th><th class="n">application bytes</th>'
        "<th>SHA-256</th></tr>"
    )
    rows = []
    for c in summary["connections"]:
        rx = c["rx"]
        cells = [
            escape(c["client"]),
            escape(c["server"]),
            escape(f"{c['version']} {c['cipher']}"),
            escape(offload_text(c)),
        ]
        numbers = [
            f"{rx['packets_decrypted']} of {rx['packets']}",
            rx["records_offloaded"],
            rx["records_mixed"],
            rx["records_software"],
            *(c["resync"][name] for name in ("requests", "confirmed", "self_proven", "ignored")),
            f"{rx['application_bytes']:,}",
        ]
        digest = rx["application_sha256"]
        rows.append(
            "<tr>"
            + "".join(f"<td>{c}</td>" for c in cells)
            + "".join(f'<td class="n">{n}</td>' for n in numbers)
            + (f'<td><code title="{digest}">{digest[:12]}…</code></td>' if digest else "<td></td>")
            + "</tr>"
        )
    return f'<div class="scroll"><table>{head}{"".join(rows)}</table></div>'


def _tx_connections(summary: dict[str, Any]) -> str:
    names = ("packets encrypted", "as on the wire", "out of order", "in software", "dropped", "replayed bytes")
    head = "<tr><th>client</th><th>server</th><th>offload</th>"
    head += "".join(f'<th class="n">{name}</th>' for name in names) + "</tr>"
    rows: list[str] = []
    for c in summary["connections"]:
        tx = c["tx"]
        cells = [escape(c["client"]), escape(c["server"]), escape(tx_offload_text(c))]
        numbers = [
            f"{tx['packets_encrypted']} of {tx['packets']}",
            f"{tx['wire_identical']} of {tx['wire_identical'] + tx['wire_mismatches']}",
            tx["out_of_order"],
            tx["fallback"],
            tx["dropped"],
            f"{tx['replayed_bytes']:,}",
        ]
        row = "".join(f"<td>{cell}</td>" for cell in cells)
        rows.append(f"<tr>{row}" + "".join(f'<td class="n">{n}</td>' for n in numbers) + "</tr>")
    return f'<div class="scroll"><table>{head}{"".join(rows)}</table></div>'


def _counters(summary: dict[str, Any]) -> str:
    def table(title: str, counters: dict[str, int]) -> str:
        rows = "".join(
            f'<tr><td><code>{escape(k)}</code></td><td class="n">{v:,}</td></tr>' for k, v in counters.items()
        )
        return f"<div><h3>{title}</h3><table>{rows}</table></div>"

    tables = table("Driver (ethtool -S)", summary["counters"])
    for title, name in (("Receive device", "device_counters"), ("Transmit device", "tx_device_counters")):
        if summary[name]:
            tables += table(f"{title}: packets by status", summary[name])
    return f'<div class="pair">{tables}</div>'


def _pictures(outcome: Outcome) -> list[str]:
    placed, maps = place_packets(outcome), record_maps(outcome)
    drawn: list[tuple[str, str, list[Box], Strips]] = []
    for socket in outcome.sockets:
        connection = socket.connection
        if placed.get(connection):
            records = maps.get(connection, RecordMap([]))
            boxes = received_boxes(placed[connection], records)
            drawn.append((connection.name, _said(connection, note(socket)), boxes, received_records(records)))
    return _drawn(drawn)


def _said(connection: Connection, remark: str) -> str:
    return f"{connection.version}, {connection.cipher}{'; ' + remark if remark else ''}"


def _drawn(streams: list[tuple[str, str, list[Box], Strips]]) -> list[str]:
    """A picture of each stream: its name, what is to be said of it, packets, records."""
    out: list[str] = []
    for index, (name, said, boxes, records) in enumerate(streams[:MAX_PICTURES]):
        shown, left_out = bands(boxes, records)
        body = overview(boxes, records) + "".join(shown)
        if left_out:
            body += f'<p class="soft">{left_out} more stretches are not drawn; the ordinary ones go first.</p>'
        head = f"<h3>{escape(name)}</h3>" + (f'<p class="soft">{escape(said)}</p>' if said else "")
        # many connections: the first few open, the others on demand
        opened = " open" if index < 4 else ""
        out.append(f"{head}<details{opened}><summary>{len(boxes)} segments</summary>{body}</details>")
    if len(streams) > MAX_PICTURES:
        out.append(f'<p class="soft">{len(streams) - MAX_PICTURES} more connections are not drawn.</p>')
    return out
