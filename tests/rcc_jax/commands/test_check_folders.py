"""`--mode=check` of folders whose classes nothing tells: every fault comes up in one run."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from configs import folder
from input_pipeline import DataError
from rcc_jax import build
from rcc_jax.commands import check as command
from rcc_jax.config import guess
from rcc_jax.errors import ConfigError
from tests.support.checking import masks, proposed, save
from tests.support.commands import ENVIRONMENT, REPOSITORY


def as_folders(root):
    """Moves the files of `data` to images/ and masks/, where nothing names them."""
    for place in ("images", "masks"):
        (root / place).mkdir()
    for number in range(8):
        (root / f"m{number}.png").rename(root / f"masks/{number}.png")
    for number in range(12):
        (root / f"{number}.png").rename(root / f"images/{number}.png")
    for path in root.glob("*.txt"):
        path.unlink()


def check_guessed(root, **fields):
    """The report, where all is left to the data as in the first command of docs/own_data.md."""
    faults = []
    config = guessed(root, fields, note=faults.append)
    assert command.check(config, root / "out", faults) is False
    report = json.loads((root / "out/check.json").read_text())
    counts = {kind: sum(group["counts"].values()) for kind, group in report["errors"].items()}
    # A training stops at the start with one of these.
    with pytest.raises((ConfigError, DataError)):
        build.open_partition(guessed(root, fields, note=None))
    return report, counts


def guessed(root, fields, note):
    config = folder.get_config("method=auto")
    config.update_from_flattened_dict({"data.root": str(root), **fields})
    guess.resolve_auto(config, root / "out", log=lambda _: None, note=note)
    return config


def test_all_faults_of_folders_come_up_in_one_run(data, capsys):
    masks(data, 0, 1, 2, 3)
    as_folders(data)
    for name in ("street_005", "street_006"):
        save(data / f"masks/{name}.png", np.zeros((50, 60)))
    save(data / "masks/0.bmp", np.zeros((50, 60)))
    save(data / "masks/1.png", np.zeros((40, 60)))
    (data / "images/2.png").write_bytes(b"garbage")
    Image.fromarray(np.zeros((50, 60), np.uint16)).save(data / "masks/3.png")
    (data / "masks/4.png").rename(data / "masks/4.jpg")
    Image.fromarray(np.zeros((50, 60), np.uint8)).save(data / "masks/4.jpg")
    report, counts = check_guessed(data, **{"data.val": "0.5"})
    assert counts == {
        "masks and images that do not pair by name": 3,
        "masks of another size than their image": 1,
        "unreadable images": 1,
        "unreadable masks": 2,
    }
    names = report["errors"]["masks and images that do not pair by name"]["messages"]
    assert any("street_006.png: no image of that name in" in message for message in names)
    assert any("masks/0.bmp and " in message for message in names)
    parts = report["parts"]
    assert sum(parts[part]["images"] for part in ("labeled", "val")) == 8
    assert sum(parts[part]["usable"] for part in ("labeled", "val")) == 4
    assert parts["unlabeled"]["usable"] == 4
    assert len(report["classes"]) == 4
    printed = capsys.readouterr().out
    assert all(message in printed for message in names)


def test_names_that_the_lists_of_a_run_cannot_hold(data):
    masks(data, 0, 1, 2, 3)
    as_folders(data)
    (data / "images/9.png").rename(data / "images/a\tb.png")
    (data / "images/10.png").rename(data / "images/a\nb.png")
    _, counts = check_guessed(data)
    assert counts == {"file names that no list can hold": 2}


def test_names_that_a_terminal_cannot_show(data):
    masks(data, 0, 1, 2, 3)
    as_folders(data)
    os.rename(data / "images/9.png", os.fsencode(data / "images") + b"/\xe9.png")
    flags = ["--mode=check", "--config=folder", f"--config.data.root={data}", "--workdir=out"]
    done = subprocess.run(
        [sys.executable, REPOSITORY / "main.py", *flags, "--config.model.pretrained="],
        cwd=data,
        env={**ENVIRONMENT, "PYTHONIOENCODING": "utf-8:strict"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert "file names that no list can hold: 1 (unlabeled 1)" in done.stdout
    assert r"\udce9.png" in done.stdout
    assert (data / "out/check.json").exists()


def test_images_are_read_though_no_mask_tells_the_classes(data):
    masks(data, 0, 1, 2, 3)
    as_folders(data)
    for number in range(8):
        Image.fromarray(np.zeros((50, 60), np.uint16)).save(data / f"masks/{number}.png")
    (data / "images/9.png").write_bytes(b"garbage")
    report, counts = check_guessed(data)
    assert counts == {
        "settings that cannot work": 1,
        "unreadable masks": 8,
        "unreadable images": 1,
    }
    assert report["errors"]["settings that cannot work"]["messages"] == [
        "config.data.num_classes and config.data.crop_size: not set, and no mask could be read to "
        "guess from. Repair the masks."
    ]
    # Masks of values that are no ids: the values are known, their meaning is not.
    for number in range(8):
        save(data / f"masks/{number}.png", 128 * (np.arange(3000).reshape(50, 60) % 2))
    save(data / "masks/1.png", np.zeros((40, 60)))
    report, counts = check_guessed(data)
    assert counts == {
        "settings that cannot work": 1,
        "masks of another size than their image": 1,
        "unreadable images": 1,
    }
    (message,) = report["errors"]["settings that cannot work"]["messages"]
    assert "--config.data.label_map=0:0,128:1" in message
    assert report["classes"] == []
    assert report["warnings"].keys() <= {"copies of an image"}
    assert proposed(report) == [{"data.val": "0.5"}]


def test_wrong_lists_are_read_as_far_as_they_go_while_classes_are_guessed(data):
    masks(data, 0, 1, 2, 3)
    (data / "labeled.txt").write_text("0.png m0.png\n1.png\n2.png m2.png extra\n9.png gone.png\n")
    (data / "val.txt").write_text("")
    (data / "4.png").write_bytes(b"")
    (data / "unlabeled.txt").write_text("4.png\n5.png a b\n6.png\n")
    report, counts = check_guessed(data)
    assert counts == {
        "wrong lines of a list": 3,
        "lists that cannot be used": 1,
        "missing files": 1,
        "unreadable images": 1,
    }
    assert report["errors"]["wrong lines of a list"]["counts"] == {"labeled": 2, "unlabeled": 1}
    assert len(report["classes"]) == 4
