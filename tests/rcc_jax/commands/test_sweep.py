"""Sweeps: shards, finished and failed runs, signals; runs are real and tiny."""

import json
import shutil
import signal
import time
import xml.etree.ElementTree

import pytest

from benchmarks import study
from rcc_jax import shipped
from rcc_jax.commands import sweep
from rcc_jax.config.stages import Stage
from rcc_jax.errors import ConfigError
from tests.support.commands import finish, start

CELLS = [f"configs/demo.py:method={name},seed={seed}" for name in ("cc", "rcc") for seed in (0, 1)]
TINY = (
    "model.backbone=resnet10", "model.width=8", "model.decoder_channels=16", "data.crop_size=33",
    "data.val=100000:100002", "train.batch_size=1", "train.num_steps=2", "eval.pictures=0",
)  # fmt: skip


def test_shards_share_out_the_runs():
    whole = sweep.plan(CELLS, "runs")
    assert [run.workdir.name for run in whole][:2] == [
        "demo-method=cc,seed=0",
        "demo-method=cc,seed=1",
    ]
    shards = [sweep.plan(CELLS, "runs", f"{index}/3") for index in range(3)]
    assert [len(shard) for shard in shards] == [2, 1, 1]
    assert sorted(run.config for shard in shards for run in shard) == sorted(
        run.config for run in whole
    )


CHAIN = [
    Stage("a", "configs/demo.py:method=st", flags=("--config.data.pseudo={b}",)),
    Stage("b", after="a", flags=("--mode=label", "--workdir={a}", "--output={b}")),
    Stage("c", "configs/demo.py", after="b"),
]


def test_stages_stay_together_and_name_their_folders():
    shards = [sweep.plan([*CHAIN, *CELLS], "runs", f"{index}/2") for index in range(2)]
    assert [run.workdir.name for run in shards[0]][:3] == ["a", "b", "c"]
    assert [len(shard) for shard in shards] == [3 + 2, 2]
    first, second, third = shards[0][:3]
    program = shipped.command()
    assert first.command(["seed=1"]) == [
        *program, "--config=configs/demo.py:method=st", "--workdir=runs/a",
        "--config.data.pseudo=runs/b", "--config.seed=1",
    ]  # fmt: skip
    assert second.command([]) == [
        *program, "--mode=label", "--workdir=runs/a", "--output=runs/b",
    ]  # fmt: skip
    assert (first.after, third.after) == (None, second.workdir)


def test_a_stage_before_what_it_follows_is_refused():
    with pytest.raises(ConfigError, match="lists c after b, which is not before it"):
        sweep.plan([CHAIN[0], CHAIN[2]], "runs")


def test_stages_after_a_failed_one_are_not_started(tmp_path):
    runs = sweep.plan([*CHAIN[:2], Stage("d", after="b")], tmp_path)
    said = []
    assert sweep.run_all(runs, [], said.append) == runs
    assert said[1:] == [
        "[1/3] a: FAILED with exit code 2; the sweep continues",
        "[2/3] b: not started, since a failed",
        "[3/3] d: not started, since b failed",
    ]


@pytest.mark.parametrize("shard", ["", "1", "2/2", "-1/2", "a/b", "0/0"])
def test_shard_that_is_none(shard):
    with pytest.raises(ConfigError, match=f"--shard={shard}: write INDEX/COUNT"):
        sweep.plan(CELLS, "runs", shard)


def test_faulty_lists():
    with pytest.raises(ConfigError, match="demo-method=cc,seed=0 twice"):
        sweep.plan([*CELLS, CELLS[0]], "runs")
    with pytest.raises(ConfigError, match=r"configs/dmo.py:x: there is no configuration file"):
        sweep.plan(["configs/dmo.py:x"], "runs")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.rot=/x", "--set=data.rot: there is no such field; did you mean --set=data.root?"),
        ("train.num_steps=many", "--set=train.num_steps=many: must be a whole number."),
        ("data.root=tsts", "--set=data.root=tsts: data.root = 'tsts': there is no folder "),
    ],
)
def test_a_fault_of_every_run_is_said_once(override, said, tmp_path):
    flags = ["--mode=sweep", "--config=configs/sweeps/components.py", f"--workdir={tmp_path}"]
    output, errors = finish(start(*flags, "--set=seed=1", f"--set={override}"), 2)
    assert output == ""
    assert errors.startswith(f"error: {said}")
    assert errors.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """A sweep of three runs, the second of which cannot work."""
    file = tmp_path_factory.mktemp("sweep") / "three.py"
    file.write_text(
        "import ml_collections\n"
        "RUNS = ('configs/demo.py:method=supervised', 'configs/demo.py:method=none',\n"
        "        'configs/demo.py:method=supervised,seed=1')\n"
        "def get_config(): return ml_collections.ConfigDict({'runs': RUNS})\n"
    )
    return file


@pytest.fixture(scope="module")
def fields():
    """Fields of a tiny run."""
    return [f"--set={field}" for field in TINY]


@pytest.fixture(scope="module")
def swept(listed, fields, tmp_path_factory):
    """The folder of the sweep, and what it said."""
    folder = tmp_path_factory.mktemp("swept")
    _, errors = finish(
        start(f"--workdir={folder}", "--mode=sweep", f"--config={listed}", *fields), 1
    )
    return folder, errors


def test_failed_runs_are_passed_over_and_finished_ones_skipped(listed, fields, swept):
    folder, errors = swept
    flags = ["--mode=sweep", f"--config={listed}", *fields]
    assert "config.method.name = 'none'" in errors
    assert errors.endswith("error: 1 of 3 runs failed: demo-method=none\n")
    result = json.loads((folder / "demo-method=supervised,seed=1" / "result.json").read_text())
    assert result["step"] == 2
    output, _ = finish(start(f"--workdir={folder}", *flags, "--shard=0/2"))
    assert output.count("already finished") == 2

    # Skipping it would pass off the old result for that of other settings.
    _, errors = finish(start(f"--workdir={folder}", *flags, "--set=seed=5", "--shard=0/3"), 1)
    assert "holds a run with another config:\n  seed: 0 -> 5" in errors

    output, _ = finish(start(f"--workdir={folder}", "--mode=table"))
    assert "| supervised, same steps | " in output
    assert "(2) |" in output


def test_scores_of_another_list_or_protocol_are_no_scores(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"eval": {"mode": "whole", "flip": False}}))
    (tmp_path / "result.json").write_text(json.dumps({"step": 2, "protocol": "whole"}))
    assert not sweep._is_scored(tmp_path, "a/test.txt")
    for images, flip, expected in (
        ("a/test.txt", False, True), ("b/test.txt", False, False), ("a/test.txt", True, False)
    ):  # fmt: skip
        found = {"images": images, "eval": {"mode": "whole", "flip": flip}}
        (tmp_path / "evaluation_2_test.json").write_text(json.dumps(found))
        assert sweep._is_scored(tmp_path, "a/test.txt") == expected
    for name in ("evaluation_2_test.json", "result.json"):
        (tmp_path / name).write_text("")
        assert not sweep._is_scored(tmp_path, "a/test.txt")


@pytest.mark.slow
def test_other_images_are_scored_once(listed, fields, swept):
    folder, _ = swept
    flags = ["--mode=sweep", f"--config={listed}", *fields]
    other = ["--shard=0/3", "--list=200000:200002"]
    output, _ = finish(start(f"--workdir={folder}", *flags, *other))
    assert "student, step 2, 200000:200002\n" in output
    path = folder / "demo-method=supervised" / "evaluation_2_200000:200002.json"
    scores = json.loads(path.read_text())
    assert scores["images"] == "200000:200002"
    result = json.loads((path.parent / "result.json").read_text())
    assert scores["student"]["miou"] != result["miou"]
    output, _ = finish(start(f"--workdir={folder}", *flags, *other))
    assert "student" not in output


@pytest.mark.slow
def test_signal_stops_the_run_and_the_sweep(listed, fields, tmp_path):
    longer = ["--set=train.num_steps=100000", "--set=train.log_every=1"]
    process = start(
        f"--workdir={tmp_path / 'runs'}", "--mode=sweep", f"--config={listed}", *fields, *longer
    )
    metrics = tmp_path / "runs" / "demo-method=supervised" / "metrics.jsonl"
    limit = time.monotonic() + 300
    while not (metrics.exists() and metrics.stat().st_size) and process.poll() is None:
        assert time.monotonic() < limit
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = finish(process, 143)
    assert "SIGTERM: noticed; the run saves and ends after the current work\n" in errors
    assert "stopped and saved after step" in errors
    assert "sweep stopped in" in errors
    assert not (tmp_path / "runs" / "demo-method=none").exists()


def test_study_keeps_runs_and_makes_its_text_of_them_alone(swept, tmp_path):
    folder, results = tmp_path / "runs", tmp_path / "demo"
    shutil.copytree(swept[0], folder)
    scores = json.dumps({"student": {"miou": 12.5, "iou": {"seabed": 12.5}}})
    for run in folder.glob("*supervised*"):
        (run / "evaluation_2_test.json").write_text(scores)
    assert study.keep(folder, results) == 2
    shutil.rmtree(folder)

    paths = sorted(results.iterdir())
    assert [path.name for path in paths] == [
        "demo-method=supervised,seed=1.json",
        "demo-method=supervised.json",
    ]
    other, first = (json.loads(path.read_text()) for path in paths)
    assert first["curves"]["miou"] == [[2, first["miou"]]]
    assert first["iou_by_step"]["seabed"] == [[2, first["iou"]["seabed"]]]
    assert first["student"] is None  # Without an EMA teacher it is the network that is scored.
    assert len(first["iou"]) == 7
    assert first["test"]["miou"] == 12.5
    assert first["images"]["labeled"] == 20
    assert first["seconds_per_step"] > 0
    assert "root" not in first["config"]["data"]
    mean = (first["miou"] + other["miou"]) / 2
    text, files = study.render(results)
    assert f"| supervised, same steps | {mean:.1f} ± " in text
    assert " / 12.5 ± 0.0 (2) |" in text
    assert "2 runs of 2 steps; cpu" in text
    # Of one number of labels there is no line to draw; two methods without UniMatch, no difference.
    assert list(files) == ["table.md", "classes.md", "loss_labeled.svg", "miou.svg"]
    assert (
        f"| seabed | {(first['iou']['seabed'] + other['iou']['seabed']) / 2:.1f} / 12.5 |"
        in (files["classes.md"])
    )
    assert "Difference from unimatch" not in text

    other["config"]["data"]["partition"], other["images"]["labeled"] = "40", 40
    paths[0].write_text(json.dumps(other))
    text, files = study.render(results)
    assert "](../benchmarks/results/demo/last.svg)" in text
    notes = {
        element.text
        for element in xml.etree.ElementTree.fromstring(files["last.svg"]).iter()
        if element.tag.endswith("title")
    }
    assert notes == {
        f"supervised, same steps, {count}: {each['miou']:.4g}"
        for count, each in ((20, first), (40, other))
    }
