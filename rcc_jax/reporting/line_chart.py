"""Line charts, inside a page or as a file."""

import dataclasses
import math
from collections.abc import Sequence

from rcc_jax.reporting import figures

# In points. A chart in a page is scaled to the width of its column.
WIDTH, HEIGHT = 480, 225
MAX_POINTS, MAX_MARKED = 300, 40
# Lines also differ in their dashes, for grey print and for readers who see few colours.
DASHES = ((), (6.5, 3), (1.5, 2.2), (9, 2.2, 1.5, 2.2), (3.7, 3.7))
# On a light background; a page replaces them with its CSS variables --c0, --c1, ...
COLORS = (
    "#0b62c4", "#b3470b", "#12783a", "#8a2be2", "#a8006d", "#5a6b00", "#00737d", "#6b4a2b",
)  # fmt: skip
INK, RULE = "#59636e", "#d1d9e0"
_CSS = {color: f"var(--c{kind})" for kind, color in enumerate(COLORS)}
_CSS |= {INK: "var(--soft)", RULE: "var(--rule)"}


@dataclasses.dataclass(frozen=True)
class Series:
    """A line.

    Attributes:
        name: What it shows, for the notes on its points.
        kind: Lines of one kind have the same colour and dashes.
        points: (x, y); the line breaks where y is missing.
    """

    name: str
    kind: int
    points: Sequence[tuple[float, float | None]]


def line_chart(title: str, series: Sequence[Series], *, x_label: str = "step") -> str:
    """Draws a chart for a page.

    Args:
        title: Read aloud in place of the picture.
        series: The lines.
        x_label: Label of the horizontal axis.

    Returns:
        An SVG element that takes its colours from the page; '' if no line has a number.
    """
    series = _drawable(series)
    if not series:
        return ""

    def plot(figure) -> None:
        figure.patch.set_visible(False)
        _plot(figure, series, x_label)

    name = f"{title} {series}"  # Charts of two data sets can have one title.
    drawn = figures.draw(plot, WIDTH, HEIGHT, name=name, notes=_notes(series))
    return figures.inline(drawn, title, _CSS)


def picture(title: str, series: Sequence[Series], names: Sequence[str], *, x_label: str) -> str:
    """Draws a chart for a file, with its title, a legend and a white background.

    Args:
        title: Title above the chart.
        series: The lines.
        names: Names of the kinds of lines, from kind 0 on.
        x_label: Label of the horizontal axis.

    Returns:
        The text of an SVG file; '' if no line has a number.
    """
    series = _drawable(series)
    if not series:
        return ""

    def plot(figure) -> None:
        from matplotlib.lines import Line2D

        axes = _plot(figure, series, x_label)
        axes.set_title(title, loc="left", fontsize="medium")
        samples = [Line2D([], [], label=name, **_look(kind)) for kind, name in enumerate(names)]
        figure.legend(handles=samples, loc="outside lower left", frameon=False, handlelength=3)

    height = HEIGHT + 20 + 15 * len(names)
    drawn = figures.draw(plot, WIDTH, height, name=title, notes=_notes(series))
    return figures.standalone(drawn)


def sample(kind: int) -> str:
    """A short piece of a line of this kind, for the legend of a page."""
    dashes = " ".join(f"{length:g}" for length in DASHES[kind % len(DASHES)]) or "none"
    return (
        '<svg class="sample" viewBox="0 0 27 8" aria-hidden="true"><path d="M1 4H26" fill="none" '
        f'style="stroke: var(--c{kind % len(COLORS)}); stroke-width: 1.5" '
        f'stroke-dasharray="{dashes}"/></svg>'
    )


def _plot(figure, series: Sequence[Series], x_label: str):
    axes = figure.add_subplot()
    axes.margins(0.02, 0.05)
    axes.grid(color=RULE, linewidth=0.75)
    axes.set_axisbelow(True)
    axes.set_xlabel(x_label, color=INK)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.tick_params(length=0, labelcolor=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.patch.set_visible(False)
    for number, each in enumerate(series):
        places, values = zip(*each.points, strict=True)
        values = [value if _is_number(value) else math.nan for value in values]
        marker = {"marker": "o", "markersize": 4} if len(values) <= MAX_MARKED else {}
        axes.plot(places, values, **_look(each.kind), **marker, gid=f"series{number}")
    return axes


def _look(kind: int) -> dict:
    dashes = DASHES[kind % len(DASHES)]
    return {
        "color": COLORS[kind % len(COLORS)],
        "linestyle": (0, dashes) if dashes else "solid",
        "linewidth": 1.5,
    }


def _notes(series: Sequence[Series]) -> dict[str, list[str]]:
    return {
        f"series{number}": [f"{each.name}, {x:g}: {y:.4g}" for x, y in each.points if _is_number(y)]
        for number, each in enumerate(series)
        if len(each.points) <= MAX_MARKED
    }


def _drawable(series: Sequence[Series]) -> list[Series]:
    """The lines that have a number, with no more points than a screen shows."""
    thinned = [dataclasses.replace(each, points=_thinned(each.points)) for each in series]
    return [each for each in thinned if any(_is_number(y) for _, y in each.points)]


def _thinned(points: Sequence[tuple[float, float | None]]) -> list[tuple[float, float | None]]:
    """The points, or means of neighbours if there are too many."""
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
