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
    """A line of points (x, y), or with `marks` diamonds alone. `style` names CSS classes: rx, tx, bus, model, ..."""

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


def svg(width: float, height: float, body: Iterable[str], title: str, style: str = "") -> str:
    """The picture; `style`: rules beside those that all plots have."""
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height:.0f}" width="{width}" height="{height:.0f}" role="img" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{escape(title)}</title><style>{STYLE}{style}</style>'
        f'<rect width="{width}" height="{height:.0f}" fill="#fff"/>{"".join(body)}</svg>'
    )


def _step(highest: float) -> float:
    """A round distance of marks, of which 4 to 10 reach the highest value."""
    power = 10.0 ** math.floor(math.log10(highest))
    return next(s * power for s in (0.1, 0.2, 0.25, 0.5, 1) if highest / (s * power) <= 10)


def panel(
    title: str,
    series: Sequence[Series],
    x_label: str,
    y_label: str = "",
    at: tuple[float, float] = (LEFT, TOP),
    size: tuple[float, float] = (PLOT_WIDTH, PLOT_HEIGHT),
    told: Callable[[float], str] = "{:g}".format,
) -> Iterable[str]:
    """Series over a logarithmic x axis, marked at every x there is; y from 0 on. `at`: the upper left corner."""
    (left, top), (width, height) = at, size
    xs = sorted({x for s in series for x, _ in s.points})
    low = math.log2(xs[0])
    span = math.log2(xs[-1]) - low or 1.0
    highest = max(y for s in series for _, y in s.points) * 1.05 or 1.0

    def x(value: float) -> float:
        return left + width * (math.log2(value) - low) / span

    def y(value: float) -> float:
        return top + height * (1 - value / highest)

    yield f'<text class="title" x="{left + width / 2}" y="{top - 14}">{escape(title)}</text>'
    step = _step(highest)
    for n in range(int(highest / step) + 1):
        yield f'<path class="grid" d="M{left} {y(n * step):.1f}h{width}"/>'
        yield f'<text class="right" x="{left - 6}" y="{y(n * step) + 4:.1f}">{n * step:g}</text>'
    said = -math.inf
    for value in xs:
        yield f'<path class="axis" d="M{x(value):.1f} {y(0):.1f}v4"/>'
        if x(value) - said > 34:
            yield f'<text x="{x(value):.1f}" y="{y(0) + 17:.1f}">{told(value)}</text>'
            said = x(value)
    yield f'<text x="{left + width / 2}" y="{y(0) + 36:.1f}">{escape(x_label)}</text>'
    if y_label:
        turned = f"translate({left - 48} {top + height / 2}) rotate(-90)"
        yield f'<text transform="{turned}" x="0" y="0">{escape(y_label)}</text>'
    for one in series:
        yield from _series(one, x, y)


def _series(one: Series, x: Scale, y: Scale) -> Iterable[str]:
    if one.marks:
        yield from (diamond(x(px), y(py), f"{one.name}: {py:g}") for px, py in one.points)
    elif one.points:
        path = "L".join(f"{x(px):.1f} {y(py):.1f}" for px, py in one.points)
        yield f'<path class="line {one.style}" d="M{path}"/>'
        if "bus" not in one.style:
            for px, py in one.points:
                told = f"<title>{escape(f'{one.name}, {px:g}: {py:g}')}</title>"
                yield f'<circle class="{one.style}" cx="{x(px):.1f}" cy="{y(py):.1f}" r="3">{told}</circle>'


def legend(one: Series, x: float, y: float) -> str:
    """A sample of the line and its name, from `x` on."""
    sample = diamond(x + 12, y) if one.marks else f'<path class="line {one.style}" d="M{x} {y}h24"/>'
    return f'{sample}<text class="left" x="{x + 30}" y="{y + 4}">{escape(one.name)}</text>'


def lines(title: str, series: Sequence[Series], x_label: str, y_label: str) -> str:
    """A panel with its legend beside it. Empty for less than two points on the x axis."""
    if len({x for s in series for x, _ in s.points}) < 2:
        return ""
    body = [*panel(title, series, x_label, y_label)]
    for n, one in enumerate(s for s in series if s.points):
        body.append(legend(one, LEFT + PLOT_WIDTH + 14, TOP + 10 + n * LEGEND))
    return svg(WIDTH, TOP + PLOT_HEIGHT + 48, body, title)


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
    return svg(WIDTH, TOP + len(values) * (BAR + 6) + 8, body, title)
