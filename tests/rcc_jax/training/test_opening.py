"""What a run records before its first step, and how it notices other images."""

import json
import shutil

import pytest

from configs import folder
from rcc_jax.config import method_group
from rcc_jax.errors import ConfigError
from rcc_jax.training import loop, opening
from rcc_jax.training.run import Run
from tests.support import checking

FIELDS = {
    "data.labeled": "labeled.txt",
    "data.unlabeled": "unlabeled.txt",
    "data.val": "val.txt",
    "data.num_classes": 4,
    "data.crop_size": 33,
    "model.backbone": "resnet10",
    "model.width": 4,
    "model.decoder_channels": 8,
    "model.pretrained": "",
    "method.top_n": 4,
    "train.num_steps": 4,
    "train.batch_size": 1,
}


@pytest.fixture
def start(tmp_path):
    """Opens a run and its folder as its start does, after a checkpoint if there is a step."""
    checking.lists(tmp_path)
    checking.masks(tmp_path, 0, 1, 2, 3)
    config = folder.get_config("method=rcc")
    config.update_from_flattened_dict({"data.root": str(tmp_path), **FIELDS})

    def record(latest_step):
        resolved, run = method_group.resolved(config), Run.build(config)
        lines = [] if latest_step is None else opening.check_images(run, tmp_path / "run")
        with opening.open_workdir(str(tmp_path / "run"), resolved) as workdir:
            opening.record(run, workdir, latest_step, lambda line: None)
        return lines

    record.config = config
    return record


def swap(root):
    one, other = (root / "labeled.txt").read_text(), (root / "val.txt").read_text()
    (root / "labeled.txt").write_text(other)
    (root / "val.txt").write_text(one)


def shorten(root):
    (root / "unlabeled.txt").write_text("8.png\n9.png\n")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (swap, r"other labelled images \(4 other names\), which config.data.labeled names"),
        (shorten, r"other unlabelled images \(4 then, 2 now\), which config.data.unlabeled "),
    ],
)
def test_a_run_does_not_resume_with_other_images(start, tmp_path, change, said):
    start(None)
    assert start(2) == []
    change(tmp_path)
    with pytest.raises(ConfigError, match=said):
        start(2)
    # Without a checkpoint nothing was learned from them.
    start(None)


def test_a_training_refuses_them_before_anything_is_written(start, tmp_path):
    start(None)
    (tmp_path / "run/checkpoints/2").mkdir(parents=True)
    shorten(tmp_path)
    start.config.train.batch_size = 8

    def files():
        return {path: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}

    before = files()
    with pytest.raises(ConfigError, match="other unlabelled images"):
        loop.train(start.config, str(tmp_path / "run"))
    assert files() == before


def test_names_may_change_with_the_root(start, tmp_path):
    start(None)
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path, moved, ignore=shutil.ignore_patterns("run", "moved"))
    (moved / "8.png").rename(moved / "other.png")
    (moved / "unlabeled.txt").write_text("other.png\n9.png\n10.png\n11.png\n")
    start.config.data.root = str(moved)
    (line,) = start(2)
    assert line.endswith(
        f"unlabelled images (4 other names), below config.data.root = '{tmp_path}'"
    )
    (moved / "unlabeled.txt").write_text("9.png\n10.png\n")
    with pytest.raises(ConfigError, match="4 then, 2 now"):
        start(2)


def test_a_bad_validation_image_may_be_left_out(start, tmp_path):
    start(None)
    lines = (tmp_path / "val.txt").read_text().splitlines(keepends=True)
    (tmp_path / "val.txt").write_text("".join(lines[:-1]))
    (line,) = start(2)
    assert "other validation images (4 then, 3 now): its scores before and after" in line


def test_a_run_of_an_earlier_version_tells_numbers_alone(start, tmp_path):
    start(None)
    path = tmp_path / "run/data.json"
    counts = json.loads(path.read_text())
    del counts["digests"]
    assert counts == {"labeled": 4, "unlabeled": 4, "val": 4}
    path.write_text(json.dumps(counts))
    shorten(tmp_path)
    with pytest.raises(ConfigError, match="4 then, 2 now"):
        start(2)
    for text in ('{"digests": null}', "[1]", ""):
        path.write_text(text)
        assert start(2) == []
