"""Tables of runs: cells, order, spread over seeds, the numbers of others beside ours."""

import csv
import json

import pytest

from configs import cityscapes_1_2, pascal_1_8, pascal_1_16, pascal_blender_1_8
from rcc_jax.config import method_group
from rcc_jax.errors import ConfigError
from rcc_jax.methods import METHODS
from rcc_jax.reporting import published, run_results, tables
from tests.support.toy_method import Toy


def write_run(folder, config, last, best):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(method_group.resolved(config)))
    if last is not None:
        result = {"step": 10, "miou": last, "best_miou": best}
        (folder / "result.json").write_text(json.dumps(result))


@pytest.fixture
def runs(tmp_path):
    for seed, last, best in ((0, 60.0, 61.0), (1, 62.0, 63.0), (2, 64.0, 65.0)):
        config = pascal_1_16.get_config(f"method=rcc,seed={seed}")
        write_run(tmp_path / f"rcc{seed}", config, last, best)
    write_run(tmp_path / "five", pascal_1_16.get_config("method=rcc,top_n=5"), 59.0, 59.5)
    write_run(tmp_path / "uni", pascal_1_8.get_config("method=unimatch"), 70.25, 71.0)
    write_run(tmp_path / "city", cityscapes_1_2.get_config("method=cc,kind=kl"), 75.0, 76.0)
    write_run(tmp_path / "running", pascal_1_16.get_config("method=cc"), None, None)
    return tmp_path


def rows_of(text, title):
    section = text.split(f"### {title}\n")[1].split("###")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells if not row[0].startswith("---")}


def test_cells_hold_last_and_best_with_their_spread(runs):
    lines = []
    rows = rows_of(tables.write(runs, lines.append), "pascal_classic, resnet50")
    assert rows["method"] == ["92", "183"]
    assert rows["rcc"] == ["62.0 ± 2.0 / 63.0 ± 2.0 (3)", "-"]
    assert rows["rcc, N = 5"] == ["59.0 / 59.5 (1)", "-"]
    assert rows["unimatch"] == ["-", "70.2 / 71.0 (1)"]
    assert rows["*unimatch (paper: usual list)*"] == ["67.4", "71.9"]
    assert rows["*unimatch (public log: usual list, stride 16, best)*"] == ["71.9", "72.5"]
    assert rows["*rcc, N = 5 (paper: usual list)*"] == ["72.0", "-"]
    ours = [name for name in rows if "(" not in name]
    assert ours == ["method", "unimatch", "rcc", "rcc, N = 5"]
    written = [f"written: {runs / name}" for name in ("table.md", "table.csv")]
    assert lines == [f"left out, not finished: {runs}/running", *written]


def test_runs_of_another_cutmix_partner_have_a_row_of_their_own(runs):
    config = pascal_1_8.get_config("method=unimatch")
    config.data.cutmix_partner = "same"
    write_run(runs / "same", config, 70.0, 70.5)
    rows = rows_of(tables.write(runs, lambda line: None), "pascal_classic, resnet50")
    assert rows["unimatch"] == ["-", "70.2 / 71.0 (1)"]
    assert rows["unimatch, CutMix of the same image"] == ["-", "70.0 / 70.5 (1)"]


def test_methods_without_boxes_have_no_partner(tmp_path):
    config = pascal_1_8.get_config("method=augseg")
    config.data.cutmix_partner = "same"
    write_run(tmp_path / "a", config, 70.0, 70.5)
    rows = rows_of(tables.write(tmp_path, lambda line: None), "pascal_classic, resnet50")
    assert rows["augseg"] == ["70.0 / 70.5 (1)"]


def test_runs_without_a_score_have_no_spread(tmp_path):
    for seed in range(2):
        config = pascal_1_8.get_config(f"method=unimatch,seed={seed}")
        write_run(tmp_path / str(seed), config, 70.0, 71.0)
        result = {"step": 10, "miou": None, "best_miou": None}
        (tmp_path / str(seed) / "result.json").write_text(json.dumps(result))
    rows = rows_of(tables.write(tmp_path, lambda line: None), "pascal_classic, resnet50")
    assert rows["unimatch"] == ["nan / nan (2)"]


def test_each_data_set_and_backbone_has_its_table(runs):
    text = tables.write(runs, lambda line: None)
    assert text.count("### ") == 2
    rows = rows_of(text, "cityscapes, resnet50")
    assert rows["cc, kl"] == ["75.0 / 76.0 (1)"]
    assert rows["*rcc (paper: usual list)*"] == ["79.8"]
    assert (runs / "table.md").read_text() == text


def test_csv_has_a_line_a_run_and_marks_the_numbers_of_others(runs):
    tables.write(runs, lambda line: None)
    lines = list(csv.DictReader((runs / "table.csv").read_text().splitlines()))
    ours = [line for line in lines if line["source"] == "ours"]
    assert len(ours) == 6
    assert {line["last"] for line in ours if line["method"] == "rcc"} == {"60.0", "62.0", "64.0"}
    paper = {
        (line["data"], line["method"], line["partition"]): line["best"]
        for line in lines
        if line["source"] == "paper"
    }
    assert paper["pascal_classic", "rcc", "92"] == "71.8"
    assert paper["cityscapes", "supervised", "186"] == "63.3"


def test_scores_on_test_images_stand_beside_the_others(runs):
    for seed, miou in ((0, 50.0), (1, 52.0), (2, 54.0)):
        scores = {"student": {"miou": 1.0}, "ema": {"miou": miou}}
        (runs / f"rcc{seed}" / "evaluation_10_test.json").write_text(json.dumps(scores))
    # Of another checkpoint than the last.
    (runs / "five" / "evaluation_9_test.json").write_text(json.dumps(scores))
    text = tables.write(runs, print)
    rows = rows_of(text, "pascal_classic, resnet50")
    assert rows["rcc"] == ["62.0 ± 2.0 / 63.0 ± 2.0 / 52.0 ± 2.0 (3)", "-"]
    assert rows["rcc, N = 5"] == ["59.0 / 59.5 / - (1)", "-"]
    assert rows_of(text, "cityscapes, resnet50")["cc, kl"] == ["75.0 / 76.0 (1)"]
    assert text.count("last / best evaluation / last on the test images") == 1
    lines = csv.DictReader((runs / "table.csv").read_text().splitlines())
    found = {(line["method"], line["seed"]): line["test"] for line in lines if line["seed"]}
    assert (found["rcc", "1"], found["unimatch", "0"]) == ("52.0", "")
    (runs / "rcc1" / "evaluation_10_test.json").write_text("{}")
    with pytest.raises(ConfigError, match="rcc1: .*corrupt"):
        run_results.gather(runs, print)


def test_scores_of_another_protocol_are_left_out(runs):
    for seed, flip in ((0, False), (1, True)):
        scores = {"student": {"miou": 50.0}, "eval": {"mode": "whole", "flip": flip}}
        (runs / f"rcc{seed}" / "evaluation_10_test.json").write_text(json.dumps(scores))
    said = []
    found = run_results.gather(runs, said.append)
    assert {result.seed: result.test for result in found if result.method == "rcc"} == {
        0: 50.0, 1: None, 2: None
    }  # fmt: skip
    assert [line for line in said if "protocol" in line] == [
        f"scores on test images left out, another step or protocol: {runs / 'rcc1'}"
    ]


def test_runs_of_another_length_or_list_are_no_seeds_of_the_others(runs):
    config = pascal_1_16.get_config("method=rcc,seed=3")
    config.train.num_epochs = 160
    write_run(runs / "long", config, 80.0, 80.0)
    config.train.num_epochs = 80
    config.data.labeled = "splits/others.txt"
    write_run(runs / "others", config, 90.0, 90.0)
    rows = rows_of(tables.write(runs, print), "pascal_classic, resnet50")
    assert rows["rcc"] == ["62.0 ± 2.0 / 63.0 ± 2.0 (3)", "-"]
    assert rows["rcc, num_epochs = 160"] == ["80.0 / 80.0 (1)", "-"]
    assert rows["rcc, labeled = splits/others.txt"] == ["90.0 / 90.0 (1)", "-"]


def test_frozen_encoders_have_a_row_of_their_own(tmp_path):
    config = pascal_1_16.get_config("method=unimatch_v2,backbone=dinov2_small")
    write_run(tmp_path / "tuned", config, 79.0, 79.0)
    config.model.freeze_encoder = True
    config.seed = 1
    write_run(tmp_path / "frozen", config, 81.0, 81.5)
    rows = rows_of(tables.write(tmp_path, print), "pascal_classic, dinov2_small")
    assert rows["unimatch_v2"] == ["79.0 / 79.0 (1)"]
    assert rows["unimatch_v2, encoder frozen"] == ["81.0 / 81.5 (1)"]
    assert rows["*unimatch_v2, encoder frozen (V2's log: usual list, best)*"] == ["81.8"]


def test_methods_go_from_the_simplest_to_the_newest():
    names = ["rcc", "daw + rcc", "unimatch, N = 5", "fixmatch + rcc", "fixmatch"]
    assert sorted(names, key=tables.method_order) == [
        "fixmatch", "fixmatch + rcc", "unimatch, N = 5", "daw + rcc", "rcc"
    ]  # fmt: skip


def test_partitions_go_from_few_labels_to_many(tmp_path):
    config = pascal_1_16.get_config()
    for number, partition in enumerate(("1_2", "1_16", "1_8", "1_4")):
        config.data.name, config.data.partition = "camvid", partition
        write_run(tmp_path / str(number), config, 1.0, 1.0)
    rows = rows_of(tables.write(tmp_path, print), "camvid, resnet50")
    assert rows["method"] == ["1_16", "1_8", "1_4", "1_2"]


def test_scores_that_are_missing_do_not_look_like_numbers(tmp_path):
    folder = tmp_path / "run"
    write_run(folder, pascal_1_16.get_config(), 50.0, 50.0)
    (folder / "result.json").write_text('{"step": 10, "miou": null, "best_miou": null}')
    rows = rows_of(tables.write(tmp_path, print), "pascal_classic, resnet50")
    assert rows["rcc"] == ["nan / nan (1)"]


def test_no_cell_is_a_mean_over_two_ways_to_evaluate(runs):
    path = runs / "rcc1" / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "protocol": "whole-flip"}))
    rows = rows_of(tables.write(runs, print), "pascal_classic, resnet50")
    assert rows["rcc, evaluated whole"] == ["62.0 ± 2.8 / 63.0 ± 2.8 (2)", "-"]
    assert rows["rcc, evaluated whole-flip"] == ["62.0 / 63.0 (1)", "-"]
    lines = csv.DictReader((runs / "table.csv").read_text().splitlines())
    found = {(line["data"], line["method"], line["seed"]): line["protocol"] for line in lines}
    assert found["pascal_classic", "rcc", "0"] == "whole"
    assert found["pascal_classic", "rcc", "1"] == "whole-flip"
    assert found["cityscapes", "cc, kl", "0"] == "sliding-801-534-cut"


def test_faults_are_named(runs):
    with pytest.raises(ConfigError, match="no finished run"):
        run_results.gather(runs / "running", print)
    write_run(runs / "again", pascal_1_16.get_config("method=rcc,seed=1"), 1.0, 1.0)
    with pytest.raises(ConfigError, match=r"again and .*rcc1 are both rcc, seed 1"):
        run_results.gather(runs, print)
    (runs / "again" / "result.json").write_text("{")
    with pytest.raises(ConfigError, match="again: .*corrupt"):
        run_results.gather(runs, print)


def test_runs_of_an_added_method_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "toy", Toy)
    for pull in (0.5, 0.1):
        config = pascal_1_16.get_config("method=toy")
        config.method.pull = pull
        write_run(tmp_path / str(pull), config, 50.0 + pull, 60.0)
    rows = rows_of(tables.write(tmp_path, print), "pascal_classic, resnet50")
    assert rows["toy"] == ["50.5 / 60.0 (1)"]
    assert rows["toy, pull = 0.1"] == ["50.1 / 60.0 (1)"]
    # In a copy of the project that does not know the method, its own fields mean nothing.
    monkeypatch.delitem(METHODS, "toy")
    with pytest.raises(ConfigError, match="are both toy, seed 0"):
        tables.write(tmp_path, print)


def test_published_numbers_are_those_of_the_paper():
    classic = published.PAPER["pascal_classic", "resnet50"]
    assert classic["rcc"] == {"92": 71.8, "183": 74.7, "366": 76.9, "732": 78.9, "1464": 80.3}
    assert classic["cc"] == {"92": 70.2, "1464": 79.9}
    assert published.PAPER["pascal_blender", "resnet101"]["unimatch"]["1323"] == 78.4
    assert published.README["pascal_classic", "resnet101"]["unimatch"]["1464"] == 81.2
    assert published.LOGS["pascal_classic", "resnet101"]["unimatch"]["1464"] == 80.8


@pytest.mark.parametrize("backbone", ["resnet50", "resnet101"])
def test_the_papers_baseline_on_cityscapes_is_that_of_the_public_logs(backbone):
    logs = published.LOGS["cityscapes", backbone]["unimatch"]
    paper = published.PAPER["cityscapes", backbone]["unimatch"]
    assert {partition: round(value, 1) for partition, value in logs.items()} == paper


def test_tables_name_each_source_of_numbers(tmp_path):
    write_run(tmp_path / "run", pascal_1_16.get_config("method=rcc,backbone=resnet101"), 70.0, 71.0)
    rows = rows_of(tables.write(tmp_path, print), "pascal_classic, resnet101")
    assert rows["*unimatch (paper: usual list)*"] == ["73.5"]
    assert rows["*unimatch (UniMatch's README: usual list, stride 16, best)*"] == ["75.2"]
    assert rows["*unimatch (public log: usual list, stride 16, best)*"] == ["75.0"]
    lines = csv.DictReader((tmp_path / "table.csv").read_text().splitlines())
    cell = [line for line in lines if (line["method"], line["partition"]) == ("unimatch", "92")]
    found = {line["source"]: line["best"] for line in cell}
    assert found == {"paper": "73.5", "UniMatch's README": "75.2", "public log": "75.0"}
    (marks,) = {line["marks"] for line in cell if line["source"] == "public log"}
    assert marks == "usual list, stride 16, best"


def test_rows_on_an_easier_list_are_marked(tmp_path):
    config = pascal_blender_1_8.get_config("backbone=resnet101")
    write_run(tmp_path / "run", config, 70.0, 71.0)
    rows = rows_of(tables.write(tmp_path, print), "pascal_blender, resnet101")
    marks = "U2PL's list, stride 8, best, multi-grid"
    assert rows[f"*u2pl (paper: {marks})*"] == rows[f"*u2pl (U2PL's README: {marks})*"] == ["79.0"]
    own = "usual list, stride 8, best, multi-grid"
    assert rows[f"*u2pl (iMAS's README: {own})*"] == ["77.6"]
    # No number for this partition, no row.
    assert rows["*stpp (paper: usual list, stride 8, best, dropout)*"] == ["76.3"]


def test_numbers_of_the_last_epoch_are_in_its_column(tmp_path):
    config = pascal_1_16.get_config("method=unimatch_v2,backbone=dinov2_small")
    write_run(tmp_path / "run", config, 70.0, 71.0)
    tables.write(tmp_path, print)
    lines = list(csv.DictReader((tmp_path / "table.csv").read_text().splitlines()))
    found = {
        line["marks"]: (line["last"], line["best"])
        for line in lines
        if (line["source"], line["method"]) == ("V2's log", "unimatch_v2")
        and line["partition"] == "183"
    }
    assert found == {"usual list, best": ("", "85.5"), "usual list, last": ("85.2", "")}
