"""The page that shows the sheets of a run by step. It is opened as a file in a browser."""

import html
import pathlib
import re
from collections.abc import Mapping

import PIL.Image

from input_pipeline.files import write_atomically
from rcc_jax.reporting import html_page

PAGE = "index.html"
# Kinds of sheets in their order on the page: the prefix of the files, and what they show.
_KINDS = {
    "step": "Validation images: image, truth, prediction and confidence.",
    "unlabeled": "Unlabelled images: what the method sees in them.",
}


def sheet_name(kind: str, step: int) -> str:
    """File name of a sheet of validation images ('step') or unlabelled images ('unlabeled')."""
    return f"{kind}_{step:07d}.png"


def write(folder: pathlib.Path, run: str, scores: Mapping[int, float | None]) -> None:
    """Writes `index.html` for the sheets in a folder, the newest step first.

    Args:
        folder: The folder of the pictures.
        run: Name of the run.
        scores: mIoU in percent by step, for the steps where it is known.
    """
    names = "|".join(_KINDS)
    found = (re.fullmatch(rf"(?:{names})_(\d+)\.png", path.name) for path in folder.iterdir())
    steps = sorted({int(match[1]) for match in found if match}, reverse=True)
    parts = [
        html_page.heading(1, f"Pictures of {run}"),
        "<p>One section per evaluation, the newest first. Each evaluation rewrites this page. "
        "Click a sheet to open it alone. <code>--mode=report</code> shows the numbers of the "
        "run.</p>\n<nav><ul>",
        *(f'<li><a href="#step{step}">step {step}</a></li>' for step in steps),
        "</ul></nav>\n",
    ]
    for step in steps:
        score = scores.get(step)
        title = f"Step {step}" + ("" if score is None else f": mIoU {score:.2f}")
        parts.append(html_page.heading(2, title, f"step{step}"))
        for kind, caption in _KINDS.items():
            parts.append(_sheet(folder / sheet_name(kind, step), f"step {step}. {caption}"))
    title = f"{run}: pictures"
    content = html_page.page(title, "".join(parts), images="'self' file:")
    write_atomically(folder / PAGE, content)


def _sheet(path: pathlib.Path, caption: str) -> str:
    try:
        with PIL.Image.open(path) as picture:
            width, height = picture.size
    except OSError:  # Unreadable, or absent: supervised training has no unlabelled images.
        return ""
    image = html_page.image(path.name, caption, width, height)
    link = f'<a class="sheet" href="{path.name}">{image}</a>'
    caption = html.escape(caption[0].upper() + caption[1:])
    return (
        f"<figure>{html_page.scrolling(link, caption)}<figcaption>{caption}</figcaption></figure>\n"
    )
