"""Line charts as inline SVG that needs no script and no style sheet from elsewhere."""

import dataclasses
import html
import math
from collections.abc import Sequence

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 12, 42
MAX_POINTS, MAX_MARKED = 300, 40
# Lines differ in dashes too, for print in grey and for eyes that see few colours.
DASHES = ("none", "9 4", "2 3", "12 3 2 3", "5 5")
# Of the style classes c0, c1, ... on a light background.
COLORS = (
    "#0b62c4", "#b3470b", "#12783a", "#8a2be2", "#a8006d", "#5a6b00", "#00737d", "#6b4a2b",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Series:
    """A line.

    Attributes:
        name: What it shows, for the tooltip of its points.
        kind: Lines of one kind have one colour and one dash.
        points: (x, y); a missing y breaks the line.
    """

    name: str
    kind: int
    points: Sequence[tuple[float, float | None]]


def line_chart(title: str, series: Sequence[Series], *, x_label: str = "step") -> str:
    """Draws lines over a common pair of axes.

    Args:
        title: Read out in place of the picture.
        series: The lines; all without a number give an empty text.
        x_label: Under the horizontal axis.

    Returns:
        An SVG element; colours are the style classes c0 to c7.
    """
    series = [dataclasses.replace(each, points=_thinned(each.points)) for each in series]
    known = [(x, y) for each in series for x, y in each.points if _is_number(y)]
    if not known:
        return ""
    xs, ys = zip(*known, strict=True)
    x_ticks, y_ticks = _ticks(min(xs), max(xs)), _ticks(min(ys), max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        right = (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (WIDTH - LEFT - RIGHT)
        up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (HEIGHT - TOP - BOTTOM)
        return round(LEFT + right, 1), round(HEIGHT - BOTTOM - up, 1)

    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.escape(title)}">'
    ]
    for tick in y_ticks:
        _, y = place(x_ticks[0], tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{tick:g}</text>')
    for tick in x_ticks:
        x, _ = place(tick, y_ticks[0])
        parts.append(
            f'<text x="{x}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{tick:g}</text>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    label = html.escape(x_label)
    parts.append(f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{label}</text>')
    parts += [_line(each, place) for each in series]
    return "".join(parts) + "</svg>"


def picture(title: str, series: Sequence[Series], names: Sequence[str], *, x_label: str) -> str:
    """A chart as a file of its own, with its title, a legend and a white background.

    Args:
        title: Above the chart.
        series: The lines; all without a number give an empty text.
        names: Of the kinds 0, 1, ... of lines.
        x_label: Under the horizontal axis.
    """
    chart = line_chart(title, series, x_label=x_label)
    if not chart:
        return ""
    top, line = 26, 20
    height = top + HEIGHT + line * len(names) + 8
    style = (
        "text{font:13px sans-serif;fill:#333}.grid{stroke:#ddd}.line{fill:none;stroke-width:2}"
        + "".join(f".c{n}{{stroke:{c}}}.dot.c{n}{{fill:{c}}}" for n, c in enumerate(COLORS))
    )
    legend = [
        f'<polyline fill="none" {_style(kind)} points="{LEFT},{y} {LEFT + 34},{y}"/>'
        f'<text x="{LEFT + 42}" y="{y + 4}">{html.escape(name)}</text>'
        for kind, name in enumerate(names)
        for y in [top + HEIGHT + line * kind + 10]
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">'
        f'<style>{style}</style><rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="{LEFT}" y="18">{html.escape(title)}</text>'
        f'<g transform="translate(0 {top})">'
        + chart.replace("<svg ", f'<svg width="{WIDTH}" height="{HEIGHT}" ', 1)
        + f"</g>{''.join(legend)}</svg>\n"
    )


def sample(kind: int) -> str:
    """A short piece of a line of this kind, for a legend."""
    return (
        '<svg class="sample" viewBox="0 0 36 10" aria-hidden="true">'
        f'<polyline fill="none" {_style(kind)} points="1,5 35,5"/></svg>'
    )


def _style(kind: int) -> str:
    return f'class="line c{kind % len(COLORS)}" stroke-dasharray="{DASHES[kind % len(DASHES)]}"'


def _line(series: Series, place) -> str:
    parts, piece = [], []
    pieces = [piece]
    for x, y in series.points:
        if _is_number(y):
            piece.append((x, y))
        else:
            piece = []
            pieces.append(piece)
    for piece in filter(None, pieces):
        places = " ".join("{},{}".format(*place(x, y)) for x, y in piece)
        parts.append(f'<polyline fill="none" {_style(series.kind)} points="{places}"/>')
    if len(series.points) <= MAX_MARKED:
        for x, y in (point for piece in pieces for point in piece):
            left, top = place(x, y)
            note = html.escape(f"{series.name}, {x:g}: {y:.4g}")
            parts.append(
                f'<circle class="dot c{series.kind % len(COLORS)}" cx="{left}" cy="{top}" r="3">'
                f"<title>{note}</title></circle>"
            )
    return "".join(parts)


def _thinned(points: Sequence[tuple[float, float | None]]) -> list[tuple[float, float | None]]:
    """Means of neighbours where there are more points than a screen shows."""
    size = math.ceil(len(points) / MAX_POINTS)
    if size <= 1:
        return list(points)
    thinned = []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        values = [y for _, y in part if _is_number(y)]
        thinned.append((part[-1][0], sum(values) / len(values) if values else None))
    return thinned


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers that enclose both."""
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power * 5 >= span)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [number * step for number in range(first, max(last, first + 1) + 1)]
