"""One self-contained HTML page on many runs: comparison, curves, classes, pictures, settings."""

import html
import os
from collections.abc import Callable, Sequence

from input_pipeline.files import write_atomically
from rcc_jax.errors import ConfigError
from rcc_jax.reporting import html_page as page
from rcc_jax.reporting import report_pictures, report_tables
from rcc_jax.reporting.line_chart import Series, line_chart, sample
from rcc_jax.reporting.run_record import RunRecord, find, score
from rcc_jax.reporting.run_results import differences
from rcc_jax.reporting.tables import method_order

NOT_SHOWN = ("step", "learning_rate")


def write(
    folders: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    log: Callable[[str], None],
) -> int:
    """Writes the page.

    Args:
        folders: Workdirs, or folders of them; the runs may still be training.
        output: The file.
        log: Called with a line of text for each run that is left out.

    Returns:
        The number of runs on the page.

    Raises:
        ConfigError: A folder has no run, a file is corrupt, or the page cannot be written.
    """
    runs = sorted(find(folders, log), key=lambda run: method_order(run.cell.split(";")[0]))
    text = build(runs)
    try:
        write_atomically(output, text)
    except OSError as error:
        raise ConfigError(
            f"--output={output}: cannot write there ({error.strerror}). Name a file, such as "
            "report.html, in an existing folder."
        ) from None
    return len(runs)


def build(runs: Sequence[RunRecord]) -> str:
    """The page, with a section per data set."""
    groups: dict[tuple, list[RunRecord]] = {}
    for run in runs:
        groups.setdefault(run.data, []).append(run)
    title = f"{len(runs)} training runs" if len(runs) > 1 else f"Training run {runs[0].name}"
    links, sections = [], []
    for number, ((data, val, classes), group) in enumerate(groups.items()):
        about = f"{data}, {len(classes)} classes"
        links.append(f'<li><a href="#data{number}">{html.escape(about)}</a></li>')
        sections.append(
            f'<section aria-labelledby="data{number}">\n'
            + page.heading(2, about, f"data{number}")
            + f"<p>Validation: {html.escape(_images(group, val))}. Scores are in percent.</p>\n"
            + _section(group, classes)
            + "</section>\n"
        )
    nav = f'<nav aria-label="Data sets"><ul>{"".join(links)}</ul></nav>\n'
    return page.page(title, f"<main>\n{page.heading(1, title)}{nav}{''.join(sections)}</main>")


def _images(runs: Sequence[RunRecord], val: str) -> str:
    """The number of validation images, and the setting that names them."""
    counts = sorted({run.counts["val"] for run in runs if "val" in run.counts})
    number = " or ".join(f"{count:,}" for count in counts) or "an unknown number of"
    return f"{number} images (data.val = {val})"


def _section(runs: Sequence[RunRecord], classes: Sequence[str]) -> str:
    cells = _cells(runs)
    evaluated = {cell: [run for run in each if run.evaluations] for cell, each in cells.items()}
    evaluated = {cell: each for cell, each in evaluated.items() if each}
    return (
        page.heading(3, "Comparison")
        + report_tables.comparison(evaluated)
        + page.details("Every run", report_tables.every_run(runs))
        + page.heading(3, "Curves")
        + _curves(cells)
        + page.heading(3, "Intersection over union by class")
        + report_tables.class_table(evaluated, classes)
        + page.heading(3, "Predictions")
        + report_pictures.predictions(cells, classes)
        + report_pictures.unlabeled(cells)
        + page.heading(3, "Settings and versions")
        + report_tables.settings(runs)
    )


def _cells(runs: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """The runs by what they have in common besides the seed."""
    mixed = len({run.protocol for run in runs if run.evaluations}) > 1
    cells: dict[str, list[RunRecord]] = {}
    for run, unusual in zip(runs, differences([run.config for run in runs]), strict=True):
        protocol = f"; evaluated {run.protocol}" if mixed and run.evaluations else ""
        cell = run.cell + unusual + protocol
        # A second run of one seed is no other seed.
        if run.config["seed"] in [each.config["seed"] for each in cells.get(cell, ())]:
            cell += f"; {run.workdir}"
        cells.setdefault(cell, []).append(run)
    return cells


def _curves(cells: dict[str, list[RunRecord]]) -> str:
    legend = "".join(
        f"<li>{sample(kind)}{html.escape(cell)}</li>" for kind, cell in enumerate(cells)
    )
    keys = {
        key
        for runs in cells.values()
        for run in runs
        for line in run.logs
        for key, value in line.items()
        if isinstance(value, int | float) and key not in NOT_SHOWN
    }
    first = [key for key in ("loss", "kept_ratio") if key in keys]
    charts = [_scores(cells)]
    charts += [_logged(key, cells) for key in first]
    rest = "".join(_logged(key, cells) for key in sorted(keys - set(first)))
    more = page.details("More curves", f'<div class="charts">{rest}</div>') if rest else ""
    return f'<ul class="legend">{legend}</ul><div class="charts">{"".join(charts)}</div>\n{more}'


def _scores(cells: dict[str, list[RunRecord]]) -> str:
    """mIoU, a line per run and protocol: scores of different protocols must not be compared."""
    series = [
        Series(name, kind, [(line["step"], score(line)) for line in lines])
        for kind, runs in enumerate(cells.values())
        for run in runs
        for name, lines in report_tables.evaluations_of(run)
    ]
    return _chart("mIoU", series)


def _logged(key: str, cells: dict[str, list[RunRecord]]) -> str:
    series = [
        Series(run.name, kind, [(line["step"], line.get(key)) for line in run.logs])
        for kind, runs in enumerate(cells.values())
        for run in runs
    ]
    return _chart(key, series)


def _chart(key: str, series: Sequence[Series]) -> str:
    drawn = line_chart(f"{key} over the steps of {len(series)} runs", series)
    return page.figure(drawn, f"{key}, one line per run") if drawn else ""
