"""Rate, hit rate and memory traffic against connections, a line for each cache, drawn as SVG."""

from collections.abc import Callable, Sequence
from html import escape

from sim.bench_cache import Cached
from sim.plot import Series, legend, panel, svg

WIDTH, HEIGHT = 1080, 330
SIZE = (290, 200)
LEFT, TOP, ACROSS = 56, 76, 350
COLOURS = ("#d3262f", "#d98a1f", "#3fa34d", "#4b7fd1", "#8a6fb0", "#48525c", "#1b9aa0", "#b04f8a")
STYLE = "".join(f".chart .c{n} {{ stroke: {c}; }} .chart circle.c{n} {{ fill: {c}; }}\n" for n, c in enumerate(COLOURS))
PANELS: tuple[tuple[str, Callable[[Cached], float]], ...] = (
    ("rate, Gb/s of payload", lambda row: row.rate),
    ("hits, % of packets", lambda row: 100 * row.hit_rate),
    ("memory traffic, Gb/s", lambda row: row.traffic),
)


def cache_chart(rows: Sequence[Cached], title: str) -> str:
    """Panels side by side over a logarithmic axis of connections. `title`: what the traffic and the memory are."""
    body = [f'<text class="left" x="{LEFT}" y="18">{escape(title)}</text>']
    for n, (name, value) in enumerate(PANELS):
        lines = _lines(rows, value)
        body += panel(name, lines, "connections", "", (LEFT + n * ACROSS, TOP), SIZE, _count)
        if not n:
            body += [legend(line, LEFT + k * 125, 36) for k, line in enumerate(lines)]
    return svg(WIDTH, HEIGHT, body, title, STYLE) + "\n"


def _lines(rows: Sequence[Cached], value: Callable[[Cached], float]) -> list[Series]:
    return [
        Series(
            f"{entries:,} entries",
            sorted((row.connections, round(value(row), 1)) for row in rows if row.entries == entries),
            f"c{n % len(COLOURS)}",
        )
        for n, entries in enumerate(sorted({row.entries for row in rows}))
    ]


def _count(connections: float) -> str:
    """1024 as 1K, 1048576 as 1M."""
    for unit, name in ((1 << 20, "M"), (1 << 10, "K")):
        if connections >= unit:
            return f"{connections / unit:g}{name}"
    return f"{connections:g}"
