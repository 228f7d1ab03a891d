"""Folders of runs from before a change: resumed with one warning, evaluated, predicted with."""

import json
import re
import tarfile

import numpy as np
import pytest
from PIL import Image

from rcc_jax.config import checks, method_group, recorded
from rcc_jax.config.recorded import flatten, recorded_fields, values_before
from rcc_jax.workdir import revisions
from tests.support.commands import REPOSITORY, finish, start
from tests.support.runs import STEPS, metrics, saved_steps

GOLDEN = REPOSITORY / "tests" / "golden"
NAMES = sorted(path.name.removesuffix(".tar.xz") for path in GOLDEN.glob("*.tar.xz"))


def unpack(name, folder):
    with tarfile.open(GOLDEN / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / name


def resume(workdir, exit_code=0):
    """The command that the run was started with, as this version writes it."""
    old = recorded_fields(workdir)
    fields = [
        f"--config.{name}={','.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in old.items()
    ]
    process = start("--config=configs/demo.py", f"--workdir={workdir}", *fields)
    return finish(process, exit_code, timeout=900)


def warnings(output, errors):
    return [line for line in f"{output}\n{errors}".splitlines() if re.search("(?i)warning", line)]


def test_old_run_is_resumed_with_one_warning(tmp_path):
    resume_with_one_warning(unpack("supervised", tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_old_run_is_resumed_evaluated_and_predicted_with(name, tmp_path):
    workdir = unpack(name, tmp_path)
    resume_with_one_warning(workdir)
    evaluate_and_predict(workdir, tmp_path)


def resume_with_one_warning(workdir):
    before, revision = metrics(workdir), revisions.recorded(workdir)
    has_all_fields = not values_before(recorded_fields(workdir))
    output, errors = resume(workdir)
    assert "after step 6 of" in output
    lines = warnings(output, errors)
    method = json.loads((workdir / "config.json").read_text())["method"]["name"]
    changes = revisions.since(revision, method)
    assert len(lines) == (bool(changes) or not has_all_fields)
    for change in revisions.CHANGES.values():
        assert (change in changes) == any(change in line for line in lines)
    if revision == 0:
        assert "data.cutmix_partner = 'other'" in lines[0]
    assert metrics(workdir)[: len(before)] == before
    # The evaluation after step 6 was interrupted.
    assert [line["step"] for line in metrics(workdir) if "miou" in line] == [6, STEPS]
    assert saved_steps(workdir)[-1] == STEPS
    assert json.loads((workdir / "result.json").read_text())["step"] == STEPS
    entries = json.loads((workdir / "environment.json").read_text())
    assert [(x["after_step"], x.get("numerics", 0)) for x in entries] == [
        (0, revision),
        (6, revisions.CURRENT),
    ]


def evaluate_and_predict(workdir, tmp_path):
    """The scores are those that the resumed training has recorded."""
    finished = [start("--mode=eval", f"--workdir={workdir}")]
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "image.png")
    files = f"--input={tmp_path}/image.png", f"--output={tmp_path}/out"
    finished.append(start("--mode=predict", f"--workdir={workdir}", *files))
    for process in finished:
        assert not warnings(*finish(process))
    scores = json.loads((workdir / f"evaluation_{STEPS}.json").read_text())
    last = metrics(workdir)[-1]
    assert scores["student"]["miou"] == last["miou"]
    config = json.loads((workdir / "config.json").read_text())
    assert ("ema" in scores) == (config["method"].get("ema_decay", 0) > 0)
    assert len(list((tmp_path / "out").glob("**/image*.png"))) > 0


def test_old_run_is_evaluated_as_it_is(tmp_path):
    """Before it is resumed: a record without some fields is read, and nothing is rewritten."""
    workdir = unpack("unimatch", tmp_path)
    before = (workdir / "config.json").read_bytes()
    output, errors = finish(start("--mode=eval", f"--workdir={workdir}"))
    assert "student, step 6\n" in output
    assert not warnings(output, errors)
    assert (workdir / "config.json").read_bytes() == before


def test_run_of_a_newer_revision_is_refused(tmp_path):
    workdir = unpack("supervised", tmp_path)
    path = workdir / "environment.json"
    entries = json.loads(path.read_text())
    entries.append({**entries[0], "after_step": 6, "numerics": revisions.CURRENT + 1})
    path.write_text(json.dumps(entries))
    _, errors = resume(workdir, exit_code=2)
    assert errors.startswith(f"error: --workdir={workdir}: this run was last trained by a newer")


@pytest.mark.parametrize("name", NAMES)
def test_every_field_that_an_old_run_lacks_says_what_it_did(name, tmp_path):
    workdir = unpack(name, tmp_path)
    config = recorded.read(workdir)
    checks.check(config)
    old, now = recorded_fields(workdir), flatten(method_group.resolved(config))
    assert now.keys() - old.keys() == values_before(old).keys()


def test_fields_that_had_no_effect_are_left_out(tmp_path):
    old = json.loads((unpack("supervised", tmp_path) / "config.json").read_text())["method"]
    found = recorded.read(tmp_path / "supervised").method
    assert old["confidence_threshold"] == 0.16
    assert found.confidence_threshold is None
