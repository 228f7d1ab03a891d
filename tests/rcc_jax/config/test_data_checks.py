"""Faulty data end a run before its folder is made."""

import re

import numpy as np
import pytest
from PIL import Image

from input_pipeline import DataError
from rcc_jax import build
from rcc_jax.training import loop
from tests.support.small_configs import changed, message, tiny


@pytest.fixture
def folder(tmp_path):
    """A folder of four images with masks of two classes, and its lists."""
    rng = np.random.default_rng(0)
    for name in "abcd":
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), np.uint8)).save(tmp_path / f"{name}.jpg")
        Image.fromarray(rng.integers(0, 3, (40, 50), np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "labeled.txt").write_text("a.jpg a.png\r\n\nb.jpg b.png\n")
    (tmp_path / "val.txt").write_text("c.jpg c.png\n")
    return tmp_path


def folder_config(root, **fields):
    defaults = {
        "data.source": "folder",
        "data.root": str(root),
        "data.labeled": "labeled.txt",
        "data.unlabeled": "*.jpg",
        "data.val": "val.txt",
        "data.num_classes": 3,
        "data.class_names": (),
        "method.top_n": 3,
    }
    return changed(tiny(), defaults | {k.replace("__", "."): v for k, v in fields.items()})


def test_lists_with_blank_lines_and_crlf_are_read(folder):
    partition = build.open_partition(folder_config(folder))
    parts = partition.labeled, partition.unlabeled, partition.val
    assert [list(part.ids) for part in parts] == [["a.jpg", "b.jpg"], ["d.jpg"], ["c.jpg"]]


def _remove(folder):
    (folder / "b.png").unlink()


def _damage(folder):
    (folder / "b.jpg").write_bytes((folder / "b.jpg").read_bytes()[:100])


def _crop_mask(folder):
    Image.fromarray(np.zeros((40, 49), np.uint8)).save(folder / "b.png")


def _high_id(folder):
    Image.fromarray(np.full((40, 50), 3, np.uint8)).save(folder / "b.png")


def _empty_list(folder):
    (folder / "labeled.txt").write_text("\n")


def _no_list(folder):
    (folder / "labeled.txt").unlink()


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (_remove, "b.png: no such file"),
        (_damage, "b.jpg"),
        (_crop_mask, "b.png.*40"),
        (_high_id, "b.png.*3"),
        (_empty_list, "labeled.txt"),
        (_no_list, "labeled.txt"),
    ],
)
def test_faulty_data_stop_before_the_workdir_is_made(folder, fault, named):
    fault(folder)
    workdir = folder / "run"
    text = message(DataError, loop.train, folder_config(folder), str(workdir))
    assert re.search(named, text, re.DOTALL)
    assert not workdir.exists()
