"""The modes of the program with a vision transformer: check, predict, consensus, export."""

import json

import jax
import jax.export
import numpy as np
import pytest
from PIL import Image

from configs import recorded
from input_pipeline.batches.photos import Photo
from input_pipeline.sources import scenes
from rcc_jax import build
from rcc_jax.commands import export
from rcc_jax.commands.explain import explain
from rcc_jax.commands.predict import predict
from rcc_jax.commands.prediction_record import BatchPlan
from rcc_jax.models import dinov2, pretrained
from rcc_jax.models.network import Network, normalize
from rcc_jax.models.resize import resize_bilinear
from rcc_jax.segmenter import Segmenter
from tests.support.commands import finish, start
from tests.support.tiny_vit import SIZE
from tests.support.untrained import write_run

SIDES = {"a": (50, 75), "b": (62, 63), "c": (49, 70)}  # All are seen at 56x70.
LATER = {"later": (52, 64)}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setitem(dinov2.SIZES, "dinov2_small", SIZE)
    folder = tmp_path_factory.mktemp("run")
    tiny = {"data.crop_size": 28, "model.pretrained": "", "method.ema_decay": 0.9}
    write_run(folder, "method=unimatch_v2,backbone=dinov2_small", tiny)
    yield folder
    patch.undo()


@pytest.fixture(scope="module")
def segmenter(workdir):
    return Segmenter(recorded.get_config(workdir), workdir)


@pytest.fixture(scope="module")
def alone(segmenter):
    """From an image that is seen at 56x70 to its probabilities; compiles the network once."""
    module = build.build_network(segmenter.config).module(segmenter.weights)
    run = jax.jit(lambda images: module(images, train=False))

    def probabilities(image):
        logits = run(resize_bilinear(normalize(image[None]), (56, 70)))
        return np.asarray(jax.nn.softmax(resize_bilinear(logits, image.shape[:2])[0]))

    return probabilities


def save(folder, sizes):
    """Saves cut scenes of these sizes; returns their pixels by name."""
    drawn = {}
    for number, (name, (height, width)) in enumerate(sizes.items()):
        drawn[name] = scenes.draw_scene(100000 + number)[0][:height, :width]
        Image.fromarray(drawn[name]).save(folder / f"{name}.png")
    return drawn


@pytest.mark.slow
def test_predictions_are_those_of_each_image_with_one_program_a_size_seen(
    workdir, segmenter, alone, tmp_path, monkeypatch, capsys
):
    images, output, compiled = tmp_path / "images", tmp_path / "out", []
    images.mkdir()
    predicting = Network.predict

    def counted(self, weights, images, *sizes):
        compiled.append(images.shape[1:3])
        return predicting(self, weights, images, *sizes)

    monkeypatch.setattr(Network, "predict", counted)
    drawn = save(images, SIDES)

    def call():
        config = recorded.get_config(workdir)
        return predict(
            config, str(workdir), images=str(images), output=str(output), save="probabilities"
        )

    def check(name):
        found = np.load(output / "probabilities" / f"{name}.npz")["probabilities"]
        np.testing.assert_allclose(found, alone(drawn[name]), atol=1e-3)  # float16

    assert call().written == 3
    assert compiled == [(62, 75)]
    assert (
        "3 image sizes are padded to 1; the network is compiled for these"
        in capsys.readouterr().out
    )
    for name in SIDES:
        check(name)
    # An image that is added takes the same shape, because it is seen at the same size.
    drawn |= save(images, LATER)
    before = {path: path.read_bytes() for path in (output / "probabilities").iterdir()}
    again = call()
    assert (again.written, again.kept) == (1, 3)
    assert all(path.read_bytes() == content for path, content in before.items())
    check("later")
    (entry,) = json.loads((output / "predict.json").read_text())["batches"]
    assert entry == {"padded": True, "height_width_rows": [[62, 75, 2]]}
    # Another one is smaller than the shape, but seen at 28x70.
    save(images, {"low": (34, 70)})
    photos = [Photo.open(str(images / f"{name}.png")) for name in ("later", "low")]
    plan = BatchPlan.from_json(entry, segmenter.evaluator.kind)
    assert [plan.fits(photo) for photo in photos] == [True, False]


@pytest.mark.slow
def test_consensus_of_teacher_and_student(workdir, alone, tmp_path):
    images, output = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    (image,) = save(images, {"a": SIDES["a"]}).values()
    config = recorded.get_config(workdir)
    found, failed = explain(config, str(workdir), images=str(images), output=str(output))
    assert (failed, found.num_images, found.num_pixels) == (0, 1, 50 * 75)
    players = np.argsort(alone(image), axis=-1)[..., -4:]
    expected = np.array([
        [(players == u).any(-1) & (players == v).any(-1) & (u != v) for v in range(7)]
        for u in range(7)
    ]).sum(axis=(2, 3))  # fmt: skip
    # A pixel whose fourth and fifth class are nearly equal may round the other way.
    assert np.abs(found.counts() - expected).sum() <= 24
    assert np.nanmax(np.abs(found.mean("teacher") - found.mean("student"))) > 0.001
    assert (output / "pairs.csv").exists()


@pytest.mark.slow
def test_export_labels_images_of_any_size(workdir, segmenter, alone, tmp_path):
    config = recorded.get_config(workdir)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / export.TORCH_SCRIPT).write_text("of an earlier export of a ResNet")
    output = export.export(config, str(workdir), output=str(tmp_path / "out"), log=lambda _: None)
    assert {path.name for path in output.iterdir()} == {
        "load.py", "model.json", export.PROGRAM, export.WEIGHTS,
    }  # fmt: skip
    program = jax.export.deserialize((output / export.PROGRAM).read_bytes())
    image = scenes.draw_scene(3)[0][:50, :75]
    found = jax.nn.softmax(program.call(image[None])[0])
    np.testing.assert_allclose(found, alone(image), atol=2e-4)
    # The weights can be loaded again, every tensor of them.
    network = build.build_network(config).module(segmenter.weights)
    assert pretrained.load_torch(network, output / export.WEIGHTS).missing == ()


def test_check_names_and_guesses_crops_of_whole_patches(tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for number in range(8):
        pixels = rng.integers(0, 256, (50, 60, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
        if number < 6:
            mask = np.repeat(np.arange(50, dtype=np.uint8)[:, None] % 4, 60, axis=1)
            Image.fromarray(mask).save(tmp_path / "masks" / f"{number}.png")
    command = [
        "--mode=check", "--config=configs/folder.py:backbone=dinov2_small",
        f"--config.data.root={tmp_path}", f"--workdir={tmp_path / 'check'}",
    ]  # fmt: skip
    output, _ = finish(start(*command))
    assert "guessed --config.data.crop_size=42" in output
    assert "A training can work with these data." in output
    output, errors = finish(start(*command, "--config.data.crop_size=50"), 2)
    assert "data.crop_size = 50: this network takes multiples of 14 pixels; use 42 or 56." in output
    assert "cannot be used for training" in errors
