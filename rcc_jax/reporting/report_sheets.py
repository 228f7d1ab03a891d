"""The pictures of a page about runs: predictions side by side, sheets of unlabelled images."""

import html
import pathlib
from collections.abc import Sequence

from rcc_jax.reporting import html_page as page
from rcc_jax.reporting import report_pictures, sheets
from rcc_jax.reporting.run_record import RunRecord

_ABOUT_UNLABELED = (
    "A row an image, the same views in all runs of one crop. Teacher: its classes in the weak "
    "view. Confidence: its probability of them, dark 0 to bright 1. Kept: pixels that are sure "
    "enough to count as pseudo labels, in the colours of their classes, the others grey; the share "
    "is of these views. Student: its classes in the strong view. Agreement: the share of "
    "comparisons between pairs of the teacher's likeliest classes that both networks decide alike; "
    "0.5 is what unrelated networks come to."
)


def predictions(cells: dict[str, list[RunRecord]], classes: Sequence[str]) -> str:
    """Images, truth and predictions: of the first run with pictures of each cell, side by side."""
    shown = [next((run for run in runs if run.picture), None) for runs in cells.values()]
    found = report_pictures.find_examples([run for run in shown if run], classes)
    if not found.examples and not found.whole:
        return "<p>These runs have no pictures (eval.pictures).</p>\n"
    parts = []
    if found.examples:
        entries = [*zip(classes, found.colors, strict=True), ("ignored", sheets.IGNORED_COLOR)]
        legend = "".join(
            f'<li><span class="swatch" style="background:#{bytes(color).hex()}"></span>'
            f"{html.escape(each)}</li>"
            for each, color in entries
        )
        parts.append(f'<ul class="legend">{legend}</ul>\n')
    for number, example in enumerate(found.examples, start=1):
        row = [_picture(example.image, "image", f"validation image {number}", photo=True)]
        row.append(_picture(example.truth, "truth", f"true classes of image {number}"))
        for run, prediction in example.predictions:
            alt = f"classes of image {number} predicted by {run.name}"
            row.append(_picture(prediction, _of_run(run, run.picture), alt))
        parts.append(f'<div class="row">{"".join(row)}</div>\n')
    for run, sheet in found.whole:
        alt = f"images, truth and predictions of {run.name}"
        parts.append(_sheet(sheet, f"{run.name}: {_of_run(run, run.picture)}", alt))
    return "".join(parts)


def unlabeled(cells: dict[str, list[RunRecord]]) -> str:
    """The last sheet of each run, with what its columns are; further seeds open on demand."""
    parts, more = [], []
    for runs in cells.values():
        shown = [run for run in runs if run.unlabeled]
        for run in shown:
            sheet = report_pictures.open_picture(run.unlabeled)
            alt = f"unlabelled images as {run.name} sees them"
            drawn = _sheet(sheet, f"{run.name}: {_of_run(run, run.unlabeled)}", alt)
            (parts if run is shown[0] else more).append(drawn)
    if not parts:
        return ""
    others = page.details("Other seeds", "".join(more)) if more else ""
    return page.heading(3, "What the method sees in unlabelled images") + (
        f"<p>{html.escape(_ABOUT_UNLABELED)}</p>\n" + "".join(parts) + others
    )


def _of_run(run: RunRecord, picture: pathlib.Path) -> str:
    step = int(picture.stem.rpartition("_")[2])
    return f"{run.cell} (seed {run.config['seed']}, step {step})"


def _sheet(sheet, caption: str, alt: str) -> str:
    uri = report_pictures.sheet_uri(sheet)
    drawn = page.image(uri, alt, sheet.shape[1], sheet.shape[0])
    return f'<div class="sheet">{page.figure(page.scrolling(drawn, alt), caption)}</div>\n'


def _picture(picture, caption: str, alt: str, *, photo: bool = False) -> str:
    uri = report_pictures.data_uri(picture, photo=photo)
    return page.figure(page.image(uri, alt, picture.shape[1], picture.shape[0]), caption)
