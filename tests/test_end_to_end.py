"""Whole runs as a user starts them: killed, stopped, resumed, evaluated, diverged."""

import functools
import itertools
import json
import os
import random
import shutil
import signal
import time

import jax
import numpy as np
import pytest
from PIL import Image

from configs import recorded
from input_pipeline.sources import scenes
from rcc_jax.reporting import prediction_sheet
from rcc_jax.reporting import sheets as visualization
from rcc_jax.workdir import checkpoint_paths, checksums
from tests.guards import faults
from tests.support.commands import finish, start, start_afresh
from tests.support.runs import (
    STEPS,
    different,
    events,
    kill,
    leaves,
    metrics,
    reached,
    saved_state,
    saved_steps,
    saving,
    tiny_run,
    wait_until,
)


@pytest.fixture(scope="session")
def command():
    """The flags of a tiny run; all runs share the compiled programs of the first."""
    return functools.partial(tiny_run, "auto")


@pytest.fixture(scope="session")
def finished(command, tmp_path_factory):
    """The workdir of a run that nothing interrupted."""
    workdir = tmp_path_factory.mktemp("finished")
    output, errors = finish(start(*command(workdir)))
    assert output.index("compiling the training step") < output.index("training step ready after")
    assert f"step {STEPS}: mIoU" in output
    assert output.count("brittle_star") == 2
    assert "change of EMA: since step 6" in output
    assert errors == ""
    return workdir


def test_run_leaves_what_it_promises(finished):
    lines = metrics(finished)
    assert [line["step"] for line in lines] == [2, 4, 6, 6, 8, 10, 12, 12]
    evaluations = [line for line in lines if "miou" in line]
    assert [line["step"] for line in evaluations] == [6, 12]
    assert all(len(line["iou"]) == 7 and "miou_ema" in line for line in evaluations)
    # All terms of the loss are at work, or equality below would prove little.
    assert all(lines[-2][f"loss_{term}"] > 0 for term in ("labeled", "strong1", "consensus"))
    names = {
        path.split("'")[1] if "'" in path else path for path in leaves(saved_state(finished, STEPS))
    }
    assert {"step", "weights", "ema", "opt_state", "rng"} <= names
    pictures = {path.name for path in (finished / "pictures").iterdir()}
    steps = ("0000006.png", "0000012.png")
    sheets = {f"{name}_{step}" for name in ("step", "unlabeled") for step in steps}
    assert pictures == {*sheets, "step_0000012", "index.html"}
    page = (finished / "pictures" / "index.html").read_text()
    assert all(f'<img src="{name}"' in page for name in sheets)
    assert f"Step 12: mIoU {evaluations[-1]['miou_ema']:.2f}</h2>" in page
    ((image, truth, _),) = prediction_sheet.saved(finished / "pictures" / f"step_{steps[1]}")
    expected, label = scenes.draw_scene(100000)
    np.testing.assert_array_equal(np.asarray(Image.open(image)), expected)
    shown = np.asarray(Image.open(truth))
    np.testing.assert_array_equal(shown, visualization.palette(7)[label])
    shown = {(event.step, value.tag) for event in events(finished) for value in event.summary.value}
    assert shown.issuperset(itertools.product((6, 12), ("predictions", "unlabeled", "miou_ema")))
    counts = json.loads((finished / "data.json").read_text())
    assert counts.pop("digests").keys() == {"labeled", "unlabeled", "val"}
    assert counts == {"labeled": 20, "unlabeled": 40, "val": 4}
    (environment,) = json.loads((finished / "environment.json").read_text())
    assert environment["after_step"] == 0
    assert environment["packages"]["jax"] == jax.__version__
    assert environment["cpu"]["cores"] == len(os.sched_getaffinity(0))


def assert_same(workdir, finished):
    """The two runs are bitwise the same, and so are their pictures."""
    assert not different(workdir, finished)
    for name in (f"unlabeled_{STEPS:07d}.png", f"step_{STEPS:07d}/0_prediction.png"):
        ours, theirs = (folder / "pictures" / name for folder in (workdir, finished))
        assert ours.read_bytes() == theirs.read_bytes()


def test_killed_and_started_again_is_bitwise_the_same(command, finished, tmp_path):
    process = start_afresh(*command(tmp_path))
    wait_until(process, lambda: saving(tmp_path, 6))
    assert kill(process)
    output, _ = finish(start(*command(tmp_path, data__num_threads=1)))
    assert "resuming after step" in output
    assert_same(tmp_path, finished)


@pytest.mark.slow
def test_stopped_and_started_again_is_bitwise_the_same(command, finished, tmp_path):
    # Ctrl-C reaches the worker processes of the pipeline too.
    process = start_afresh(*command(tmp_path, data__num_workers=1))
    wait_until(process, lambda: reached(tmp_path, 8))
    os.killpg(process.pid, signal.SIGINT)
    _, errors = finish(process, 130)
    assert errors.startswith("SIGINT: noticed; the run saves and ends after the current work; ")
    assert "stopped and saved after step" in errors
    assert "the same command resumes from there" in errors
    assert "Traceback" not in errors
    output, _ = finish(start_afresh(*command(tmp_path, data__num_threads=1)))
    assert "resuming after step" in output
    assert_same(tmp_path, finished)


@pytest.mark.slow
def test_killed_at_any_moment_and_started_again_is_bitwise_the_same(command, finished, tmp_path):
    delay = random.Random(0).uniform
    moments = [
        (lambda: True, delay(1, 4)),
        (lambda: reached(tmp_path, 2), delay(0, 0.1)),
        (lambda: saving(tmp_path, 6), 0),
        (lambda: saving(tmp_path, 9), delay(0, 0.02)),
    ]
    killed = 0
    for condition, seconds in moments:
        process = start_afresh(*command(tmp_path))
        wait_until(process, condition)
        time.sleep(seconds)
        killed += kill(process)
    output, _ = finish(start(*command(tmp_path)))
    assert killed >= 3
    assert "resuming after step" in output
    assert_same(tmp_path, finished)


@pytest.mark.slow
def test_a_run_survives_one_fault_after_another(command, finished, tmp_path):
    """A short form of the campaign in `tests/guards/faults.py`, which has more of them."""
    moments = random.Random(0)
    faults.start_twice(command, tmp_path, 2, moments)
    faults.fill_disk(command, tmp_path, 5, moments)
    faults.flip_checkpoint(command, tmp_path, 6, moments)
    newest = saved_steps(tmp_path)[-1]
    output, lost = faults.go_on(command, tmp_path)
    assert f"checkpoint {newest} is corrupt and no longer used" in output
    assert lost > 0
    assert not different(tmp_path, finished)


@pytest.fixture(scope="session")
def stopped_after_6(command, tmp_path_factory):
    """A run from before protocols were recorded, with a best score that none will ever reach."""
    workdir = tmp_path_factory.mktemp("stopped")
    finish(start(*command(workdir, eval__every_steps=3, checkpoint__keep=9)))
    for step in (9, 12):
        shutil.rmtree(workdir / "checkpoints" / str(step))
    (workdir / "result.json").unlink()
    lines = metrics(workdir)
    for line in lines:
        assert line.pop("protocol", "whole") == "whole"
        if line["step"] == 3 and "miou" in line:
            line["miou_ema"] = 99.0
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (workdir / "metrics.jsonl").write_text(text)
    for step in (3, 6):
        folder = workdir / "checkpoints" / str(step)
        score = json.loads((folder / "metrics" / "metrics").read_text())["score"]
        score = 99.0 if step == 3 else score
        (folder / "metrics" / "metrics").write_text(json.dumps({"score": score}))
        checksums.write(folder)
    return workdir


@pytest.mark.slow
def test_another_way_to_evaluate_starts_a_best_of_its_own(command, stopped_after_6, tmp_path):
    """The old one stays, with its checkpoint; interrupted or not, the run is the same."""
    whole, killed = (shutil.copytree(stopped_after_6, tmp_path / n) for n in ("whole", "killed"))
    changed = {"eval__every_steps": 3, "eval__flip": True, "checkpoint__keep": 1}
    output, _ = finish(start(*command(whole, **changed)))
    (said,) = (line for line in output.splitlines() if line.startswith("evaluations are now"))
    assert said == (
        "evaluations are now 'whole-flip' and no longer 'whole', whose best, 99.00 at step 3, is "
        "kept as --checkpoint=best:whole; the best score starts anew"
    )
    scores = {line["step"]: line for line in metrics(whole) if "miou" in line}
    assert [scores[step].get("protocol") for step in (3, 6, 9, 12)] == [None] * 2 + [
        "whole-flip"
    ] * 2
    best = max((9, 12), key=lambda step: (scores[step]["miou_ema"], step))
    assert f"(best {scores[best]['miou_ema']:.2f})" in output
    assert json.loads((whole / "result.json").read_text()) == {
        "step": STEPS,
        "miou": scores[12]["miou_ema"],
        "best_miou": scores[best]["miou_ema"],
        "protocol": "whole-flip",
        "best_of_other_protocols": {"whole": {"step": 3, "miou": 99.0}},
    }
    assert saved_steps(whole) == sorted({3, best, 12})

    killings = (lambda: reached(killed, 8), lambda: saving(killed, 9))
    for condition in killings:
        process = start(*command(killed, **changed))
        wait_until(process, condition)
        process.kill()
        process.communicate()
    finish(start(*command(killed, **changed)))
    assert not different(killed, whole)
    assert saved_steps(killed) == saved_steps(whole)

    named = {"best:whole": 3, "best:whole-flip": best, "best": best}
    for name, step in named.items():
        path = checkpoint_paths.find_named(recorded.get_config(whole), whole, name)
        assert path == str(whole / "checkpoints" / str(step))
    output, _ = finish(start("--mode=eval", f"--workdir={whole}", "--checkpoint=best:whole"))
    assert "ema, step 3\n" in output
    assert (whole / "evaluation_3.json").exists()
    _, errors = finish(start("--mode=eval", f"--workdir={whole}", "--checkpoint=best:sliding"), 2)
    assert "no best:sliding checkpoint; there is best:whole, best:whole-flip." in errors


@pytest.mark.slow
def test_fields_that_change_no_score_leave_the_best_alone(command, stopped_after_6, tmp_path):
    workdir = shutil.copytree(stopped_after_6, tmp_path / "run")
    fields = {"eval__window": 16, "eval__batch_size": 3, "eval__max_shapes": 1}
    output, _ = finish(start(*command(workdir, **fields, eval__pictures=0)))
    assert "evaluations are now" not in output
    assert "(best 99.00)" in output
    assert json.loads((workdir / "result.json").read_text())["best_miou"] == 99.0
    assert 3 in saved_steps(workdir)


def test_another_config_on_the_workdir_is_refused(command, finished):
    before = (finished / "metrics.jsonl").read_bytes()
    _, errors = finish(start(*command(finished, optimizer__learning_rate=0.1)), 2)
    assert errors.startswith("error: ")
    assert "optimizer.learning_rate: 0.05 -> 0.1" in errors
    assert "Traceback" not in errors
    assert (finished / "metrics.jsonl").read_bytes() == before


def test_evaluation_reproduces_the_scores_of_the_training(command, finished):
    recorded = {line["step"]: line for line in metrics(finished) if "miou" in line}
    best = max(recorded, key=lambda step: (recorded[step]["miou_ema"], step))
    flags = ("--checkpoint=latest", "--checkpoint=best", f"--checkpoint={finished}/checkpoints/9")
    processes = [start(*command(finished, "--mode=eval", flag)) for flag in flags[1:]]
    # Without --config: the folder knows its own.
    processes.insert(0, start("--mode=eval", f"--workdir={finished}", flags[0]))
    latest, at_best, at_path = (finish(process)[0] for process in processes)
    for step, output in ((STEPS, latest), (best, at_best)):
        assert f"ema, step {step}\n" in output
        evaluation = json.loads((finished / f"evaluation_{step}.json").read_text())
        assert evaluation["student"]["miou"] == recorded[step]["miou"]
        assert evaluation["ema"]["miou"] == recorded[step]["miou_ema"]
        assert evaluation["student"]["iou"] == recorded[step]["iou"]
    assert "student, step 9\n" in at_path
    assert not (finished / "evaluation_9.json").exists()


@pytest.mark.parametrize(
    ("signum", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143)],
)
@pytest.mark.slow
def test_an_evaluation_that_is_stopped_says_what_is_kept(finished, tmp_path, signum, code):
    before = set(finished.iterdir())
    output = tmp_path / "output"
    output.touch()
    # Enough images that the signal comes while the EMA teacher is evaluated.
    flags = ("--mode=eval", f"--workdir={finished}", "--list=100000:100600")
    process = start(*flags, output=output)
    wait_until(process, lambda: "student, step" in output.read_text())
    process.send_signal(signum)
    process.wait(timeout=300)
    said = output.read_text()
    assert process.returncode == code, said
    assert "noticed; the evaluation ends after the current images" in said
    assert f"stopped while scoring step {STEPS}: the scores of student are printed above" in said
    assert "the scores of ema are incomplete and were discarded" in said
    assert "was not written or changed. The same command repeats this evaluation." in said
    assert "Traceback" not in said
    assert set(finished.iterdir()) == before
