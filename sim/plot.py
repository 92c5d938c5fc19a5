"""Lines over a logarithmic axis, and bars, drawn as SVG in the style of `sim.chart`."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from sim.chart import CHART_STYLE, Scale, diamond

WIDTH, PLOT_WIDTH, PLOT_HEIGHT = 660, 430, 260
LEFT, TOP, LEGEND = 64, 40, 18
BAR = 18
STYLE = (
    CHART_STYLE
    + """
.chart .rx { stroke: #4b7fd1; } .chart .tx { stroke: #3fa34d; } .chart .bus { stroke: #98a2ad; stroke-dasharray: 2 3; }
.chart circle.rx, .chart rect.rx { fill: #4b7fd1; } .chart circle.tx, .chart rect.tx { fill: #3fa34d; }
.chart rect.duplex { fill: #e39b2d; } .chart .model { stroke-dasharray: 6 4; } .chart circle.model { fill: #fff; }
.chart circle { stroke-width: 1.5; } .chart .target { stroke: #d3262f; stroke-width: 2; }
"""
)


@dataclass(frozen=True)
class Series:
    """A line of points (x, y), or with `marks` diamonds alone. `style` names CSS classes: rx, tx, bus, model."""

    name: str
    points: Sequence[tuple[float, float]]
    style: str = ""
    marks: bool = False


@dataclass(frozen=True)
class Bar:
    """A value from 0 on; `target`, a mark across it."""

    name: str
    value: float
    style: str
    target: float | None = None


def _svg(height: float, body: Iterable[str], title: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}" role="img" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{escape(title)}</title><style>{STYLE}</style>'
        f'<rect width="{WIDTH}" height="{height:.0f}" fill="#fff"/>{"".join(body)}</svg>'
    )


def _step(highest: float) -> float:
    """A round distance of marks, of which 4 to 10 reach the highest value."""
    power = 10.0 ** math.floor(math.log10(highest))
    return next(s * power for s in (0.1, 0.2, 0.25, 0.5, 1) if highest / (s * power) <= 10)


def lines(title: str, series: Sequence[Series], x_label: str, y_label: str) -> str:
    """Series over a logarithmic x axis, marked at every x there is; y from 0 on. Empty for less than two of those."""
    points = [p for s in series for p in s.points]
    xs = sorted({x for x, _ in points})
    if len(xs) < 2:
        return ""
    low, high = math.log2(xs[0]), math.log2(xs[-1])
    highest = max(y for _, y in points) * 1.05 or 1.0

    def x(value: float) -> float:
        return LEFT + PLOT_WIDTH * (math.log2(value) - low) / (high - low)

    def y(value: float) -> float:
        return TOP + PLOT_HEIGHT * (1 - value / highest)

    body = [f'<text class="title" x="{LEFT + PLOT_WIDTH / 2}" y="20">{escape(title)}</text>']
    step = _step(highest)
    for n in range(int(highest / step) + 1):
        body.append(f'<path class="grid" d="M{LEFT} {y(n * step):.1f}h{PLOT_WIDTH}"/>')
        body.append(f'<text class="right" x="{LEFT - 6}" y="{y(n * step) + 4:.1f}">{n * step:g}</text>')
    said = -math.inf
    for value in xs:
        body.append(f'<path class="axis" d="M{x(value):.1f} {y(0):.1f}v4"/>')
        if x(value) - said > 34:
            body.append(f'<text x="{x(value):.1f}" y="{y(0) + 17:.1f}">{value:g}</text>')
            said = x(value)
    body.append(f'<text x="{LEFT + PLOT_WIDTH / 2}" y="{y(0) + 36:.1f}">{escape(x_label)}</text>')
    body.append(
        f'<text transform="translate(16 {TOP + PLOT_HEIGHT / 2}) rotate(-90)" x="0" y="0">{escape(y_label)}</text>'
    )
    for n, one in enumerate(series):
        body += _series(one, x, y, TOP + 10 + n * LEGEND)
    return _svg(TOP + PLOT_HEIGHT + 48, body, title)


def _series(one: Series, x: Scale, y: Scale, legend: float) -> Iterable[str]:
    if not one.points:
        return
    at = LEFT + PLOT_WIDTH + 14
    if one.marks:
        yield from (diamond(x(px), y(py), f"{one.name}: {py:g}") for px, py in one.points)
        yield diamond(at + 12, legend)
    else:
        path = "L".join(f"{x(px):.1f} {y(py):.1f}" for px, py in one.points)
        yield f'<path class="line {one.style}" d="M{path}"/>'
        if "bus" not in one.style:
            for px, py in one.points:
                told = f"<title>{escape(f'{one.name}, {px:g}: {py:g}')}</title>"
                yield f'<circle class="{one.style}" cx="{x(px):.1f}" cy="{y(py):.1f}" r="3">{told}</circle>'
        yield f'<path class="line {one.style}" d="M{at} {legend}h24"/>'
    yield f'<text class="left" x="{at + 30}" y="{legend + 4}">{escape(one.name)}</text>'


def bars(title: str, values: Sequence[Bar], told: Callable[[float], str] = "{:g}".format) -> str:
    """Horizontal bars from 0 on, `told` beside each. Empty without any."""
    if not values:
        return ""
    left, wide = 190, 330
    highest = max(max(b.value, b.target or 0) for b in values) or 1.0
    body = [f'<text class="title" x="{left + wide / 2}" y="20">{escape(title)}</text>']
    for n, bar in enumerate(values):
        top = TOP + n * (BAR + 6)
        length = wide * bar.value / highest
        body.append(f'<text class="right" x="{left - 8}" y="{top + 13}">{escape(bar.name)}</text>')
        body.append(f'<rect class="{bar.style}" x="{left}" y="{top}" width="{length:.1f}" height="{BAR}"/>')
        body.append(f'<text class="left" x="{left + wide + 10}" y="{top + 13}">{escape(told(bar.value))}</text>')
        if bar.target is not None:
            mark = left + wide * bar.target / highest
            said = escape(f"target {told(bar.target)}")
            body.append(f'<path class="target" d="M{mark:.1f} {top - 2}v{BAR + 4}"><title>{said}</title></path>')
    return _svg(TOP + len(values) * (BAR + 6) + 8, body, title)
