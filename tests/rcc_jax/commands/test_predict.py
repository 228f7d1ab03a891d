"""Prediction with a run's folder alone: files, orientation, resumption, refusals."""

import json
import shutil

import numpy as np
import PIL.Image
import pytest

import rcc_jax
from configs import recorded
from input_pipeline.errors import DataError
from input_pipeline.sources import scenes
from input_pipeline.sources.images import read_image
from input_pipeline.sources.orientation import EXIF_ORIENTATION
from rcc_jax.commands import prediction_files
from rcc_jax.commands.predict import predict
from rcc_jax.config import method_group
from rcc_jax.distributed.interruption import Interrupted, Interruption
from rcc_jax.errors import ConfigError
from rcc_jax.workdir.folder import Workdir
from tests.support.commands import finish, start

KINDS = "labels,overlays,confidence,probabilities"


def call(workdir, pictures, output, **options):
    config = recorded.get_config(workdir)
    config.eval.update(options.pop("evaluation", {}))
    return predict(config, str(workdir), images=str(pictures[0]), output=str(output), **options)


@pytest.fixture(scope="module")
def segmenter(workdir):
    return rcc_jax.Segmenter.from_workdir(workdir)


@pytest.fixture(scope="module")
def predicted(workdir, pictures, tmp_path_factory):
    """All kinds of files, and what became of the images."""
    output = tmp_path_factory.mktemp("predicted")
    return output, call(workdir, pictures, output, save=KINDS)


def test_every_kind_of_file_holds_what_the_network_says(workdir, pictures, segmenter, predicted):
    folder, drawn = pictures
    output, outcome = predicted
    assert (outcome.written, outcome.kept) == (2, 0)
    assert list(outcome.failed) == [str(folder / "broken.jpg")]
    assert segmenter.network == "EMA teacher"
    assert segmenter.checkpoint == workdir / "checkpoints" / "7"
    for name, image, turns in (("plain", drawn[0], 0), ("more/lying", drawn[1], 1)):
        labels = np.rot90(segmenter(image), turns)
        probabilities = np.rot90(segmenter.probabilities(image), turns)
        assert len(np.unique(labels)) > 1
        with PIL.Image.open(output / "labels" / f"{name}.png") as picture:
            assert picture.mode == "P"
            assert picture.getexif().get(EXIF_ORIENTATION, 1) == (6 if turns else 1)
            np.testing.assert_array_equal(np.asarray(picture), labels)
            shown = np.asarray(picture.convert("RGB"))
        np.testing.assert_array_equal(shown, segmenter.palette[labels])
        np.testing.assert_array_equal(segmenter(folder / f"{name}.png"), labels)
        with PIL.Image.open(output / "confidence" / f"{name}.png") as picture:
            level = np.asarray(picture) / 255
        np.testing.assert_allclose(level, probabilities.max(axis=-1), atol=0.003)
        with np.load(output / "probabilities" / f"{name}.npz", allow_pickle=False) as file:
            np.testing.assert_allclose(file["probabilities"], probabilities, atol=0.001)
            assert tuple(file["class_names"]) == scenes.CLASS_NAMES
        overlay = read_image(str(output / "overlays" / f"{name}.jpg")).astype(int)
        mixed = (np.rot90(image, turns).astype(int) + segmenter.palette[labels]) / 2
        assert overlay.shape == mixed.shape
        inside = np.ones(labels.shape, bool)  # Away from edges, which have the full colour.
        for axis in (0, 1):
            for shift in (1, -1):
                inside &= labels == np.roll(labels, shift, axis)
        assert np.abs(overlay - mixed)[inside].mean() < 12


def times(folder):
    files = [path for path in folder.glob("*/**/*") if path.is_file()]
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in files}


@pytest.mark.slow
def test_goes_on_where_it_stopped(workdir, pictures, predicted, tmp_path, monkeypatch):
    output = tmp_path / "out"
    shutil.copytree(predicted[0], output)
    before = times(output)
    assert len(before) == 8
    outcome = call(workdir, pictures, output, save=KINDS)
    assert (outcome.written, outcome.kept) == (0, 2)
    lost = output / "labels" / "plain.png"
    content = lost.read_bytes()
    lost.unlink()
    with monkeypatch.context() as patch:
        # As if a signal had come during the first batch, which is finished all the same.
        patch.setattr(Interruption, "requested", lambda self: setattr(self, "signum", 15) or True)
        with pytest.raises(Interrupted, match="stopped after 2 of 3 images; the same command"):
            call(workdir, pictures, output)
    assert lost.read_bytes() == content
    after = times(output)
    changed = {path for path in before if after[path] != before[path]}
    assert changed == {"labels/plain.png", "overlays/plain.jpg"}
    assert call(workdir, pictures, output, save=KINDS, overwrite=True).written == 2
    assert all(time > after[path] for path, time in times(output).items())


@pytest.mark.slow
def test_images_padded_to_one_shape_are_labelled_as_alone(workdir, segmenter, tmp_path, capsys):
    drawn = scenes.draw_scene(3)[0][:64]
    (tmp_path / "in").mkdir()
    for name, image in {"large": drawn, "small": drawn[:51, :90]}.items():
        PIL.Image.fromarray(image).save(tmp_path / "in" / f"{name}.png")
    call(workdir, (tmp_path / "in",), tmp_path / "out", evaluation={"max_shapes": 1}, save=KINDS)
    assert "2 image sizes are padded to 1; the network is compiled" in capsys.readouterr().out
    for name, image in {"large": drawn, "small": drawn[:51, :90]}.items():
        with np.load(tmp_path / "out/probabilities" / f"{name}.npz", allow_pickle=False) as file:
            expected = segmenter.probabilities(image)
            np.testing.assert_allclose(file["probabilities"], expected, atol=0.001)
        labels = read_image(str(tmp_path / "out/labels" / f"{name}.png"))
        assert (
            labels.shape
            == image.shape
            == read_image(str(tmp_path / f"out/overlays/{name}.jpg")).shape
        )


@pytest.mark.slow
def test_a_resumed_prediction_makes_the_batches_of_its_first_start(workdir, tmp_path, monkeypatch):
    """Five sizes in two shapes; the remaining images alone would be padded differently."""
    drawn = scenes.draw_scene(3)[0]
    (tmp_path / "in").mkdir()
    sizes = [(30, 40), (32, 40), (31, 38), (60, 90), (64, 90)]
    for number, (height, width) in enumerate(sizes):
        image = PIL.Image.fromarray(drawn[:height, :width])
        image.save(tmp_path / "in" / f"{number}.png")
    seen = []
    describe = rcc_jax.Segmenter.describe

    def note(self, images, *arguments, **options):
        seen.append(images.shape[:3])
        return describe(self, images, *arguments, **options)

    monkeypatch.setattr(rcc_jax.Segmenter, "describe", note)

    def run(output, *, stopped=False, batch_size=2):
        seen.clear()
        with monkeypatch.context() as patch:
            if stopped:  # After the first batch.
                signal = lambda self: setattr(self, "signum", 15) or True  # noqa: E731
                patch.setattr(Interruption, "requested", signal)
            evaluation = {"max_shapes": 2, "batch_size": batch_size}
            call(workdir, (tmp_path / "in",), tmp_path / output, evaluation=evaluation, save=KINDS)
        return set(seen)

    shapes = run("whole")
    assert shapes == {(2, 32, 40), (2, 64, 90)}
    with pytest.raises(Interrupted):
        run("resumed", stopped=True)
    record = json.loads((tmp_path / "resumed" / "predict.json").read_text())
    assert record["batches"] == [{"padded": True, "height_width_rows": [[32, 40, 2], [64, 90, 2]]}]
    assert run("resumed") == shapes
    files = times(tmp_path / "whole")
    assert files.keys() == times(tmp_path / "resumed").keys()
    for name in files:
        assert (tmp_path / "whole" / name).read_bytes() == (
            tmp_path / "resumed" / name
        ).read_bytes(), name

    # Stopped by a version that recorded no batches: all images choose them, as they did then.
    record.pop("batches")
    (tmp_path / "resumed" / "predict.json").write_text(json.dumps(record))
    (tmp_path / "resumed" / "labels" / "0.png").unlink()
    assert run("resumed") == {(2, 32, 40)}
    # An image that was added and fits nowhere has a batch of its own, and moves no other.
    PIL.Image.fromarray(drawn[:96, :20]).save(tmp_path / "in" / "5.png")
    (tmp_path / "resumed" / "labels" / "0.png").unlink()
    assert run("resumed") == {(2, 32, 40), (1, 96, 20)}
    # If memory is short, batches may be made smaller.
    (tmp_path / "resumed" / "labels" / "0.png").unlink()
    assert run("resumed", batch_size=1) == {(1, 32, 40)}


@pytest.mark.slow
def test_predictions_in_windows_of_before_there_was_a_choice_are_resumed(
    workdir, pictures, tmp_path
):
    windows = {"mode": "sliding", "window": 48, "stride": 32}
    call(workdir, pictures, tmp_path, evaluation=windows)
    file = tmp_path / "predict.json"
    record = json.loads(file.read_text())
    assert record.pop("windows") == "shifted"
    file.write_text(json.dumps(record))
    assert call(workdir, pictures, tmp_path, evaluation=windows).kept == 2
    with pytest.raises(ConfigError, match='windows: "shifted" -> "cut"'):
        call(workdir, pictures, tmp_path, evaluation={**windows, "windows": "cut"})


def test_refuses_a_folder_of_other_things(workdir, pictures, predicted, tmp_path):
    output, _ = predicted
    with pytest.raises(ConfigError, match=r"made with other settings:\n  flip: false -> true\n"):
        call(workdir, pictures, output, evaluation={"flip": True}, overwrite=True)
    (tmp_path / "mask.png").write_text("precious")
    with pytest.raises(ConfigError, match="the folder holds other files"):
        call(workdir, pictures, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mask.png"]
    with pytest.raises(ConfigError, match="--save=lables: name one or more of labels"):
        call(workdir, pictures, output, save="lables")
    named = "--checkpoint=bast: .*'best', 'best:PROTOCOL', or the path .* Did you mean 'best'"
    with pytest.raises(ConfigError, match=named):
        call(workdir, pictures, tmp_path / "new", checkpoint="bast")
    with pytest.raises(DataError, match="--input=.*nowhere: no such file or folder"):
        call(workdir, (tmp_path / "nowhere",), output)


def test_segmenter_names_what_is_wrong(workdir, segmenter, tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere/config.json: no such file"):
        rcc_jax.Segmenter.from_workdir(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="has no best checkpoint; train first"):
        rcc_jax.Segmenter.from_workdir(workdir, checkpoint="best")
    with pytest.raises(ConfigError, match="flop=True: config.eval has no such field"):
        rcc_jax.Segmenter.from_workdir(workdir, flop=True)
    with pytest.raises(ConfigError, match=r"scales=1.25: .*type"):
        rcc_jax.Segmenter.from_workdir(workdir, scales=1.25)
    with pytest.raises(ValueError, match=r"image is float64\[4, 4, 3\]"):
        segmenter(np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match=r"image is uint8\[0, 4, 3\]"):
        segmenter(np.zeros((0, 4, 3), np.uint8))
    with pytest.raises(TypeError, match="image is of type int; give an RGB array"):
        segmenter(3)
    with pytest.raises(DataError, match="nope.png: there is no such file"):
        segmenter(tmp_path / "nope.png")
    with pytest.raises(DataError, match="is a folder; give one image"):
        segmenter(tmp_path)


@pytest.mark.slow
def test_names_may_be_given_after_the_training(workdir, pictures, tmp_path):
    """They hold for that command alone, and need one name per class."""
    names = [f"kind_{number}" for number in range(len(scenes.CLASS_NAMES))]
    before = (workdir / "config.json").read_bytes()
    config = recorded.get_config(workdir)
    config.data.class_names = tuple(names)
    predict(config, str(workdir), images=f"{pictures[0]}/plain.png", output=str(tmp_path))
    assert list(json.loads((tmp_path / "predict.json").read_text())["classes"]) == names
    assert (workdir / "config.json").read_bytes() == before
    with pytest.raises(ConfigError, match=r"data\.class_names: .* -> \[\"kind_0\""):
        Workdir.open(workdir, method_group.resolved(config))  # As a training does.

    common = ["--mode=export", f"--workdir={workdir}", f"--output={tmp_path / 'exported'}"]
    finish(start(*common, f"--config.data.class_names={','.join(names)}"))
    record = json.loads((tmp_path / "exported" / "model.json").read_text())
    assert list(record["classes"]) == names
    _, errors = finish(start(*common, "--config.data.class_names=a,b"), 2)
    assert "config.data.class_names has 2 names, config.data.num_classes = 7" in errors


def test_the_overlay_of_an_image_too_wide_for_a_jpeg_is_shrunk(tmp_path):
    shape = (2, prediction_files.JPEG_SIDE + 1)
    prediction_files.write(
        tmp_path / "x.jpg",
        "overlays",
        image=np.zeros((*shape, 3), np.uint8),
        prediction={"labels": np.zeros(shape, np.uint8)},
        palette=np.zeros((256, 3), np.uint8),
        class_names=("a",),
        orientation=1,
    )
    with PIL.Image.open(tmp_path / "x.jpg") as picture:
        assert picture.width == prediction_files.JPEG_SIDE
