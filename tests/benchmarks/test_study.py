"""The numbers and pictures of a study, and the one page that has its marks."""

import json
import types

import pytest

from benchmarks import environment, study, study_tables
from rcc_jax.errors import ConfigError
from rcc_jax.reporting import run_results
from rcc_jax.workdir.folder import evaluation_name


def test_text_replaces_what_lies_between_the_marks(tmp_path):
    start, end = study.marks("drives")
    page, other = tmp_path / "a.md", tmp_path / "b.md"
    page.write_text(f"before\n{start}\nold\nlines\n{end}\nafter\n")
    other.write_text("no marks; drives: made by benchmarks/study.py\n")
    assert study.page_of("drives", [other, page]) == page
    inserted = study.insert(page.read_text(), "drives", r"new \1")
    assert inserted == f"before\n{start}\nnew \\1\n{end}\nafter\n"
    for pages in ([other], [page, page]):
        with pytest.raises(ConfigError, match="must be in one page of docs, once"):
            study.page_of("drives", pages)


def test_the_page_names_the_methods_that_were_not_run():
    missing = study.not_run(study.read(study.RESULTS / "photos"))
    assert missing.startswith("Not run: `st`, ")
    assert "`rcc`" not in missing
    assert missing in study.page_of("photos", sorted(study.DOCS.glob("*.md"))).read_text()


def test_rare_classes_by_step_are_those_of_the_data_set():
    def run(data, partition, method, **scores):
        result = run_results.Result(data, partition, "resnet18", method, 0, 30.0, 30.0)
        return {"iou_by_step": scores, "curves": {}}, result

    names = study_tables.RAREST["msrc"]
    rare = {name: [(100, place), (200, None)] for place, name in enumerate(names)}
    few = run("msrc", "20", "rcc", **rare, grass=[(100, 99.0), (200, 99.0)])
    assert study_tables.rare_classes(*few) == [(100, 2)]
    assert study_tables.rare_classes(*run("camvid", "20", "rcc", **rare)) == []
    # All labels are no curve beside the few: their line would be averaged with another's.
    others = [run("msrc", "20", "unimatch", **rare), run("msrc", "all", "unimatch", **rare)]
    drawn = study_tables.curves([few, *others])
    assert list(drawn) == ["rarest.svg"]
    assert drawn == study_tables.curves([few, others[0]])
    assert "images, labels 20, one seed<" in drawn["rarest.svg"]


def run_with_curve(method, seed, value, labels="20"):
    result = run_results.Result("camvid", labels, "resnet18", method, seed, 30.0, 30.0)
    return {"curves": {"miou": [(100, value)]}}, result


def test_curves_are_means_over_the_seeds_that_all_methods_have():
    run = run_with_curve
    kept = [run("rcc", 0, 10.0), run("rcc", 1, 20.0), run("rcc", 2, 90.0)]
    kept += [run("unimatch", 1, 40.0), run("unimatch", 0, 50.0), run("unimatch", 3, 90.0)]
    (drawn,) = study_tables.curves(kept).values()
    assert "images, labels 20, mean over the seeds 0, 1<" in drawn
    assert ">rcc, 100: 15<" in drawn
    assert ">unimatch, 100: 45<" in drawn
    # Runs with other numbers of labels are no part of these means, whatever their seeds.
    more = [run(method, 0, 99.0, labels="40") for method in ("rcc", "unimatch")]
    assert study_tables.curves(kept + more) == study_tables.curves(kept)
    fewer = [run(method, 0, 5.0, labels="8") for method in ("rcc", "unimatch")]
    assert study_tables.curves(kept + fewer) == study_tables.curves(kept)


def test_a_method_with_few_seeds_does_not_shorten_the_curves():
    kept = [run_with_curve(name, seed, 10.0) for name in ("rcc", "unimatch") for seed in range(3)]
    more = [*kept, run_with_curve("rcc, N = 5", 0, 50.0)]
    assert study_tables.curves(more) == study_tables.curves(kept)


def test_records_hold_no_place_of_a_machine():
    config = {
        "data": {"root": "/home/me/data", "name": "msrc"},
        "train": {"compilation_cache": "/tmp/x"},
        "model": {"pretrained": "/home/me/weights.npz"},
        "method": {"second_pretrained": "hub:facebook/dinov2-small"},
    }
    assert environment.without_paths(config) == {
        "data": {"name": "msrc"},
        "train": {},
        "model": {"pretrained": "weights.npz"},
        "method": {"second_pretrained": "hub:facebook/dinov2-small"},
    }
    assert config["data"]["root"]


def test_variants_of_rcc_are_compared_with_rcc_and_each_length_with_its_own():
    def run(method, last, steps=800):
        result = run_results.Result("msrc", "20", "resnet18", method, 0, last, last, last)
        return {"config": {"train": {"num_steps": steps}}}, result

    kept = [
        run("unimatch", 30.0), run("rcc", 32.0), run("rcc, lambda = 1", 35.0),
        run("unimatch, num_steps = 1600", 40.0, 1600), run("rcc, num_steps = 1600", 41.0, 1600),
    ]  # fmt: skip
    of_unimatch, of_rcc = study_tables.against_baseline(kept).split("\n\nDifference from `rcc`")
    assert of_unimatch.splitlines()[4:] == [
        "| 20 | rcc | +2.0 (1 / 1) | +2.0 (1 / 1) |",
        "| 20 | rcc, lambda = 1 | +5.0 (1 / 1) | +5.0 (1 / 1) |",
        "| 20 | rcc, num_steps = 1600 | +1.0 (1 / 1) | +1.0 (1 / 1) |",
    ]
    assert of_rcc.splitlines()[4:] == ["| 20 | rcc, lambda = 1 | +3.0 (1 / 1) | +3.0 (1 / 1) |"]


def test_the_facts_name_the_cpus_of_the_runs():
    cpus = [{"device": "cpu"}, {"device": "cpu", "cpu": {"model": "Cortex", "cores": 1}}]
    assert [study.machine(start) for start in cpus] == ["cpu", "cpu (Cortex)"]


def test_the_students_score_stands_beside_the_teachers(tmp_path):
    def record(**evaluation):
        return types.SimpleNamespace(evaluations=[evaluation], workdir=tmp_path)

    scores = {"student": {"miou": 20.0}, "ema": {"miou": 25.0}}
    (tmp_path / evaluation_name(2, "test.txt")).write_text(json.dumps(scores))
    found = study.student_scores(record(miou=30.0, miou_ema=35.0), 2, "")
    assert found == {"miou": 30.0, "test_miou": 20.0}
    assert study.student_scores(record(miou=30.0), 2, "") is None


def test_study_compares_runs_of_one_seed_alone():
    def run(method, seed, last, test):
        return {}, run_results.Result("camvid", "1_8", "resnet18", method, seed, last, last, test)

    kept = [
        run("unimatch", 0, 30.0, 20.0), run("unimatch", 1, 40.0, None), run("rcc", 0, 32.0, 19.0),
        run("rcc", 1, 41.0, 25.0), run("cc", 2, 99.0, 99.0),
    ]  # fmt: skip
    text = study_tables.against_baseline(kept)
    assert text.splitlines()[-1] == "| 1_8 | rcc | +1.5 ± 0.7 (2 / 2) | -1.0 (0 / 1) |"
    assert "| cc |" not in text
    assert study_tables.against_baseline(kept[2:]) == ""
    # Without UniMatch, UniMatch V2 is what the others are compared with.
    second = [run("unimatch_v2, EMA 0.99", 2, 98.0, 98.0), run("unimatch_v2 + rcc", 2, 97.0, 98.0)]
    text = study_tables.against_baseline([kept[4], *second])
    assert text.startswith("Difference from `unimatch_v2, EMA 0.99` with the same labels, seed")
    assert text.splitlines()[-2:] == [
        "| 1_8 | unimatch_v2 + rcc | -1.0 (0 / 1) | +0.0 (0 / 1) |",
        "| 1_8 | cc | +1.0 (1 / 1) | +1.0 (1 / 1) |",
    ]


@pytest.mark.parametrize("name", ["camvid", "camvid-cpu", "drives", "photos", "photos_dinov2"])
def test_page_holds_what_the_kept_runs_make(name):
    document = study.page_of(name, sorted(study.DOCS.glob("*.md"))).read_text()
    text, files = study.render(study.RESULTS / name)
    assert study.insert(document, name, text) == document
    for file, content in files.items():
        assert (study.RESULTS / name / file).read_text() == content
