"""`ktls-nic bench --html`: one self-contained page with the plots and the table."""

from collections.abc import Iterable, Sequence
from html import escape

from model.cycles.packets import HEADERS
from sim.bench import RECORD_TARGETS, SEGMENT_TARGETS, bus_limit
from sim.bench_cases import BASE, DIRECTIONS, Measured, record_size
from sim.bench_rows import BEYOND, RATE, Figure, counted
from sim.plot import Bar, Series, bars, lines
from sim.report import STYLE

Points = list[tuple[float, float]]
TOLD = {True: "met", False: "not met", None: ""}


def bench_page(measured: Sequence[Measured], rows: Sequence[Figure], how: str) -> str:
    """The page. `how` says what was measured with which settings."""
    counts = counted(rows)
    verdict = f"{counts['met']} targets met, {counts['missed']} not met, {counts['failed']} rows failed"
    widths = sorted({m.case.width for m in measured})
    whole = [m for m in measured if not m.failure]
    plots = [plot for width in widths for plot in _plots([m for m in whole if m.case.width == width], width, rows)]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8"><title>ktls-nic bench</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<style>{STYLE}</style></head><body>",
            "<h1>ktls-nic bench</h1>",
            f'<p class="soft">{escape(how)}</p>',
            f'<p class="verdict{" bad" if counts["failed"] else ""}">{verdict}</p>',
            '<p class="soft">Full lines: RTL; broken lines: cycle model; dotted: what the bus carries, headers of '
            f"{HEADERS} bytes in front of each payload; red: the design's targets, which count the payload's own beats "
            "only.</p>",
            '<div class="pair">',
            *(f'<div class="scroll">{plot}</div>' for plot in [*plots, _speed(whole)] if plot),
            "</div>",
            "<h2>Figures</h2>",
            f'<div class="scroll">{_table(rows)}</div>',
            '<p class="soft">Not measured here, but by <code>ktls-nic synth</code>: LUTs and the placed clock.</p>',
            "</body></html>",
        ]
    )


def _points(measured: Iterable[Measured], prefix: str, model: bool) -> Points:
    """(segment or record size or connections, rate) of the rate cases of that name."""
    points: Points = []
    for m in measured:
        traffic = m.case.traffic
        rates = m.model if model else m.rtl
        base = prefix == "round_robin_" and traffic is not None and traffic.name == BASE
        if m.case.kind != "rate" or traffic is None or "rate" not in rates:
            continue
        if traffic.name.startswith(prefix) or base:
            end = traffic.name.removeprefix(prefix)
            at = {"segment_": traffic.segment, "round_robin_": traffic.connections}.get(prefix) or record_size(end)
            points.append((at, round(rates["rate"], 3)))
    return sorted(points)


def _rates(measured: Sequence[Measured], prefix: str) -> list[Series]:
    series: list[Series] = []
    for direction in DIRECTIONS:
        here = [m for m in measured if m.case.direction == direction]
        series.append(Series(f"{direction}, RTL", _points(here, prefix, False), direction))
        series.append(Series(f"{direction}, cycle model", _points(here, prefix, True), f"{direction} model"))
    return series


def _plots(measured: Sequence[Measured], width: int, rows: Sequence[Figure]) -> Iterable[str]:
    beat = f"W={width}: "
    segments = _rates(measured, "segment_")
    at = sorted({x for s in segments for x, _ in s.points})
    segments.append(Series("bus", [(x, bus_limit(width, int(x))) for x in at], "bus"))
    wanted = SEGMENT_TARGETS.get(width, {})
    segments.append(Series("target", [(x, wanted[int(x)]) for x in at if x in wanted], marks=True))
    yield lines(f"{beat}rate against segment size", segments, "payload bytes of a segment (records of 16 KB)", RATE)
    records = _rates(measured, "records_")
    yield lines(
        f"{beat}rate against record size",
        [*records, _record_targets(measured, records, width)],
        "payload bytes of a record (segments of 1448 B)",
        RATE,
    )
    yield _latency(rows, width)
    yield lines(f"{beat}rate against connections in turn", _rates(measured, "round_robin_"), "connections", RATE)
    yield _installs(rows, width)


def _record_targets(measured: Sequence[Measured], records: Sequence[Series], width: int) -> Series:
    """The design's shares, of the receive direction's rate with segments of 1448 bytes."""
    base = next((m.rtl["rate"] for m in measured if m.case.name == f"rx/w{width}/{BASE}"), None)
    sizes = {record_size(name): share for name, share in RECORD_TARGETS.get(width, {}).items()}
    there = {x for s in records for x, _ in s.points}
    points = [(size, round(base * share, 2)) for size, share in sizes.items() if size in there] if base else []
    return Series("target (rx)", points, marks=True)


def _latency(rows: Iterable[Figure], width: int) -> str:
    series: list[Series] = []
    here = [r for r in rows if r.name.split("/")[1] == f"w{width}" and "/latency_" in r.name]
    for direction in DIRECTIONS:
        own = [r for r in here if r.name.startswith(f"{direction}/")]
        rtl = [(float(r.name.rsplit("_", 1)[1]), r.value) for r in own if r.value is not None]
        model = [(float(r.name.rsplit("_", 1)[1]), r.model) for r in own if r.model is not None]
        series += [Series(f"{direction}, RTL", rtl, direction)]
        series += [Series(f"{direction}, cycle model", model, f"{direction} model")]
    wanted = [(float(r.name.rsplit("_", 1)[1]), r.target) for r in here if r.target is not None]
    series.append(Series("target (rx)", wanted, marks=True))
    return lines(f"W={width}: latency, first byte in to first byte out", series, "payload bytes of a segment", BEYOND)


def _installs(rows: Iterable[Figure], width: int) -> str:
    told = {"install": "alone", "install_longest": "beside traffic, longest", "install_interval": "one to the next"}
    values: list[Bar] = []
    for row in rows:
        direction, beat, figure = row.name.split("/")
        if beat == f"w{width}" and figure in told and row.value is not None:
            values.append(Bar(f"{direction}, {told[figure]}", row.value, direction, row.target))
    return bars(f"W={width}: installs, cycles; the mark is the target", values)


def _speed(measured: Iterable[Measured]) -> str:
    """Cycles a second of all cases of a direction and width, while so many ran side by side."""
    sums: dict[tuple[int, str], tuple[int, float]] = {}
    for m in measured:
        key = m.case.width, m.case.direction
        cycles, seconds = sums.get(key, (0, 0.0))
        sums[key] = cycles + m.cycles, seconds + m.seconds
    values = [Bar(f"{d}, W={w}", c / s, d) for (w, d), (c, s) in sorted(sums.items()) if s]
    return bars("simulation speed in this run, cycles a second and process", values, lambda v: f"{v:,.0f}")


def _table(rows: Iterable[Figure]) -> str:
    head = "".join(f'<th class="n">{name}</th>' for name in ("RTL", "bus", "target"))
    head += '<th></th><th class="n">cycle model</th><th class="n">error of its cycles, %</th><th>unit</th>'
    return f"<table><tr><th>figure</th>{head}</tr>{''.join(map(_row, rows))}</table>"


def _row(row: Figure) -> str:
    if row.failure:
        return f'<tr><td>{escape(row.name)}</td><td colspan="7">failed: {escape(row.failure)}</td></tr>'
    numbers = [f'<td class="n">{"" if v is None else f"{v:,g}"}</td>' for v in (row.value, row.bus, row.target)]
    model = [f'<td class="n">{"" if v is None else f"{v:g}"}</td>' for v in (row.model, row.model_error)]
    said = TOLD[row.met]
    met = f"<td>{f'<b>{said}</b>' if row.met is False else said}</td>"
    return f"<tr><td>{escape(row.name)}</td>{''.join(numbers)}{met}{''.join(model)}<td>{escape(row.unit)}</td></tr>"
