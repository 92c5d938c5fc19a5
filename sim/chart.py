"""Shares of records against loss and reordering, drawn as SVG."""

from collections.abc import Callable, Iterable, Sequence
from html import escape

from model.contract import RxPolicy
from sim.bench_loss import HANDLINGS, POLICIES, PUBLISHED, Mean

WIDTH, HEIGHT = 1080, 580
PANEL_WIDTH, PANEL_HEIGHT = 290, 190
LEFT, TOP = 64, 62
ACROSS, DOWN = 345, 262
AXES = {"loss": "segments lost, %", "reorder": "segments late, %"}
Scale = Callable[[float], float]
TITLES = ("fully offloaded", "mixed", "in software")

CHART_STYLE = """
.chart { background: #fff; } .chart text { font: 12px system-ui, sans-serif; fill: #48525c; text-anchor: middle; }
.chart .title { font-weight: 600; fill: #1d2329; } .chart .left { text-anchor: start; }
.chart .right { text-anchor: end; } .chart .grid { stroke: #e3e7eb; fill: none; } .chart .axis { stroke: #98a2ad; }
.chart .line { fill: none; stroke-width: 2; } .chart .spread { stroke-width: 1; opacity: .45; }
.chart .published { stroke: #8a6fb0; } .chart .kernel { stroke: #4b7fd1; } .chart .full { stroke: #3fa34d; }
.chart circle.published { fill: #8a6fb0; } .chart circle.kernel { fill: #4b7fd1; } .chart circle.full { fill: #3fa34d; }
.chart .device { fill: #d3262f; } .chart text.device { text-anchor: start; font-size: 11px; }
.chart text.device { paint-order: stroke; stroke: #fff; stroke-width: 4px; }
"""


def chart(means: Sequence[Mean]) -> str:
    """Rows: loss, reordering; columns: what a record cost the stack; lines: policies, bars: spread of the sessions."""
    highest = max([m.percent for m in means], default=10.0) or 10.0
    body = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>', *_legend()]
    for row, impairment in enumerate(AXES):
        here = [m for m in means if m.impairment == impairment]
        for column in range(len(HANDLINGS)):
            body += _panel(here, impairment, column, LEFT + column * ACROSS, TOP + row * DOWN, highest)
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'xmlns="http://www.w3.org/2000/svg"><style>{CHART_STYLE}</style>{"".join(body)}</svg>'
    )


def _legend() -> Iterable[str]:
    x = LEFT
    for policy in POLICIES:
        yield f'<path class="line {policy.value}" d="M{x} 18h24"/>'
        yield f'<text class="left" x="{x + 30}" y="22">{policy.value}</text>'
        x += 120
    yield (
        diamond(x + 8, 18) + f'<text class="left" x="{x + 20}" y="22">ConnectX-6 Dx, as published (ASPLOS 2021)</text>'
    )


def _panel(means: list[Mean], impairment: str, column: int, x0: float, y0: float, highest: float) -> Iterable[str]:
    def x(percent: float) -> float:
        return x0 + percent / highest * PANEL_WIDTH

    def y(share: float) -> float:
        return y0 + PANEL_HEIGHT * (1 - share / 100)

    yield f'<text class="title" x="{x0 + PANEL_WIDTH / 2}" y="{y0 - 10}">{TITLES[column]}, % of records</text>'
    for share in (0, 25, 50, 75, 100):
        yield f'<path class="grid" d="M{x0} {y(share):.1f}h{PANEL_WIDTH}"/>'
        yield f'<text class="right" x="{x0 - 6}" y="{y(share) + 4:.1f}">{share}</text>'
    step = next(s for s in (0.5, 1, 2, 5, 10, 20) if highest / s <= 10)
    for n in range(int(highest / step) + 1):
        yield f'<path class="axis" d="M{x(n * step):.1f} {y(0)}v4"/>'
        yield f'<text x="{x(n * step):.1f}" y="{y(0) + 17}">{n * step:g}</text>'
    yield f'<text x="{x0 + PANEL_WIDTH / 2}" y="{y(0) + 34}">{AXES[impairment]}</text>'
    for policy in POLICIES:
        yield from _line([m for m in means if m.policy is policy], policy, column, x, y)
    if column:
        return
    for point in PUBLISHED:
        if point.impairment == impairment and point.percent <= highest:
            px, py = x(point.percent), y(point.offloaded)
            yield diamond(px, py, f"ConnectX-6 Dx at {point.percent:g} %: {point.said}")
            yield f'<text class="device" x="{px + 9:.1f}" y="{py - 5:.1f}">{escape(point.said)}</text>'


def _line(means: list[Mean], policy: RxPolicy, column: int, x: Scale, y: Scale) -> Iterable[str]:
    for m in means:
        at, low, high, mean = x(m.percent), y(m.low[column]), y(m.high[column]), y(m.shares[column])
        title = f"{policy.value} at {m.percent:g} %: {m.shares[column]:.1f} % ({m.sessions} sessions)"
        yield f'<path class="spread {policy.value}" d="M{at:.1f} {low:.1f}V{high:.1f}"/>'
        yield f'<circle class="{policy.value}" cx="{at:.1f}" cy="{mean:.1f}" r="3"><title>{title}</title></circle>'
    path = "L".join(f"{x(m.percent):.1f} {y(m.shares[column]):.1f}" for m in means)
    if path:
        yield f'<path class="line {policy.value}" d="M{path}"/>'


def diamond(x: float, y: float, title: str = "") -> str:
    inside = f"<title>{escape(title)}</title>" if title else ""
    return f'<path class="device" d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z">{inside}</path>'
