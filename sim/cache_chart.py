"""Rate, hit rate and memory traffic against connections, a line for each cache, drawn as SVG."""

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape

from sim.bench_cache import Cached
from sim.chart import CHART_STYLE

WIDTH, HEIGHT = 1080, 330
PANEL_WIDTH, PANEL_HEIGHT = 290, 200
LEFT, TOP, ACROSS = 56, 72, 350
COLOURS = ("#d3262f", "#d98a1f", "#3fa34d", "#4b7fd1", "#8a6fb0", "#48525c", "#1b9aa0", "#b04f8a")
PANELS: tuple[tuple[str, Callable[[Cached], float]], ...] = (
    ("rate, Gb/s of payload", lambda row: row.rate),
    ("hits, % of packets", lambda row: 100 * row.hit_rate),
    ("memory traffic, Gb/s", lambda row: row.traffic),
)


def cache_chart(rows: Sequence[Cached], title: str) -> str:
    """Panels side by side over a logarithmic axis of connections. `title`: what the traffic and the memory are."""
    entries = sorted({row.entries for row in rows})
    colours = {each: COLOURS[n % len(COLOURS)] for n, each in enumerate(entries)}
    body = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>']
    body.append(f'<text class="left" x="{LEFT}" y="18">{escape(title)}</text>')
    for n, each in enumerate(entries):
        x = LEFT + n * 125
        body.append(f'<path class="line" stroke="{colours[each]}" d="M{x} 36h24"/>')
        body.append(f'<text class="left" x="{x + 30}" y="40">{each:,} entries</text>')
    for n, (name, value) in enumerate(PANELS):
        body += _panel(rows, colours, name, value, LEFT + n * ACROSS)
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'xmlns="http://www.w3.org/2000/svg"><style>{CHART_STYLE}</style>{"".join(body)}</svg>\n'
    )


def _panel(
    rows: Sequence[Cached], colours: dict[int, str], name: str, value: Callable[[Cached], float], x0: float
) -> Iterable[str]:
    decades = max(math.log2(max(row.connections for row in rows)), 1)
    step, top = _axis(max(max(map(value, rows)), *(row.alone for row in rows if name.startswith("rate")), 0))

    def x(connections: int) -> float:
        return x0 + math.log2(connections) / decades * PANEL_WIDTH

    def y(amount: float) -> float:
        return TOP + PANEL_HEIGHT * (1 - amount / top)

    yield f'<text class="title" x="{x0 + PANEL_WIDTH / 2}" y="{TOP - 10}">{name}</text>'
    for n in range(round(top / step) + 1):
        yield f'<path class="grid" d="M{x0} {y(n * step):.1f}h{PANEL_WIDTH}"/>'
        yield f'<text class="right" x="{x0 - 6}" y="{y(n * step) + 4:.1f}">{n * step:g}</text>'
    for power in range(0, math.floor(decades) + 1, 2 if decades <= 12 else 4):
        at, text = x(2**power), f"{2**power}" if power < 10 else f"{2 ** (power - 10)}K"
        yield f'<path class="axis" d="M{at:.1f} {y(0)}v4"/><text x="{at:.1f}" y="{y(0) + 17}">{_mega(text)}</text>'
    yield f'<text x="{x0 + PANEL_WIDTH / 2}" y="{y(0) + 36}">connections</text>'
    for entries, colour in colours.items():
        line = sorted((row for row in rows if row.entries == entries), key=lambda row: row.connections)
        path = "L".join(f"{x(row.connections):.1f} {y(value(row)):.1f}" for row in line)
        yield f'<path class="line" stroke="{colour}" d="M{path}"/>'
        for row in line:
            told = f"{row.connections:,} connections, {entries:,} entries: {value(row):.1f}"
            yield (
                f'<circle fill="{colour}" cx="{x(row.connections):.1f}" cy="{y(value(row)):.1f}" r="3">'
                f"<title>{told}</title></circle>"
            )


def _mega(text: str) -> str:
    return f"{int(text[:-1]) // 1024}M" if text.endswith("K") and int(text[:-1]) >= 1024 else text


def _axis(highest: float) -> tuple[float, float]:
    """Step and end of an axis from 0."""
    highest = max(highest, 1e-3)
    unit = 10 ** math.floor(math.log10(highest))
    step = next(f * unit for f in (0.2, 0.25, 0.5, 1, 2) if highest / (f * unit) <= 6)
    return step, step * math.ceil(highest / step - 1e-9)
