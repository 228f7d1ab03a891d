"""Every command of docs/own_data.md, unchanged, on small folders of drawn scenes."""

import json
import re
import shlex
import shutil

import pytest
from PIL import Image

from input_pipeline.sources import scenes
from tests.support.commands import REPOSITORY, finish, start
from tests.support.runs import metrics

# A useless network and training, so that the commands take seconds.
TINY = [
    "--config.model.backbone=resnet10", "--config.model.width=8",
    "--config.model.decoder_channels=16", "--config.train.num_steps=2",
    "--config.train.batch_size=2", "--config.data.crop_size=33",
]  # fmt: skip


def commands():
    """The arguments of main.py in each command of the page, by --workdir."""
    text = (REPOSITORY / "docs/own_data.md").read_text()
    found = {}
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").strip().splitlines():
            python, main, *flags = shlex.split(line)
            assert (python, main) == ("python", "main.py")
            (workdir,) = [x.removeprefix("--workdir=") for x in flags if "--workdir=" in x]
            found.setdefault(workdir, []).append(flags)
    return found


def save(folder, number, pixels, suffix):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / f"{number:03}.{suffix}")


def draw(root, *, images="images", masks="masks"):
    """Ten images, six of which have a mask."""
    for number in range(10):
        image, mask = scenes.draw_scene(number)
        save(root / images, number, image, "jpg")
        if number < 6:
            save(root / masks, number, mask, "png")


@pytest.fixture
def folder(tmp_path):
    """Where the commands are typed: beside configs/ and the data."""
    (tmp_path / "configs").symlink_to(REPOSITORY / "configs")
    return tmp_path


def run(flags, folder):
    output, errors = finish(start(*flags, folder=folder))
    assert errors == ""
    return output


@pytest.mark.slow
def test_from_a_folder_to_predictions(folder):
    draw(folder / "photos")
    checking, training, evaluation, prediction = commands()["runs/photos"]
    output = run(checking, folder)
    assert "A training can work with these data." in output
    guesses = [line for line in output.splitlines() if line.startswith("guessed ")]
    page = (REPOSITORY / "docs/own_data.md").read_text()
    shown = re.sub(r"/home/me", str(folder), page)
    assert all(line in shown for line in guesses), guesses
    workdir = folder / "runs/photos"

    output = run([*training, *TINY], folder)
    assert "5 labelled, 4 unlabelled, 1 validation images; 2 steps" in output
    assert "guessed --config.data.num_classes=7" in output
    assert "data.crop_size" not in output
    assert [line["step"] for line in metrics(workdir)][-1] == 2
    assert len((workdir / "lists/val.txt").read_text().splitlines()) == 1

    # A new image with a mask, of another class, changes nothing in this run.
    image, mask = scenes.draw_scene(99)
    save(folder / "photos/images", 99, image, "jpg")
    save(folder / "photos/masks", 99, mask + 3, "png")
    assert run([*training, *TINY], folder) == "runs/photos: already finished\n"
    (workdir / "result.json").unlink()
    output = run([*training, *TINY], folder)
    assert "guessed" not in output
    assert "5 labelled, 4 unlabelled, 1 validation images" in output
    run(evaluation, folder)
    scores = json.loads((workdir / "evaluation_2.json").read_text())
    (trained,) = (line["miou"] for line in metrics(workdir) if "miou" in line)
    assert scores["student"]["miou"] == trained

    shutil.rmtree(folder / "photos/masks")
    output = run(prediction, folder)
    assert "11 images predicted" in output
    predicted = [path.stem for path in folder.glob("predictions/labels/**/*.png")]
    assert len(predicted) == 11


def test_other_layouts(folder):
    draw(folder / "reef")
    draw(folder / "cells", images="scans", masks="drawn")
    for place, numbers in (("reef/unlabeled", range(10, 13)), ("cells/more", range(10, 12))):
        for number in numbers:
            save(folder / place, number, scenes.draw_scene(number)[0], "png")
    draw(folder / "survey", images="a", masks="b")
    pairs = [f"a/{number:03}.jpg b/{number:03}.png\n" for number in range(6)]
    (folder / "survey/labeled.txt").write_text("".join(pairs[:4]))
    (folder / "survey/val.txt").write_text("".join(pairs[4:]))
    (folder / "survey/unlabeled.txt").write_text("a/006.jpg\na/007.jpg\n")
    expected = {"reef": (5, 1, 7), "survey": (4, 2, 2), "cells": (4, 2, 6)}
    assert set(commands()) == {"runs/photos", *(f"runs/{name}" for name in expected)}
    for name, counts in expected.items():
        (flags,) = commands()[f"runs/{name}"]
        run(flags, folder)
        report = json.loads((folder / f"runs/{name}/check.json").read_text())
        assert report["ok"]
        parts = [report["parts"][part]["images"] for part in ("labeled", "val", "unlabeled")]
        assert tuple(parts) == counts
