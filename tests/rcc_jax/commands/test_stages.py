"""The stages of ST++ and ST as a user starts them: undisturbed, stopped, killed and resumed."""

import json
import os
import signal
import time

import numpy as np
import PIL.Image
import pytest

from tests.support.commands import finish, start
from tests.support.runs import leaves, reached, saved_state

TINY = (
    "model.backbone=resnet10", "model.width=8", "model.decoder_channels=16", "data.crop_size=33",
    "data.unlabeled=1000:1021", "data.val=100000:100002",
    "train.batch_size=2", "train.num_steps=12", "train.log_every=1",
    "eval.every_steps=6", "eval.batch_size=2", "eval.pictures=0", "checkpoint.every_steps=2",
)  # fmt: skip


def command(folder, method="stpp"):
    return (
        f"--workdir={folder}",
        "--mode=sweep",
        f"--config=configs/sweeps/stpp.py:demo,method={method}",
        *(f"--set={field}" for field in TINY),
    )


def place(folder, stage):
    return folder / f"{stage},seed=0"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    finish(start(*command(folder)), timeout=900)
    return folder


def wait_for(process, condition):
    limit = time.monotonic() + 600
    while process.poll() is None and not condition():
        assert time.monotonic() < limit
        time.sleep(0.002)
    assert process.poll() is None, process.communicate()


def children(parent):
    """The processes that a process has started."""
    with open(f"/proc/{parent}/task/{parent}/children") as file:
        return [int(child) for child in file.read().split()]


def kill(process):
    """SIGKILL to the sweep and to the stage, which has a session of its own."""
    started = children(process.pid)
    process.kill()
    for child in started:
        os.kill(child, signal.SIGKILL)
    process.communicate()


def different(folder, other):
    """Files of the masks and numbers of the runs that are not the same in both."""
    found = []
    for path in sorted(place(other, "2-masks").rglob("*")):
        if path.is_file() and path.name != "label.json":  # It holds absolute paths.
            same = folder / path.relative_to(other)
            if not same.exists() or same.read_bytes() != path.read_bytes():
                found.append(str(path))
    for stage in ("1-labels", "3-reliable", "5-all"):
        one, two = (place(each, stage) for each in (folder, other))
        for name in ("metrics.jsonl", "result.json"):
            if (one / name).read_bytes() != (two / name).read_bytes():
                found.append(f"{stage}/{name}")
        if leaves(saved_state(one, 12)) != leaves(saved_state(two, 12)):
            found.append(f"{stage}/state")
    return found


@pytest.mark.slow
def test_every_stage_does_its_part(undisturbed):
    masks = place(undisturbed, "2-masks")
    ranking = (masks / "ranking.csv").read_text().split()[1:]
    assert len(ranking) == 21
    assert len(list((masks / "labels").iterdir())) == 21
    counts = {
        stage: json.loads((place(undisturbed, stage) / "data.json").read_text()).get("pseudo")
        for stage in ("1-labels", "3-reliable", "5-all")
    }
    assert counts == {"1-labels": None, "3-reliable": 10, "5-all": 21}
    for path in (masks / "labels").iterdir():
        with PIL.Image.open(path) as mask:
            assert (mask.mode, mask.size) == ("P", (96, 96))
            assert np.asarray(mask).max() < 7
    output, _ = finish(start(f"--workdir={undisturbed}", "--mode=table"))
    for method in ("supervised, same steps", "stpp, reliable", "stpp"):
        assert f"| {method} | " in output
    # Once more: everything is there already.
    output, _ = finish(start(*command(undisturbed)))
    assert output.count("already finished") == 3
    assert "0 images labelled, 10 kept" in output
    assert "0 images labelled, 11 kept" in output


@pytest.mark.slow
def test_stopped_and_killed_stages_end_with_the_same_bytes(undisturbed, tmp_path):
    masks = place(tmp_path, "2-masks")
    moments = (
        lambda: reached(place(tmp_path, "1-labels"), 5),
        lambda: (masks / "stability.jsonl").exists() and (masks / "stability.jsonl").stat().st_size,
        lambda: (masks / "labels").exists() and any((masks / "labels").glob("*.png")),
        lambda: reached(place(tmp_path, "3-reliable"), 3),
        lambda: (masks / "labels").exists() and len(list((masks / "labels").glob("*.png"))) > 11,
        lambda: reached(place(tmp_path, "5-all"), 7),
    )
    for number, condition in enumerate(moments):
        process = start(*command(tmp_path))
        wait_for(process, condition)
        if number % 2:
            kill(process)
        else:
            process.send_signal(signal.SIGTERM)
            _, errors = finish(process, 143)
            assert "the same command resumes from there" in errors
    finish(start(*command(tmp_path)), timeout=900)
    assert different(tmp_path, undisturbed) == []


@pytest.mark.slow
def test_st_labels_all_images_at_once_and_a_damaged_mask_stops_it(tmp_path):
    process = start(*command(tmp_path, "st"))
    masks = place(tmp_path, "2-masks") / "labels"
    wait_for(process, lambda: reached(place(tmp_path, "3-all"), 2))
    kill(process)
    assert len(list(masks.iterdir())) == 21
    assert not (masks.parent / "ranking.csv").exists()
    spoilt = masks / "1007.png"
    whole = spoilt.read_bytes()
    spoilt.write_bytes(whole[: len(whole) // 2])
    _, errors = finish(start(*command(tmp_path, "st")), 1)
    assert f"{spoilt}: not a readable mask" in errors
    assert "delete the file, and the command that made it" in errors
    spoilt.unlink()
    finish(start(*command(tmp_path, "st")))
    assert spoilt.read_bytes() == whole
    output, _ = finish(start(f"--workdir={tmp_path}", "--mode=table"))
    assert "| st | " in output


@pytest.mark.slow
def test_without_the_sweep_the_first_line_names_it(tmp_path):
    _, errors = finish(
        start(f"--workdir={tmp_path}", "--config=configs/demo.py:method=stpp"), exit_code=2
    )
    assert errors.startswith("error: config.method.name = 'stpp' trains in stages")
    assert errors.count("\n") == 1
