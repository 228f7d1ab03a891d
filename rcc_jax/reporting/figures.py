"""Figures that matplotlib draws, as SVG that is the same byte for byte every time.

matplotlib is imported only when a figure is drawn: a mode that draws none does not wait for it.
"""

import io
import logging
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from xml.etree import ElementTree

_SETTINGS = {
    "svg.fonttype": "none",  # Text stays text.
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.parse_math": False,  # A $ in a name is a dollar sign.
    "lines.scale_dashes": False,
    "image.composite_image": False,
}
# matplotlib writes these by default; the date would differ each time.
_NO_METADATA = dict.fromkeys(["Date", "Creator", "Format", "Type"])
# The ids that <use> elements refer to, of shapes that are drawn several times; all others are
# removed.
_SHAPE = re.compile(r"m[0-9a-f]{10}")


def draw(
    plot: Callable,
    width: float,
    height: float,
    *,
    name: str,
    notes: Mapping[str, Sequence[str]] | None = None,
) -> ElementTree.Element:
    """Draws a figure.

    Args:
        plot: Called with the matplotlib Figure to draw into.
        width: Width in points, of which 72 are an inch.
        height: Height in points.
        name: Distinguishes the figures of one page: the ids in the SVG are derived from it.
        notes: By the gid of a plotted line, a text for each of its markers, shown while the mouse
            is over it.

    Returns:
        The <svg> element, with plain tag names instead of namespaces.
    """
    # Its warnings, during the import and later, are about its caches and fonts; a user who trains
    # a network need not act on them.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib import style
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    file = io.StringIO()
    # "default" first: a matplotlibrc of the user must not change the picture.
    with style.context(["default", {**_SETTINGS, "svg.hashsalt": name}]):
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        FigureCanvasSVG(figure)
        plot(figure)
        with warnings.catch_warnings():
            # The browser has the glyphs that matplotlib's font lacks.
            warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
            figure.savefig(file, format="svg", metadata=_NO_METADATA)
    root = ElementTree.fromstring(file.getvalue())
    _simplify(root, notes or {})
    return root


def standalone(root: ElementTree.Element) -> str:
    """The text of an SVG file."""
    root.set("xmlns", "http://www.w3.org/2000/svg")
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def inline(root: ElementTree.Element, label: str, colors: Mapping[str, str]) -> str:
    """The text of an <svg> element inside a page.

    Args:
        root: From `draw`.
        label: Read aloud in place of the picture.
        colors: For a colour '#rrggbb' in the figure, the CSS value that replaces it.
    """
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib.update({"class": "chart", "role": "img", "aria-label": label})
    for element in root.iter():
        if given := element.get("style"):
            styles = re.sub("#[0-9a-f]{6}", lambda found: colors.get(found[0], found[0]), given)
            element.set("style", styles)
    return ElementTree.tostring(root, encoding="unicode")


def _simplify(root: ElementTree.Element, notes: Mapping[str, Sequence[str]]) -> None:
    """Keeps the visible elements, under plain names, and adds the notes."""
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for key in [key for key in element.attrib if "}" in key]:
            element.set(key.rpartition("}")[2], element.attrib.pop(key))
    for element in list(root.iter()):
        markers = element.iterfind(".//use")
        for marker, text in zip(markers, notes.get(element.get("id"), ()), strict=False):
            ElementTree.SubElement(marker, "title").text = text
        # Clip paths cut nothing off here: axes enclose what is drawn in them.
        for child in [each for each in element if each.tag in ("style", "clipPath")]:
            element.remove(child)
        element.attrib.pop("clip-path", None)
        if not _SHAPE.fullmatch(element.get("id", "")):
            element.attrib.pop("id", None)
        # Indentation.
        element.text, element.tail = (
            text if text and text.strip() else None for text in (element.text, element.tail)
        )
    # The figure's own style sheet said this; in a page it would apply to everything else too.
    root.set("stroke-linejoin", "round")
