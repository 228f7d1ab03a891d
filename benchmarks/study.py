"""Records the results of a sweep, and makes the tables and pictures of the study page from them.

    python benchmarks/study.py --name=camvid --workdir=runs/camvid-size=gpu,steps=1200

Every finished run becomes `results/NAME/RUN.json`: configuration, versions, device, commit,
seconds, scores on the validation and on the test images, curves. These files are the only source of
`table.md` (means, and differences to UniMatch), `classes.md`, the pictures of mIoU by number of
labels, of the training curves and of rare classes, and the text between the marks
`<!-- NAME: ... -->` of one of the pages in docs. Without --workdir, all these are only made again.
"""

import argparse
import collections
import json
import pathlib
import re
import statistics
import sys
from collections.abc import Mapping, Sequence

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks import environment, study_tables  # noqa: E402
from input_pipeline.files import write_atomically  # noqa: E402
from rcc_jax.config import protocols  # noqa: E402
from rcc_jax.errors import ConfigError  # noqa: E402
from rcc_jax.methods import METHODS  # noqa: E402
from rcc_jax.reporting import run_record, run_results, tables  # noqa: E402
from rcc_jax.reporting.line_chart import Series, picture  # noqa: E402
from rcc_jax.reporting.run_record import RunRecord  # noqa: E402
from rcc_jax.workdir.folder import RESULT  # noqa: E402

RESULTS = REPOSITORY / "benchmarks" / "results"
DOCS = REPOSITORY / "docs"
SCORES = {"last": "validation images", "test": "test images"}
NO_RUN = "No run is recorded yet."


def keep(folder: pathlib.Path, results: pathlib.Path) -> int:
    """Writes a file for each finished run in or below a folder; returns their number.

    Raises:
        ConfigError: If the folder has no finished run, two have the same name, or a file is
            corrupt.
    """
    run_results.gather(folder, log=print)
    records = [record for record in run_record.find([folder], log=print) if record.finished]
    results.mkdir(parents=True, exist_ok=True)
    seen: dict[str, pathlib.Path] = {}
    for record in records:
        name = record.workdir.resolve().name
        if name in seen:
            raise ConfigError(
                f"{seen[name]} and {record.workdir} have the same name; rename one of them, since "
                "records are kept by name."
            )
        seen[name] = record.workdir
        path = results / f"{name}.json"
        write_atomically(path, json.dumps(describe(record), indent=1) + "\n")
    return len(records)


def describe(record: RunRecord) -> dict:
    """The values of a run that are kept."""
    config = environment.without_paths(record.config)
    result = json.loads((record.workdir / RESULT).read_text())
    protocol = protocols.of_line(result, config)
    curves: dict[str, list] = collections.defaultdict(list)
    for line in record.logs:
        for name, value in line.items():
            if name != "step" and value is not None:
                curves[name].append((line["step"], float(f"{value:.5g}")))
    evaluations = record.evaluations
    curves["miou"] = [(line["step"], run_record.score(line)) for line in evaluations]
    by_class = [(line["step"], run_record.class_scores(line)) for line in evaluations]
    return {
        "config": config,
        "environment": record.environment,
        "images": record.counts,
        "seconds_per_step": statistics.median(1 / x["steps_per_second"] for x in record.timing),
        **result,
        "iou": run_record.class_scores(evaluations[-1]),
        "test": run_results.scores_on_test(record.workdir, result["step"], protocol=protocol),
        "student": student_scores(record, result["step"], protocol),
        "curves": curves,
        "iou_by_step": {
            name: [(step, scores[name]) for step, scores in by_class] for name in by_class[-1][1]
        },
    }


def student_scores(record: RunRecord, step: int, protocol: str) -> dict | None:
    """The last mIoU of the student beside that of its EMA teacher; None without a teacher."""
    last = record.evaluations[-1]
    if "miou_ema" not in last:
        return None
    tested = run_results.scores_on_test(record.workdir, step, "student", protocol=protocol)
    return {"miou": last["miou"], "test_miou": tested and tested["miou"]}


def read(results: pathlib.Path) -> list[tuple[dict, run_results.Result]]:
    """The kept runs: each as its record and as a result for tables."""
    paths = sorted(results.glob("*.json"))
    kept = [json.loads(path.read_text()) for path in paths]
    found = [run_results.as_result(each["config"], each, each["test"]) for each in kept]
    found = run_results.told_apart(found, [each["config"] for each in kept])
    run_results.distinct(zip(found, paths, strict=True))
    return list(zip(kept, found, strict=True))


def draw(kept: Sequence[tuple[dict, run_results.Result]], score: str) -> str:
    """A picture of mIoU by number of labels; a method with only one partition is a point.

    Args:
        kept: From `read`.
        score: 'last' or 'test'.
    """
    points: dict[str, dict[int, list[float]]] = collections.defaultdict(dict)
    for each, result in kept:
        value = getattr(result, score)
        if value is not None:
            points[result.method].setdefault(each["images"]["labeled"], []).append(value)
    methods = sorted(points, key=tables.method_order)
    if all(len(of_method) == 1 for of_method in points.values()):
        return ""  # The table says it all.
    series = []
    for kind, name in enumerate(methods):
        line = sorted((count, statistics.fmean(x)) for count, x in points[name].items())
        series.append(Series(name, kind, line))
        # A bar of one standard deviation to each side.
        for count, mean in line:
            of_seeds = points[name][count]
            spread = statistics.stdev(of_seeds) if len(of_seeds) > 1 else 0.0
            ends = [(count, mean - spread), (count, mean + spread)]
            series += [Series(f"{name}, ± standard deviation", kind, ends)] if spread else []
    title = f"mIoU in percent on the {SCORES[score]}, last checkpoint, mean over the seeds"
    return picture(title, series, methods, x_label="labelled images")


def facts(kept: Sequence[tuple[dict, run_results.Result]]) -> str:
    """A sentence on the steps, machines and versions of the runs."""

    def listed(values) -> str:
        return ", ".join(sorted(set(map(str, values))))

    starts = [start for each, _ in kept for start in each["environment"]]
    seconds = [each["seconds_per_step"] for each, _ in kept]
    steps = listed(each["config"]["train"]["num_steps"] for each, _ in kept)
    return (
        f"{len(kept)} runs of {steps} steps; {listed(map(machine, starts))}; "
        f"jax {listed(start['packages']['jax'] for start in starts)}; "
        f"commit {listed(start['commit'] for start in starts)}; "
        f"median seconds per step of a run: {min(seconds):.2g} to {max(seconds):.2g}."
    )


def machine(start: Mapping) -> str:
    """The device of a run's start; of a CPU its model too, where the record has it."""
    model = start.get("cpu", {}).get("model")
    return start["device"] if model is None else f"{start['device']} ({model})"


def not_run(kept: Sequence[tuple[dict, run_results.Result]]) -> str:
    """A sentence on the methods that no run was of; empty if there are none."""
    run = {each["config"]["method"]["name"] for each, _ in kept}
    missing = [f"`{name}`" for name in METHODS if name not in run]
    return f"Not run: {', '.join(missing)}." if missing else ""


def render(results: pathlib.Path) -> tuple[str, dict[str, str]]:
    """The page's text on the kept runs, and the files to write beside them by name."""
    kept = read(results)
    if not kept:
        return NO_RUN, {}
    table = tables.markdown([result for _, result in kept]) + "\n" + facts(kept)
    paired = study_tables.against_baseline(kept)
    parts = [part for part in (table, not_run(kept), paired) if part]
    files = {
        "table.md": "\n\n".join(parts) + "\n",
        "classes.md": study_tables.by_class(kept) + "\n",
        **study_tables.curves(kept),
    }
    for score, images in SCORES.items():
        if drawn := draw(kept, score):
            files[f"{score}.svg"] = drawn
            place = f"../benchmarks/results/{results.name}/{score}.svg"
            parts.append(f"![mIoU on the {images} by number of labels]({place})")
    return "\n\n".join(parts), files


def page_of(name: str, pages: Sequence[pathlib.Path]) -> pathlib.Path:
    """The page that has the marks of this name once.

    Raises:
        ConfigError: If no page has them, or more than one.
    """
    found = [page for page in pages for _ in whole(name).findall(page.read_text())]
    if len(found) != 1:
        start, end = marks(name)
        raise ConfigError(f"the lines {start!r} and {end!r} must be in one page of docs, once.")
    return found[0]


def marks(name: str) -> tuple[str, str]:
    """The lines before and after the text on a study."""
    return f"<!-- {name}: made by benchmarks/study.py -->", f"<!-- {name}: end -->"


def whole(name: str) -> re.Pattern[str]:
    """What matches the text on a study with its marks."""
    start, end = marks(name)
    return re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)


def insert(document: str, name: str, text: str) -> str:
    """The document with the text between the marks of this name."""
    start, end = marks(name)
    return whole(name).sub(lambda _: f"{start}\n{text}\n{end}", document)


def main(arguments: Mapping) -> None:
    results = RESULTS / arguments["name"]
    if arguments["workdir"]:
        print(f"{keep(arguments['workdir'], results)} runs kept in {results}")
    text, files = render(results)
    # Before anything is written, because it fails if the marks are missing.
    page = None if arguments["no_page"] else page_of(results.name, sorted(DOCS.glob("*.md")))
    for name, content in files.items():
        write_atomically(results / name, content)
    if page:
        write_atomically(page, insert(page.read_text(), results.name, text))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", required=True, help="folder below benchmarks/results, and marks")
    parser.add_argument("--workdir", type=pathlib.Path, help="folder of finished runs to keep")
    parser.add_argument("--no-page", action="store_true", help="leave the page as it is")
    try:
        main(vars(parser.parse_args()))
    except ConfigError as error:
        sys.exit(f"error: {error}")
