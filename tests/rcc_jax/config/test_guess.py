"""What a configuration leaves to the data: guessed once, told, recorded; never against the user."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from configs import folder
from input_pipeline import DataError
from rcc_jax import build
from rcc_jax.config import guess, method_group
from rcc_jax.errors import ConfigError
from rcc_jax.workdir import image_lists


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


@pytest.fixture
def data(tmp_path):
    """Eight images 60x50 in images/, masks of the first five; `stripes` draws the masks."""
    rng = np.random.default_rng(0)
    for number in range(8):
        save(tmp_path / f"images/{number}.png", rng.integers(0, 256, (50, 60, 3)))
    stripes(tmp_path, 0, 1, 2, 3)
    return tmp_path


def stripes(root, *values):
    for number in range(5):
        rows = np.asarray(values)[np.arange(50) * len(values) // 50]
        save(root / f"masks/{number}.png", np.repeat(rows[:, None], 60, axis=1))


def filled(root, workdir="/no/run", *, method="auto", **fields):
    """The configuration of a start, and what was printed."""
    config, lines = folder.get_config(f"method={method}"), []
    fields = {name.replace("__", "."): value for name, value in fields.items()}
    config.update_from_flattened_dict({"data.root": str(root), **fields})
    guess.resolve_auto(config, workdir, log=lines.append)
    return config, lines


def chosen(config):
    data, method = config.data, config.method
    return data.labeled, data.unlabeled, data.val, data.num_classes, method.name, method.top_n


def counts(config):
    build.check(config)
    return build.open_partition(config).counts()


def test_two_folders(data):
    config, lines = filled(data)
    assert chosen(config) == ("masks", "images", "0.2", 4, "rcc", 4)
    assert config.data.crop_size == 49
    assert counts(config) == {"labeled": 4, "unlabeled": 3, "val": 1}
    assert lines == [
        f"guessed --config.data.labeled=masks (a folder of masks in {data})",
        "guessed --config.data.val=0.2 (no validation images found: a share of the labelled ones)",
        "guessed --config.data.unlabeled=images (all images there without a mask)",
        "guessed --config.data.num_classes=4 (the masks hold ids from 0 to 3)",
        "guessed --config.data.crop_size=49 (the median of the images' shorter sides is 50 pixels)",
        "guessed --config.method.name=rcc (4 classes; rcc compares pairs of three or more)",
        "guessed --config.method.top_n=4 (4 classes)",
    ]


def test_unlabeled_images_beside(data):
    (data / "unlabeled").mkdir()
    for number in (6, 7):
        (data / f"images/{number}.png").rename(data / f"unlabeled/{number}.png")
    config, _ = filled(data)
    assert config.data.unlabeled == "images,unlabeled"
    assert counts(config) == {"labeled": 4, "unlabeled": 3, "val": 1}


def test_lists(data):
    lines = [f"images/{number}.png masks/{number}.png\n" for number in range(5)]
    (data / "labeled.txt").write_text("".join(lines[:3]))
    config, _ = filled(data)
    assert chosen(config)[:3] == ("labeled.txt", "images", "0.2")
    (data / "val.txt").write_text("".join(lines[3:]))
    (data / "unlabeled.txt").write_text("images/6.png\n")
    config, _ = filled(data)
    assert chosen(config)[:3] == ("labeled.txt", "unlabeled.txt", "val.txt")
    assert counts(config) == {"labeled": 3, "unlabeled": 1, "val": 2}


def test_training_and_validation_in_folders_of_their_own(data):
    for number in (3, 4):
        for kind in ("images", "masks"):
            (data / "val" / kind).mkdir(parents=True, exist_ok=True)
            (data / kind / f"{number}.png").rename(data / "val" / kind / f"{number}.png")
    (data / "train").mkdir()
    for kind in ("images", "masks"):
        (data / kind).rename(data / "train" / kind)
    config, _ = filled(data)
    assert chosen(config)[:3] == ("train/masks", "train/images", "val/masks")
    assert counts(config) == {"labeled": 3, "unlabeled": 3, "val": 2}


@pytest.mark.parametrize(
    ("values", "expected", "table"),
    [
        ([0, 255], (2, "unimatch"), "0:0,255:1"),
        ([0, 1], (2, "unimatch"), ""),
        ([0, 1, 2, 255], (3, "rcc"), ""),
        ([[0, 0, 0], [255, 0, 0], [0, 0, 255]], (3, "rcc"), "#000000:0,#0000ff:1,#ff0000:2"),
    ],
)
def test_classes_table_and_method_by_the_masks(data, values, expected, table):
    stripes(data, *values)
    config, _ = filled(data)
    assert (config.data.num_classes, config.method.name) == expected
    assert config.method.top_n == (3 if expected[1] == "rcc" else None)
    assert config.data.label_map + config.data.colormap == table
    build.check(config)
    partition = build.open_partition(config)
    ids = set(np.unique(partition.labeled[0]["label"]).tolist())
    assert ids - {255} == set(range(expected[0]))


def test_no_players_are_told_of_a_method_that_two_classes_cannot_serve(data):
    stripes(data, 0, 1)
    config, lines = filled(data, method="rcc")
    assert not any("top_n" in line for line in lines)
    with pytest.raises(ConfigError, match="at least 3 classes"):
        build.check(config)


def test_what_the_user_says_is_kept_and_not_told(data):
    stripes(data, 0, 255)
    given = {
        "data__val": "0.5",
        "data__num_classes": 5,
        "data__crop_size": 33,
        "method__top_n": 3,
        "data__unlabeled": "images/7.png*",
    }
    config, lines = filled(data, method="cc", **given)
    for name, value in given.items():
        group, field = name.split("__")
        assert config[group][field] == value
    assert config.method.name == "cc"
    assert [line.split("=")[0] for line in lines] == ["guessed --config.data.labeled"]
    # Numbers that follow from what was given.
    config, _ = filled(data, data__label_map="0:0,255:7")
    assert (config.data.num_classes, config.data.label_map) == (8, "0:0,255:7")
    stripes(data, 0, 1, 2)
    config, _ = filled(data, data__class_names=("a", "b", "c", "d"))
    assert config.data.num_classes == 4


def test_nothing_is_read_where_nothing_is_unset(data):
    given = {"data__labeled": "masks", "data__val": "0.2", "data__unlabeled": "images"}
    given |= {"data__num_classes": 4, "data__crop_size": 33, "method__top_n": 4}
    for path in data.glob("masks/*"):
        path.write_bytes(b"")
    assert filled(data, method="rcc", **given)[1] == []


def test_a_run_goes_on_with_what_it_began_with(data, tmp_path):
    first, _ = filled(data)
    workdir = tmp_path / "run"
    workdir.mkdir()
    (workdir / "config.json").write_text(json.dumps(method_group.resolved(first)))
    partition = build.open_partition(first, workdir)
    image_lists.record(partition, workdir)
    # The guesses would now be others.
    stripes(data, 0, 1, 2, 3, 4)
    assert filled(data)[0].data.num_classes == 5
    second, lines = filled(data, workdir)
    assert second == first
    assert lines == []
    stripes(data, 0, 1, 2, 3)
    # So would the parts, with one more image and one more mask.
    shutil.copy(data / "masks/1.png", data / "masks/6.png")
    shutil.copy(data / "images/1.png", data / "images/9.png")
    again = build.open_partition(second, workdir)
    assert again.digests() == partition.digests()
    assert list(again.labeled.label_ids) == list(partition.labeled.label_ids)
    assert build.open_partition(second).digests() != partition.digests()
    # The data need not be there.
    shutil.rmtree(data / "masks")
    assert filled(data, workdir)[0] == first


def test_what_was_set_by_hand_goes_on_too_where_it_is_left_to_the_data(data, tmp_path):
    first, _ = filled(data, data__crop_size=33, data__val="0.5")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text(json.dumps(method_group.resolved(first)))
    second, lines = filled(data, tmp_path / "run")
    assert (second.data.crop_size, second.data.val) == (33, "0.5")
    assert second == first
    assert lines == []


@pytest.mark.parametrize(
    ("there", "meant"), [("mask", " Did you mean 'mask'?"), ("drawings", "of your data.")]
)
def test_a_folder_of_another_name_and_a_root_that_is_not_there(data, there, meant):
    (data / "masks").rename(data / there)
    with pytest.raises(ConfigError, match=r"data\.labeled is not set, and .*masks") as caught:
        filled(data)
    assert str(caught.value).endswith(meant)
    with pytest.raises(DataError, match=f"data.root = '{data}s': there is no folder {data}s"):
        filled(f"{data}s")


def test_masks_of_a_list_that_are_nowhere_are_a_fault_of_its_paths(data):
    lines = [f"{data.name}/images/{n}.png {data.name}/masks/{n}.png\n" for n in range(3)]
    (data / "labeled.txt").write_text("".join(lines))
    with pytest.raises(DataError, match="no such file, named in .* relative to data.root"):
        filled(data)


def test_lists_are_recorded_only_where_settings_name_no_image(data, tmp_path):
    (data / "labeled.txt").write_text("images/0.png masks/0.png\nimages/1.png masks/1.png\n")
    (data / "val.txt").write_text("images/2.png masks/2.png\n")
    (data / "unlabeled.txt").write_text("images/3.png\n")
    for number, (fields, recorded) in enumerate(
        [({}, []), ({"data__unlabeled": "images"}, ["labeled", "unlabeled", "val"])]
    ):
        workdir = tmp_path / f"run{number}"
        workdir.mkdir()
        partition = build.open_partition(filled(data, **fields)[0])
        image_lists.record(partition, workdir)
        assert sorted(path.stem for path in workdir.glob("lists/*")) == recorded
    supervised = filled(data, method="supervised", data__val="0.5")[0]
    partition = build.open_partition(supervised)
    (workdir := tmp_path / "supervised").mkdir()
    image_lists.record(partition, workdir)
    assert build.open_partition(supervised, workdir).digests() == partition.digests()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0], r"they hold the values 0\. Set it"),
        ([0, 128], r"the values 0, 128\..*--config\.data\.label_map=0:0,128:1 .*num_classes=2"),
        (list(range(0, 250, 5)), r"the values 0, 5, 10, 15, 20, 25, 30, 35, \.\.\."),
        ([[9, 9, 9]], r"they hold 1 colours"),
    ],
)
def test_masks_that_do_not_tell_the_classes(data, values, said):
    stripes(data, *values)
    with pytest.raises(ConfigError, match=r"config\.data\.num_classes is not set, .*" + said):
        filled(data)


def test_data_that_cannot_be_guessed_from(data, tmp_path):
    (data / "masks/2.png").write_bytes(b"")
    assert filled(data)[0].data.num_classes == 4  # The checks name that file.
    for path in data.glob("masks/*"):
        path.write_bytes(b"no mask")
    with pytest.raises(DataError, match="not a readable mask"):
        filled(data)
    (data / "masks").rename(data / "labels")
    message = r"config\.data\.labeled is not set, and .* has none of labeled\.txt, masks, train/"
    with pytest.raises(ConfigError, match=message):
        filled(data)
    config = folder.get_config()
    with pytest.raises(ConfigError, match="there is no run in this folder; train first"):
        guess.resolve_auto(config, tmp_path, may_guess=False)
