"""The report, read back with a parser: numbers, escaping, no links to other places."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from rcc_jax.errors import ConfigError
from rcc_jax.reporting import (
    heat_map,
    palettes,
    prediction_sheet,
    report,
)
from tests.support.commands import ENVIRONMENT, REPOSITORY, finish, start
from tests.support.report_pages import CLASSES, HOSTILE, Page, write_run


@pytest.fixture
def runs(tmp_path):
    write_run(tmp_path / "a" / "rcc0", "rcc", 0, [(40.0, 20.0, None), (60.5, 31.25, 10.0)])
    write_run(tmp_path / "a" / "rcc1", "rcc", 1, [(50.0, 30.0, None), (64.5, 33.25, 12.0)])
    write_run(tmp_path / "b" / "uni", "unimatch", 0, [(70.0, 1.125, None)], finished=False)
    return tmp_path


def test_two_runs_of_one_seed_are_no_two_seeds(runs):
    write_run(runs / "b" / "again", "rcc", 1, [(90.0, 90.0, 90.0)])
    finish(start("--mode=report", f"--workdir={runs}"))
    page = Page((runs / "report.html").read_text())
    comparison = next(rows for caption, rows in page.tables.items() if "of the best" in caption)
    assert [row[3] for row in comparison[1:]] == ["1", "2", "1"]
    assert comparison[3][0].endswith(f"; {runs / 'b' / 'again'}")


def test_page_of_several_folders_has_the_numbers_of_the_runs(runs):
    output = runs / "page.html"
    flags = ["--mode=report", f"--workdirs={runs / 'a'},{runs / 'b'}", f"--output={output}"]
    said, errors = finish(start(*flags))
    assert said == f"3 runs: {output}\n"
    assert errors == ""
    page = Page(output.read_text())
    assert "Validation: 2 images (data.val = splits/val.txt)." in output.read_text()
    comparison = next(rows for caption, rows in page.tables.items() if "of the best" in caption)
    assert [row[1:] for row in comparison[1:]] == [
        ["35.56", "35.56", "1", "1 of 1 not finished"],
        ["35.2 ± 1.9", "37.0 ± 4.3", "2", "finished"],
    ]
    bold = [attributes for _, attributes in page.elements if attributes.get("class") == "best"]
    assert len(bold) == 2  # The third class has a number in one method alone.
    steps = page.tables["mIoU at each evaluation"]
    assert steps == [
        ["run", "1", "2"],
        ["uni", "35.56", "-"],
        ["rcc0", "30.00", "33.92"],
        ["rcc1", "40.00", "36.58"],
    ]
    by_run = page.tables["Last evaluation of every run"]
    assert by_run[0] == ["class", "uni", "rcc0", "rcc1"]
    assert by_run[2] == [HOSTILE, "1.12", "31.25", "33.25"]
    assert by_run[3] == ["tree", "-", "10.00", "12.00"]
    differing = page.tables["Settings that differ between the runs"]
    places = [differing[0].index(name) for name in ("run", "method.name", "seed")]
    assert [differing[3][place] for place in places] == ["rcc1", '"rcc"', "1"]
    assert differing[1][differing[0].index("method.consensus")] == '"none"'
    assert page.tables["Versions and devices"][2] == ["rcc0", "0", "abc", HOSTILE]


def test_scores_of_two_protocols_are_kept_apart(runs):
    path = runs / "a" / "rcc1" / "metrics.jsonl"
    lines = path.read_text().splitlines()
    lines[3] = json.dumps({**json.loads(lines[3]), "protocol": "whole-flip"})  # Step 2.
    path.write_text("\n".join(lines))
    report.write([runs], runs / "report.html", print)
    page = Page((runs / "report.html").read_text())
    assert page.tables["mIoU at each evaluation"][2:] == [
        ["rcc0", "30.00", "33.92"],
        ["rcc1, whole", "40.00", "-"],
        ["rcc1, whole-flip", "-", "36.58"],
    ]
    comparison = next(rows for caption, rows in page.tables.items() if "of the best" in caption)
    assert [(row[0].split("; ")[-1], row[1], row[2]) for row in comparison[1:]] == [
        ("evaluated whole", "35.56", "35.56"),
        ("evaluated whole", "33.92", "33.92"),
        # Not 40.00, which the run reached when it was evaluated otherwise.
        ("evaluated whole-flip", "36.58", "36.58"),
    ]
    (row,) = (row for row in page.tables["Every run"] if row[0] == "rcc1")
    assert row[-1] == "best 40.00 when evaluated whole"


def test_a_class_that_counts_as_0_has_its_reason(runs):
    """It is in no mask; the mIoU is lower because it is predicted."""
    reason = "*: not in the ground truth; where predicted it counts as 0 in mIoU."
    report.write([runs], runs / "report.html", print)
    assert reason not in (runs / "report.html").read_text()
    path = runs / "a" / "rcc1" / "metrics.jsonl"
    lines = path.read_text().splitlines()
    last = json.loads(lines[3])
    lines[3] = json.dumps({**last, "iou": {**last["iou"], "tree": 0.0}, "absent": ["tree"]})
    path.write_text("\n".join(lines) + "\n")
    report.write([runs], runs / "report.html", print)
    text = (runs / "report.html").read_text()
    assert text.count(reason) == 1
    by_run = Page(text).tables["Last evaluation of every run"]
    assert [row[0] for row in by_run] == ["class", "road", HOSTILE, "tree*"]
    assert by_run[3][-1] == "0.00"


def test_page_is_the_same_byte_for_byte(runs):
    for name in ("first", "second"):
        report.write([runs], runs / f"{name}.html", print)
    assert (runs / "first.html").read_bytes() == (runs / "second.html").read_bytes()
    # Also by a process that has another hash seed, and no place to keep matplotlib's files.
    other = {"PYTHONHASHSEED": "7", "MPLCONFIGDIR": "/dev/null/none"}
    flags = ["--mode=report", f"--workdir={runs}", f"--output={runs / 'third.html'}"]
    done = subprocess.run(
        [sys.executable, REPOSITORY / "main.py", *flags],
        env={**ENVIRONMENT, **other},
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert (runs / "first.html").read_bytes() == (runs / "third.html").read_bytes()


def test_page_without_a_chart_needs_neither_matplotlib_nor_jax(tmp_path):
    write_run(tmp_path / "run", "rcc", 0, [])
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1, "loss": null}\n')
    code = (
        "import runpy, sys\n"
        "sys.modules.update(dict.fromkeys(['jax', 'matplotlib']))  # Importing them fails.\n"
        f"runpy.run_path({str(REPOSITORY / 'main.py')!r}, run_name='__main__')\n"
    )
    flags = ["--mode=report", f"--workdir={tmp_path}", f"--output={tmp_path / 'page.html'}"]
    done = subprocess.run(
        [sys.executable, "-c", code, *flags], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert 'svg class="chart"' not in (tmp_path / "page.html").read_text()


def test_page_is_self_contained_and_escapes_texts_of_runs(runs):
    report.write([runs], runs / "report.html", print)
    text = (runs / "report.html").read_text()
    page = Page(text)
    assert "<script" not in text
    assert not re.search(r"https?:|url\(|@import", text)
    tags = {tag for tag, _ in page.elements}
    assert tags.isdisjoint({"script", "link", "iframe", "object"})
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "#").startswith("#")
        assert tag != "th" or attributes["scope"] in ("row", "col")
        assert tag != "img" or attributes["alt"]
    anchors = {attributes.get("id") for _, attributes in page.elements}
    links = [attributes["href"][1:] for tag, attributes in page.elements if tag == "a"]
    assert links
    assert anchors.issuperset(links)
    charts = [attributes for tag, attributes in page.elements if attributes.get("role") == "img"]
    assert [chart["aria-label"].split()[0] for chart in charts] == ["mIoU", "loss"]
    # Two images, each with its truth and one prediction of either method, and a sheet of
    # unlabelled images a run.
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(pictures) == 2 * 4 + 3
    swatches = [x["style"] for _, x in page.elements if x.get("class") == "swatch"]
    assert swatches == [f"background:#{code}" for code in ("808080", "800000", "c0c080", "ffffff")]


def test_the_last_unlabelled_sheet_of_each_run_is_there_and_small(runs):
    report.write([runs], runs / "report.html", print)
    text = (runs / "report.html").read_text()
    pictures = [x for tag, x in Page(text).elements if tag == "img" and "unlabelled" in x["alt"]]
    assert [x["alt"].split()[-3] for x in pictures] == ["uni", "rcc0", "rcc1"]
    for attributes in pictures:
        _, _, content = attributes["src"].partition(",")
        with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
            assert picture.size == (1200, 480)
            assert np.abs(np.asarray(picture.convert("L")).astype(int) - 150).max() < 3
    # The second seed of a method opens on demand, and all columns are explained.
    assert text.index("Other seeds") < text.index("rcc1 sees them")
    assert "Agreement: the share of comparisons" in text
    for path in runs.glob("*/*/pictures/unlabeled*"):
        path.unlink()
    report.write([runs], runs / "report.html", print)
    assert "unlabelled images" not in (runs / "report.html").read_text()


def test_a_run_without_panels_or_with_other_colours_shows_its_whole_sheet(runs):
    def alts():
        report.write([runs], runs / "report.html", print)
        elements = Page((runs / "report.html").read_text()).elements
        return [x["alt"] for tag, x in elements if tag == "img" and "unlabelled" not in x["alt"]]

    def predicted(run):
        return [f"classes of image {number} predicted by {run}" for number in (1, 2)]

    whole = "images, truth and predictions of rcc0"
    assert set(alts()) > {*predicted("uni"), *predicted("rcc0")}
    path = runs / "a" / "rcc0" / "config.json"
    before = path.read_text()
    config = json.loads(before)
    config["data"]["colormap"] = "#123456:1"
    path.write_text(json.dumps(config))
    assert set(alts()) > {*predicted("uni"), whole}
    assert not set(alts()) & set(predicted("rcc0"))
    path.write_text(before)
    shutil.rmtree(runs / "a" / "rcc0" / "pictures" / "step_0000002")
    assert set(alts()) > {*predicted("uni"), whole}
    runs.joinpath("b/uni/pictures/step_0000002/0_truth.png").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"step_0000002/0_truth.png is corrupt"):
        alts()


def test_panels_are_saved_as_drawn_beside_the_newest_sheet(tmp_path):
    draws = np.random.default_rng(3)
    images = draws.integers(0, 255, (2, 70, 90, 3), np.uint8)
    labels = draws.integers(0, 3, (2, 70, 90))
    confidences = draws.random((2, 70, 90))
    colors = palettes.of_data({"num_classes": 3, "name": "", "source": "folder", "colormap": ""})
    rows = prediction_sheet.panels(images, labels, 2 - labels, confidences, colors)
    for row in range(2):
        expected = [images[row], colors[labels[row]], colors[2 - labels[row]]]
        np.testing.assert_array_equal(rows[row], [*expected, heat_map.shades(confidences[row])])
    sheet = prediction_sheet.sheet(rows, CLASSES, colors)
    (tmp_path / "step_notes").mkdir()
    (tmp_path / "unlabeled_0000001.png").write_bytes(b"")
    for step, count in (
        (1, 2),
        (2, 2),
        (2, 1),
    ):  # Step 2 again, after a resume with fewer pictures.
        path = tmp_path / f"step_{step:07d}.png"
        prediction_sheet.save(path, rows[:count], sheet)
        found = [
            [np.asarray(Image.open(file)) for file in row] for row in prediction_sheet.saved(path)
        ]
        np.testing.assert_array_equal(found, [row[:3] for row in rows[:count]])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step_0000001.png", "step_0000002", "step_0000002.png", "step_notes",
        "unlabeled_0000001.png",
    ]  # fmt: skip
    assert len(list((tmp_path / "step_0000002").iterdir())) == 3
    assert prediction_sheet.saved(tmp_path / "step_0000001.png") == []


def test_runs_without_a_line_are_left_out(runs):
    write_run(runs / "new", "rcc", 5, [])
    (runs / "new/metrics.jsonl").write_text("")
    said = []
    report.write([runs], runs / "x.html", said.append)
    assert f"left out, nothing was logged yet: {runs / 'new'}" in said
    with pytest.raises(ConfigError, match="none of these runs has logged anything yet"):
        report.write([runs / "new"], runs / "y.html", print)


def test_folders_without_a_run_and_corrupt_files_are_named(runs):
    with pytest.raises(ConfigError, match="there is no run in it"):
        report.write([runs / "a" / "rcc0" / "pictures"], runs / "x.html", print)
    (runs / "a" / "rcc1" / "data.json").write_text("[")
    with pytest.raises(ConfigError, match="rcc1/data.json is corrupt"):
        report.write([runs], runs / "x.html", print)
    assert not (runs / "x.html").exists()
