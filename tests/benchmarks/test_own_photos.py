"""The script that goes a user's way, for three steps."""

import json
import subprocess
import sys

import numpy as np
import pytest
from flax import nnx
from PIL import Image

from benchmarks import own_photos
from input_pipeline.sources import scenes
from rcc_jax.models.dinov2_dpt import DinoV2DPT
from tests.support.commands import ENVIRONMENT, REPOSITORY
from tests.support.weight_files import official


def draw(root, count):
    lines = []
    for name in ("images", "labels", "splits"):
        (root / name).mkdir()
    for number in range(count):
        image, label = scenes.draw_scene(number)
        Image.fromarray(image).save(root / "images" / f"{number}.jpg")
        Image.fromarray(label).save(root / "labels" / f"{number}.png")
        lines.append(f"images/{number}.jpg labels/{number}.png\n")
    (root / "splits" / "train.txt").write_text("".join(lines))


def test_photographs_with_and_without_masks_are_spread_over_the_list(tmp_path):
    draw(tmp_path, 10)
    with_mask, others = own_photos.choose(tmp_path, 7, 3)
    assert (len(with_mask), len(others)) == (3, 4)
    assert [image for image, _ in with_mask] == ["images/0.jpg", "images/4.jpg", "images/9.jpg"]
    own_photos.lay_out(tmp_path, tmp_path / "photos", with_mask, others)
    assert len(list((tmp_path / "photos" / "images").iterdir())) == 7
    masks = sorted(path.name for path in (tmp_path / "photos" / "masks").iterdir())
    assert masks == ["0.png", "4.png", "9.png"]


@pytest.mark.parametrize(
    "backbone", ["resnet10", pytest.param("dinov2_small", marks=pytest.mark.slow)]
)
def test_three_steps_from_photographs_to_a_picture(tmp_path, backbone):
    (tmp_path / "data").mkdir()
    draw(tmp_path / "data", 20)
    command = [sys.executable, REPOSITORY / "benchmarks" / "own_photos.py"]
    command += [f"--data={tmp_path / 'data'}", f"--folder={tmp_path / 'own'}", "--images=20"]
    command += [f"--backbone={backbone}", "--masks=10", "--steps=3", "--set=eval.pictures=0"]
    if backbone == "resnet10":
        command += ["--weights=", "--crop=33", "--set=model.width=8"]
        command += ["--set=model.decoder_channels=16"]
    else:  # As a user has it: the encoder frozen.
        encoder = official(DinoV2DPT(1, backbone, rngs=nnx.Rngs(0)), tmp_path)
        np.savez(tmp_path / "weights.npz", **encoder)
        command += [f"--weights={tmp_path / 'weights.npz'}", "--crop=28"]
    command.append(f"--results={tmp_path / 'record.json'}")
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["config"]["model"]["freeze_encoder"] == (backbone == "dinov2_small")
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["steps"] == 3
    assert found["seconds"].keys() == {"check", "train", "predict"}
    with Image.open(tmp_path / "own" / "looked.png") as picture:
        assert picture.width > 3 * scenes.SIZE
