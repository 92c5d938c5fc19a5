"""`bench loss --report`: a page with the chart, the table and the sessions."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from sim.bench_loss import HANDLINGS, POLICIES, PUBLISHED, Mean, Measured
from sim.chart import chart
from sim.figures import FIGURES, draw
from sim.report import STYLE

TOLD = {"loss": "lost", "reorder": "late"}


def write_loss_report(measured: Sequence[Measured], means: Sequence[Mean], how: str, folder: Path) -> Path:
    """Write `index.html` and `loss.svg` into the folder; the page's path. `how` the sessions came about."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = chart(means)
    (folder / "loss.svg").write_text(drawn + "\n", encoding="utf-8")
    path = folder / "index.html"
    path.write_text(_page(measured, means, how, drawn), encoding="utf-8")
    return path


def _page(measured: Sequence[Measured], means: Sequence[Mean], how: str, drawn: str) -> str:
    unequal = sum(not one.equal for one in measured)
    status = (
        f"{unequal} of {len(measured)} runs read something else than software"
        if unequal
        else (f"EQUAL: in all {len(measured)} runs applications read the same as without a device")
    )
    points = "; ".join(f"{p.said} fully offloaded with {p.percent:g} % {TOLD[p.impairment]}" for p in PUBLISHED)
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8"><title>TLS offload under loss and reordering</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<style>{STYLE}</style></head><body>",
            "<h1>TLS offload under loss and reordering</h1>",
            f'<p class="soft">{escape(how)}; golden device, driver and stack</p>',
            f'<p class="verdict{" bad" if unequal else ""}">{escape(status)}</p>',
            f'<div class="scroll">{drawn}</div>',
            '<p class="soft">Points: all records of all sessions; bars: the least and the most of one session. '
            f"Published for ConnectX-6 Dx with 16 KB records: {escape(points)} (ASPLOS 2021, section 6.4).</p>",
            "<h2>One segment late</h2>",
            "<p>The two figures of the kernel document: green segments came up decrypted, blue ones as on the wire, at "
            "red marks a record begins; segment 2 arrives behind segment 5. The strip below is green where the record "
            "was offloaded, orange where mixed, blue where in software.</p>",
            *(f'<div class="scroll">{draw(wanted)}</div>' for wanted in FIGURES),
            "<h2>Shares of the records, %</h2>",
            _means(means),
            "<h2>Sessions</h2>",
            _sessions(measured),
            "</body></html>",
        ]
    )


def _means(means: Sequence[Mean]) -> str:
    head = '<tr><th></th><th class="n">%</th><th class="n">sessions</th>' + "".join(
        f'<th class="n">{policy.value}: {handling.value}</th>' for policy in POLICIES for handling in HANDLINGS
    )
    rows: list[str] = []
    for n in range(0, len(means), len(POLICIES)):
        group = means[n : n + len(POLICIES)]
        first = group[0]
        cells = "".join(f'<td class="n">{share:.1f}</td>' for m in group for share in m.shares)
        rows.append(
            f'<tr><td>{TOLD[first.impairment]}</td><td class="n">{first.percent:g}</td>'
            f'<td class="n">{first.sessions}</td>{cells}</tr>'
        )
    return f'<div class="scroll"><table>{head}</tr>{"".join(rows)}</table></div>'


def _sessions(measured: Sequence[Measured]) -> str:
    names = ("requests", "confirmed", "self_proven", "ignored")
    head = "<tr><th>session</th><th>policy</th>" + "".join(
        f'<th class="n">{name.replace("_", " ")}</th>' for name in (*(h.value for h in HANDLINGS), *names)
    )
    rows: list[str] = []
    for one in measured:
        numbers = (*one.records, *(one.resync.get(name, 0) for name in names))
        cells = "".join(f'<td class="n">{n}</td>' for n in numbers)
        differs = "" if one.equal else " <b>differs from software</b>"
        rows.append(f"<tr><td>{escape(one.session.name)}{differs}</td><td>{one.policy.value}</td>{cells}</tr>")
    return (
        f"<details><summary>{len(measured)} runs</summary>"
        f'<div class="scroll"><table>{head}</tr>{"".join(rows)}</table></div></details>'
    )
