"""The picture of a stream along its sequence numbers, as SVG.

As the kernel document draws it: packets the device handled green, others blue, record starts red. The stream is cut
into bands, read like lines of text; x is the sequence number. In a band the upper lane holds what came in order, so it
shows holes; what came late or again stands in the lanes below, in order. The strip under a band tells what each record
cost the stack. Above the bands an overview shows all packets, y being their order.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

WIDTH = 1120
LANE, GAP, STRIP = 16, 3, 4
OVERVIEW_HEIGHT = 150
MAX_LATE_LANES = 6
SEGMENTS_PER_BAND = 24
LABEL_WIDTH = 22
TITLE = 26
MAX_BANDS = 120
MAX_OVERVIEW = 6000


@dataclass(frozen=True, slots=True)
class Box:
    """A packet at bytes [start, end) of its stream. `kind` is a class of the style sheet."""

    packet: int
    start: int
    end: int
    kind: str
    ordinary: bool
    """Left out first where there are too many."""
    title: str


@dataclass(frozen=True, slots=True)
class Strip:
    """A record at bytes [start, end); `kind` is a class of the style sheet, empty: no strip is drawn."""

    start: int
    end: int
    kind: str
    title: str


class Strips:
    """The records of a stream, in order."""

    def __init__(self, records: list[Strip]):
        self._records = records
        self._starts = [r.start for r in records]
        self.end = records[-1].end if records else 0

    def within(self, start: int, end: int) -> list[Strip]:
        """Records with bytes in [start, end)."""
        first = max(bisect_right(self._starts, start) - 1, 0)
        return [r for r in self._records[first : bisect_left(self._starts, end)] if r.end > start]

    def beginning(self, start: int, end: int) -> list[int]:
        """Places in [start, end) where a record begins."""
        return self._starts[bisect_left(self._starts, start) : bisect_left(self._starts, end)]


def _rect(x: float, y: float, width: float, height: float, kind: str, title: str = "") -> str:
    inside = f"<title>{title}</title>" if title else ""
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.6):.1f}" height="{height}">{inside}</rect>'
    )


def overview(placed: list[Box], records: Strips) -> str:
    """All packets: x the place in the stream, y their order. Retransmissions leave the diagonal."""
    if not placed:
        return ""
    low, high = min(p.start for p in placed), max(p.end for p in placed)
    scale = WIDTH / max(high - low, 1)
    step = max(len(placed) // MAX_OVERVIEW, 1)
    row = OVERVIEW_HEIGHT / len(placed)
    height = max(round(row, 1), 1.6)
    body = []
    for index, packet in enumerate(placed):
        # of very many packets every n-th shows the course; those off it are all shown
        if index % step and packet.ordinary:
            continue
        x, y = (packet.start - low) * scale, index * row
        body.append(_rect(x, y, max((packet.end - packet.start) * scale, 1.5), height, packet.kind))
    starts = records.beginning(low, high)
    if len(starts) <= WIDTH // 4:
        ticks = "".join(f"M{(s - low) * scale:.1f} {OVERVIEW_HEIGHT + 2}v6" for s in starts)
        body.append(f'<path class="start" d="{ticks}"/>')
    return _svg(OVERVIEW_HEIGHT + 10, body, "overview")


def bands(placed: list[Box], records: Strips) -> tuple[list[str], int]:
    """The bands as SVGs, and how many were left out (bands with nothing but ordinary packets go first)."""
    if not placed:
        return [], 0
    low = min(min(p.start for p in placed), 0)
    high = max(max(p.end for p in placed), records.end)
    size = _band_size(placed)
    count = (high - low + size - 1) // size
    members: list[list[Box]] = [[] for _ in range(count)]
    for packet in placed:
        for band in range((packet.start - low) // size, (packet.end - 1 - low) // size + 1):
            members[band].append(packet)
    shown = [b for b in range(count) if members[b]]
    left_out = 0
    if len(shown) > MAX_BANDS:
        interesting = [b for b in shown if any(not p.ordinary for p in members[b])]
        keep = sorted({*shown[:10], *interesting[: MAX_BANDS - 10]})
        left_out = len(shown) - len(keep)
        shown = keep
    return [_band(low + b * size, size, members[b], records) for b in shown], left_out


def _band_size(placed: list[Box]) -> int:
    """Stream bytes a band: so that a common segment is wide enough to bear its packet's number."""
    sizes = sorted(p.end - p.start for p in placed)
    common = sizes[len(sizes) * 3 // 4]
    return max(common * SEGMENTS_PER_BAND, 512)


def _band(start: int, size: int, members: list[Box], records: Strips) -> str:
    height, body = _stretch(start, size, members, records)
    return f'<div class="band"><span>{_place(start)}</span>{_svg(height, body, "band")}</div>'


def figure(rows: list[tuple[str, list[Box], Strips]], style: str) -> str:
    """Short streams one below the other, each under its title, as a picture that stands alone."""
    body = [f"<style>{style}</style>"]
    y = 0
    for title, placed, records in rows:
        size = max(max(p.end for p in placed), records.end)
        height, drawn = _stretch(0, size, placed, records)
        y += TITLE
        body.append(f'<text class="title" x="0" y="{y - 8}">{escape(title)}</text>')
        body.append(f'<g transform="translate(0 {y})">{"".join(drawn)}</g>')
        y += round(height) + TITLE // 2
    return _svg(y, [f'<rect class="paper" width="{WIDTH}" height="{y}"/>', *body], "figure")


def _stretch(start: int, size: int, members: list[Box], records: Strips) -> tuple[float, list[str]]:
    """Packets and records with bytes in [start, start + size): height and what is drawn."""
    scale = WIDTH / size
    lanes: list[int] = []
    body: list[str] = []
    reached = start
    drawn: list[tuple[int, Box]] = []
    for packet in members:
        if packet.start >= reached or (packet.start < start and not drawn):
            lane, reached = 0, packet.end
        else:
            lane = next((i for i, end in enumerate(lanes, 1) if end <= packet.start), len(lanes) + 1)
            if lane > len(lanes):
                lanes.append(packet.end)
            else:
                lanes[lane - 1] = packet.end
            lane = min(lane, MAX_LATE_LANES)
        drawn.append((lane, packet))
    lane_count = 1 + max((lane for lane, _ in drawn), default=0)
    bottom = lane_count * (LANE + GAP)
    for lane, packet in drawn:
        left, right = max(packet.start, start), min(packet.end, start + size)
        x, y, width = (left - start) * scale, lane * (LANE + GAP), (right - left) * scale
        body.append(_rect(x, y, max(width - 1, 0.8), LANE, packet.kind, escape(packet.title)))
        if width >= LABEL_WIDTH:
            body.append(f'<text x="{x + width / 2:.1f}" y="{y + 12}">{packet.packet}</text>')
    for record in records.within(start, start + size):
        if record.kind:
            left, right = max(record.start, start), min(record.end, start + size)
            width = (right - left) * scale
            body.append(_rect((left - start) * scale, bottom, width, STRIP, record.kind, escape(record.title)))
    marks = "".join(f"M{(s - start) * scale:.1f} 0v{bottom + STRIP}" for s in records.beginning(start, start + size))
    body.append(f'<path class="start" d="{marks}"/>')
    return bottom + STRIP, body


def _place(at: int) -> str:
    return f"{at:,}".replace(",", "\u2009")


def _svg(height: float, body: Iterable[str], kind: str) -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(body)}</svg>'
    )
