"""The parts of a page: tables, figures, style. Plain text is escaped here."""

import html
from collections.abc import Sequence

from rcc_jax.reporting.line_chart import COLORS

_LIGHT = "".join(f"--c{number}: {color}; " for number, color in enumerate(COLORS))
STYLE = (
    f":root {{ {_LIGHT}}}"
    + """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --soft: #59636e;
  --rule: #d1d9e0; --fill: #f3f5f7; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --paper: #14181d; --soft: #a3adb8; --rule: #3a434d; --fill: #1f252c;
    --c0: #6cb2ff; --c1: #ff9b5c; --c2: #5fd38a; --c3: #c9a0ff; --c4: #ff86c8; --c5: #c8d650;
    --c6: #56d4de; --c7: #d9b48f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 76rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--rule); }
h1, h2, h3 { line-height: 1.25; } a { color: var(--c0); }
:focus-visible { outline: 3px solid var(--c0); outline-offset: 2px; }
nav ul, ul.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding: 0;
  list-style: none; }
.wide { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
caption { text-align: left; color: var(--soft); padding-bottom: .3rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--rule); text-align: right;
  vertical-align: top; }
th { text-align: left; font-weight: 600; } thead th { background: var(--fill); }
td.text { text-align: left; } td.best { font-weight: 700; text-decoration: underline; }
figure { margin: 0; break-inside: avoid; }
.charts { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
figcaption { color: var(--soft); font-size: .9rem; }
.chart { width: 100%; height: auto; } .chart text { font-family: inherit !important; }
.sample { width: 36px; height: 10px; margin-right: .4rem; }
.row { display: grid; gap: .6rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fill, minmax(min(45%, 11rem), 1fr)); }
.row img { width: 100%; height: auto; image-rendering: pixelated; }
.sheet img { max-width: max(100%, 50rem); height: auto; }
.swatch { display: inline-block; width: 1em; height: 1em; margin-right: .4rem;
  border: 1px solid var(--ink); vertical-align: -.15em; print-color-adjust: exact;
  -webkit-print-color-adjust: exact; }
details { margin: .6rem 0; } summary { cursor: pointer; padding: .2rem 0; }
"""
)
PRINT = """
@media print { body { max-width: none; padding: 0; font-size: 10pt; } .wide { overflow: visible; }
  .sheet img { max-width: 100%; } nav { display: none; } tr, .row { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  table { font-size: 8pt; } th, td { padding: .1rem .3rem; }
  th, td { overflow-wrap: anywhere; } tbody th { min-width: 8em; }
  thead th { min-width: 4em; } .charts { grid-template-columns: 1fr 1fr; }
  details::details-content { content-visibility: visible; display: block; block-size: auto; } }
"""


def page(title: str, body: str, images: str = "data:") -> str:
    """A whole document. Its security policy allows its own styles and some images, nothing else.

    Args:
        title: Plain text.
        body: Markup.
        images: Allowed sources of images. By default they must be part of the document.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        f"img-src {images}; style-src 'unsafe-inline'\">\n"
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}{PRINT}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def table(
    caption: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    best: Sequence[int | None] = (),
    text: bool = False,
) -> str:
    """A table that can be scrolled on its own, with the keyboard too.

    Args:
        caption: What it shows.
        heads: One head per column.
        rows: Rows of cells; the first cell is the head of its row.
        best: The column to highlight in each row, None for no column.
        text: Whether the cells are text instead of numbers.
    """
    name = html.escape(caption)
    parts = [f'<div class="wide" role="region" tabindex="0" aria-label="{name}"><table>']
    parts.append(f"<caption>{name}</caption>\n<thead><tr>")
    parts += [f'<th scope="col">{html.escape(head)}</th>' for head in heads]
    parts.append("</tr></thead>\n<tbody>\n")
    for number, row in enumerate(rows):
        parts.append(f'<tr><th scope="row">{html.escape(row[0])}</th>')
        for column, cell in enumerate(row[1:], start=1):
            marked = number < len(best) and best[number] == column
            style = ' class="best"' if marked else ' class="text"' if text else ""
            parts.append(f"<td{style}>{html.escape(cell)}</td>")
        parts.append("</tr>\n")
    return "".join(parts) + "</tbody></table></div>\n"


def figure(content: str, caption: str) -> str:
    """Markup with a caption below it."""
    return f"<figure>{content}<figcaption>{html.escape(caption)}</figcaption></figure>\n"


def scrolling(content: str, label: str) -> str:
    """Markup that may be wider than the screen and can be scrolled on its own."""
    name = html.escape(label)
    return f'<div class="wide" role="region" tabindex="0" aria-label="{name}">{content}</div>'


def image(uri: str, alt: str, width: int, height: int) -> str:
    """A picture with its description. The URI must need no escaping."""
    return (
        f'<img src="{uri}" alt="{html.escape(alt)}" width="{width}" height="{height}" '
        'loading="lazy">'
    )


def details(summary: str, content: str) -> str:
    """Markup that is folded away until the reader opens it."""
    return f"<details><summary>{html.escape(summary)}</summary>\n{content}</details>\n"


def heading(level: int, text: str, anchor: str = "") -> str:
    """A heading, with an anchor to link to if one is given."""
    name = f' id="{html.escape(anchor)}"' if anchor else ""
    return f"<h{level}{name}>{html.escape(text)}</h{level}>\n"
