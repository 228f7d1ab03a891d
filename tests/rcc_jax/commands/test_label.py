"""`--mode=label` on untrained networks: masks, ranking, resumption, refusals."""

import csv
import json
import os
import shutil

import jax
import numpy as np
import PIL.Image
import pytest

import rcc_jax
from configs import demo, recorded
from input_pipeline.errors import DataError
from input_pipeline.sources import scenes
from rcc_jax import build
from rcc_jax.commands import label as label_command
from rcc_jax.commands.label import label
from rcc_jax.commands.prediction_record import fingerprint
from rcc_jax.config import method_group
from rcc_jax.distributed.interruption import Interrupted, Interruption
from rcc_jax.errors import ConfigError
from rcc_jax.evaluation.stability import ranked, stability
from rcc_jax.training.run import Run
from rcc_jax.workdir.checkpoints import Checkpoints
from rcc_jax.workdir.folder import Workdir
from tests.support.untrained import TINY, TINY_RESNET, filled

STEPS, NUMBERS = (2, 4, 6), range(1000, 1008)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A finished run with three checkpoints, each of other weights."""
    folder = tmp_path_factory.mktemp("run")
    config = demo.get_config("method=supervised")
    config.update_from_flattened_dict(
        {**TINY, **TINY_RESNET, "method.ema_decay": 0.0, "checkpoint.milestones": 3}
    )
    state = filled(Run.build(config).abstract_state()).saved()
    with (
        Workdir.open(folder, method_group.resolved(config)) as opened,
        Checkpoints(opened.checkpoints_path, keep=3) as checkpoints,
    ):
        for step in STEPS:

            def change(path, x, step=step):
                # So that the features depend on the image.
                name = jax.tree_util.keystr(path)
                fixed = {"mean": 0.0, "bias": 0.0, "scale": 1.0, "var": 1.0}
                for end, value in fixed.items():
                    if name.endswith(f"['{end}']"):
                        return jax.device_put(np.full(x.shape, value, x.dtype))
                return x * (1 + 0.4 * np.sin(9 * step + 20 * x))

            weights = jax.tree_util.tree_map_with_path(change, state["weights"])
            checkpoints.save(step, {**state, "weights": weights})
    (folder / "result.json").write_text('{"step": 6}')
    return folder


def call(workdir, output, part="reliable", **changed):
    config = recorded.get_config(workdir)
    config.eval.flip = True
    config.update_from_flattened_dict({k.replace("__", "."): x for k, x in changed.items()})
    return label(config, str(workdir), output=str(output), part=part)


def segmenter(workdir, step, **evaluation):
    path = str(workdir / "checkpoints" / str(step))
    return rcc_jax.Segmenter.from_workdir(workdir, checkpoint=path, **evaluation)


@pytest.fixture(scope="module")
def labelled(workdir, tmp_path_factory):
    """The masks of the reliable half, by a call that was stopped while it ranked, and another."""
    output = tmp_path_factory.mktemp("masks")
    asked = iter(range(100))
    with pytest.MonkeyPatch.context() as patched:
        # The signal comes while the second batch is ranked.
        patched.setattr(Interruption, "requested", lambda self: next(asked) >= 1)
        with pytest.raises(Interrupted, match="stopped after 4 of 8 images were ranked"):
            call(workdir, output)
    # A killed process leaves half a line.
    with open(output / "stability.jsonl", "a") as file:
        file.write('{"step": 5, "ima')
    outcome = call(workdir, output)
    assert (outcome.written, outcome.kept) == (4, 0)
    assert not (output / "stability.jsonl").exists()
    return output


def names(output):
    return sorted(path.stem for path in (output / "labels").iterdir())


def test_the_ranking_compares_the_checkpoints(workdir, labelled):
    assert_ranked(workdir, labelled)


BUGS = {
    "the least stable first": ("ranked", lambda scores, images: ranked(scores, images)[::-1]),
    "the last checkpoint is left out": (
        "stability",
        lambda earlier, last, count: stability(earlier[:-1], earlier[-1], count),
    ),
    "agreement of pixels instead of IoU": (
        "stability",
        lambda earlier, last, count: float(np.mean([each == last for each in earlier])),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS)
def test_the_ranking_tells_planted_bugs(workdir, tmp_path, monkeypatch, bug):
    name, wrong = BUGS[bug]
    monkeypatch.setattr(label_command, name, wrong)
    call(workdir, tmp_path / "masks")
    with pytest.raises(AssertionError):
        assert_ranked(workdir, tmp_path / "masks")


def assert_ranked(workdir, labelled):
    """The order is that of the mean IoU between each earlier checkpoint and the last."""
    last = segmenter(workdir, 6)
    weights = [last.read_weights(workdir / "checkpoints" / str(step)) for step in STEPS]
    images = np.stack([scenes.draw_scene(number)[0] for number in NUMBERS])
    maps = [last.evaluator.predictions(each, images) for each in weights]
    expected = {}
    for number, *earlier, final in zip(NUMBERS, *maps, strict=True):
        both = []
        for each in earlier:
            classes = np.union1d(each, final)
            overlap = [((each == c) & (final == c)).sum() for c in classes]
            union = [((each == c) | (final == c)).sum() for c in classes]
            both.append(np.mean(np.array(overlap) / union))
        expected[str(number)] = np.mean(both)
    with open(labelled / "ranking.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(set(expected.values())) == 8
    assert [row["image"] for row in rows] == sorted(expected, key=lambda name: -expected[name])
    for row in rows:
        assert float(row["stability"]) == pytest.approx(expected[row["image"]], rel=1e-12)
    assert names(labelled) == sorted(row["image"] for row in rows[:4])


def test_masks_are_pictures_in_the_colours_of_the_classes(workdir, labelled):
    last = segmenter(workdir, 6, flip=True)
    for name in names(labelled):
        image = scenes.draw_scene(int(name))[0]
        with PIL.Image.open(labelled / "labels" / f"{name}.png") as picture:
            assert picture.mode == "P"
            assert picture.getpalette()[:21] == last.palette[:7].ravel().tolist()
            np.testing.assert_array_equal(picture, last(image))
            # Without a threshold every pixel has a class; with flip the mirror image is mirrored.
            assert np.asarray(picture).max() < 7
            np.testing.assert_array_equal(last(image[:, ::-1])[:, ::-1], picture)
    assert (labelled / "legend.png").exists()


def test_missing_masks_and_the_other_half_are_added(workdir, labelled, tmp_path):
    output = tmp_path / "masks"
    shutil.copytree(labelled, output)
    gone = output / "labels" / f"{names(output)[1]}.png"
    gone.unlink()
    outcome = call(workdir, output)
    assert (outcome.written, outcome.kept) == (1, 3)
    assert gone.read_bytes() == (labelled / "labels" / gone.name).read_bytes()
    outcome = call(workdir, output, "unreliable")
    assert (outcome.written, outcome.kept) == (4, 0)
    assert names(output) == [str(number) for number in NUMBERS]


def test_faults_are_named_and_leave_no_folder(workdir, labelled, tmp_path):
    with pytest.raises(ConfigError, match=r"holds masks of --part=reliable; name another folder"):
        call(workdir, labelled, "all")
    with pytest.raises(ConfigError, match="made with other settings:\n  flip: true -> false"):
        call(workdir, labelled, eval__flip=False)
    (tmp_path / "file.txt").write_text("mine")
    with pytest.raises(ConfigError, match="the folder holds other files"):
        call(workdir, tmp_path)
    with pytest.raises(DataError, match=r"has no ranking\.csv"):
        call(workdir, tmp_path / "new", "unreliable")
    with pytest.raises(ConfigError, match="kept none besides the last; train it with"):
        call(workdir, tmp_path / "new", checkpoint__milestones=0)
    with pytest.raises(DataError, match="no unlabelled image to label"):
        call(workdir, tmp_path / "new", data__unlabeled="")
    other = tmp_path / "unfinished"
    shutil.copytree(workdir, other)
    os.remove(other / "result.json")
    with pytest.raises(ConfigError, match=r"the run has not finished \(no result.json\)"):
        call(other, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def stage(**fields):
    config = demo.get_config("method=stpp,images=reliable")
    config.update_from_flattened_dict({**TINY, **fields})
    return config


def test_a_training_stage_takes_its_half(labelled):
    run = Run.build(stage(**{"data.pseudo": str(labelled), "train.batch_size": 2}))
    assert run.partition.counts()["pseudo"] == 4
    assert run.epoch_steps == (20 + 4) // 4
    ranking = [line.split(",")[0] for line in (labelled / "ranking.csv").read_text().split()]
    assert list(run.partition.pseudo.ids) == ranking[1:5]
    config = stage(**{"data.pseudo": str(labelled), "method.images": "all"})
    with pytest.raises(DataError, match="4 of 8 images have no mask"):
        Run.build(config)


@pytest.mark.parametrize("name", ["st", "stpp"])
def test_without_masks_the_message_is_the_command(name):
    config = demo.get_config(f"method={name}")
    with pytest.raises(ConfigError) as found:
        build.check(config)
    assert str(found.value) == (
        f"config.method.name = '{name}' trains in stages, here without the pseudo masks of the "
        "first ones (data.pseudo); --mode=sweep --config=configs/sweeps/stpp.py:CELL,method="
        f"{name} runs all of them, where CELL is such as demo,steps=240."
    )


def test_masks_without_a_use_are_refused():
    config = demo.get_config("method=unimatch")
    config.data.pseudo = "masks"
    with pytest.raises(ConfigError, match="trains on no pseudo masks; leave it out, or choose st"):
        build.check(config)


def test_the_record_names_what_the_masks_are_made_of(workdir, labelled):
    record = json.loads((labelled / "label.json").read_text())["reliable"]
    assert record["checkpoint"] == str(workdir / "checkpoints" / "6")
    assert record["copies"] == [str(workdir / "checkpoints" / str(step)) for step in STEPS]


def test_masks_of_a_run_that_was_trained_anew_are_not_reused(workdir, labelled, tmp_path):
    output, record = tmp_path / "masks", labelled / "label.json"
    shutil.copytree(labelled, output)
    content = json.loads(record.read_text())
    # Without a checksum, as earlier versions wrote it, the path decides.
    first = content["reliable"].pop("weights")
    (output / "label.json").write_text(json.dumps(content))
    assert call(workdir, output).kept == 4
    (output / "label.json").write_text(record.read_text().replace(first, "0" * 32))
    with pytest.raises(ConfigError) as found:
        call(workdir, output)
    assert str(found.value) == (
        f"--output={output} holds pseudo masks of other weights: {workdir}/checkpoints/6 was "
        "written anew since. Delete the folder to make them anew, or use another --output."
    )


def test_a_checksum_is_that_of_the_values(workdir):
    last, before = (segmenter(workdir, step).weights for step in (6, 4))
    assert fingerprint(last) == fingerprint(jax.device_get(last)) != fingerprint(before)
    assert len(fingerprint(last)) == 32
