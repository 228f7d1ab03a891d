"""From miniature archives of Cityscapes to examples, and what stops that."""

import os
import re

import numpy as np
import pytest
import tensorflow_datasets as tfds

import input_pipeline
from input_pipeline import DataError
from input_pipeline.prepare import cityscapes as cityscapes_module
from input_pipeline.prepare import dataset

from .conftest import png

# From the table of labels that the dataset's own scripts publish.
TRAIN_IDS = {
    7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12,
    26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18,
}  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """Prepares what is in `archives`; returns the lines that it reported."""

    def run(**changes):
        reported = []
        options = dataset.Options(**{"allow_counts": True, **changes})
        source, target = [str(tmp_path / "archives")], str(tmp_path / "data")
        dataset.prepare(
            cityscapes_module.RECIPE, source, target, options=options, log=reported.append
        )
        return reported

    return run


def test_images_keep_their_bytes_and_masks_become_train_ids(prepared, cityscapes):
    for split, part in (("train", "train"), ("validation", "val")):
        records = tfds.data_source(
            "cityscapes_fine",
            split=split,
            data_dir=str(prepared),
            decoders={"image": tfds.decode.SkipDecoding()},
        )
        names = []
        for record in records:
            key = record["key"].decode()
            names.append(os.path.basename(key).removesuffix("_leftImg8bit.png"))
            assert record["image"] == cityscapes.images[key]
            ids = cityscapes.masks[names[-1]]
            expected = np.vectorize(lambda value: TRAIN_IDS.get(value, 255))(ids)
            np.testing.assert_array_equal(record["label"][..., 0], expected)
        assert names == sorted(cityscapes.names[part])


def test_partition_of_lists_in_the_public_format(prepared, cityscapes, tmp_path):
    (tmp_path / "labeled.txt").write_text(
        "leftImg8bit/train/bochum/bochum_000000_000600_leftImg8bit.png "
        "gtFine/train/bochum/bochum_000000_000600_gtFine_labelTrainIds.png\n"
    )
    partition = input_pipeline.open_partition(
        source="tfds",
        root=str(prepared / "cityscapes_fine"),
        labeled=str(tmp_path / "labeled.txt"),
        unlabeled="",
        val="",
        num_classes=19,
    )
    input_pipeline.check_partition(partition)
    assert partition.counts() == {"labeled": 1, "unlabeled": 5, "val": 2}
    assert partition.labeled[0]["label"].max() == 255


def test_second_run_and_unpacked_folders(run, cityscapes, tmp_path):
    for files in (cityscapes.images, cityscapes.labels):
        files.unpack(tmp_path / "archives")
    assert "6 training images, 2 validation images" in run()[0]
    assert "nothing to do" in run()[0]


def test_coarse_annotations(run, cityscapes, tmp_path):
    folder = cityscapes.save(tmp_path / "archives")
    (folder / "gtFine_trainvaltest.zip").unlink()
    for name in list(cityscapes.labels):
        cityscapes.labels[name.replace("gtFine", "gtCoarse")] = cityscapes.labels.pop(name)
    cityscapes.labels.zip(folder / "gtCoarse.zip")
    message = r"gtCoarse\.zip: holds no folder gtFine \(found: gtCoarse/.*gtFine_trainvaltest\.zip"
    with pytest.raises(DataError, match=message):
        run()


@pytest.mark.parametrize("name", ["leftImg8bit_trainvaltest.zip", "gtFine_trainvaltest.zip"])
def test_cut_off_or_missing_archive(run, cityscapes, tmp_path, name):
    path = cityscapes.save(tmp_path / "archives") / name
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DataError, match=rf"{name}: cannot be read to its end.*Download it again"):
        run()
    path.unlink()
    with pytest.raises(DataError, match=rf"is not there\. Expected the file {name}"):
        run()


def test_damage_inside(run, cityscapes, tmp_path):
    path = cityscapes.save(tmp_path / "archives") / "gtFine_trainvaltest.zip"
    data = bytearray(path.read_bytes())
    mask = next(name for name in cityscapes.labels if name.endswith("labelIds.png"))
    start = data.index(cityscapes.labels[mask])
    data[start + 60] ^= 255
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"gtFine_.*\.zip: cannot be read to its end \(Bad CRC"):
        run()


def test_counts_are_those_of_the_official_archives(run, cityscapes, tmp_path):
    cityscapes.save(tmp_path / "archives")
    with pytest.raises(DataError, match=r"gtFine_.*\.zip: 6 masks .* in gtFine/train, .* 2975"):
        run(allow_counts=False)
    assert cityscapes_module.COUNTS["val"] == 500


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (png(np.full((30, 40), 40, np.uint8)), r"labelIds\.png: id 40, expected 0-33 and 255"),
        (png(np.zeros((30, 40), np.uint8), "RGB"), r"labelIds\.png: image mode 'RGB', expected"),
        (b"no image", r"labelIds\.png: not a readable mask"),
    ],
)
def test_wrong_masks(run, cityscapes, tmp_path, mask, message):
    name = next(name for name in cityscapes.labels if name.endswith("labelIds.png"))
    cityscapes.labels[name] = mask
    cityscapes.save(tmp_path / "archives")
    with pytest.raises(DataError, match=message):
        run()


def test_mask_without_image(run, cityscapes, tmp_path):
    name = next(name for name in cityscapes.images if "/train/" in name)
    del cityscapes.images[name]
    cityscapes.save(tmp_path / "archives")
    path = re.escape(name.removeprefix("leftImg8bit/"))
    with pytest.raises(DataError, match=rf"no image {path}, of which .* has a mask \(1 such\)"):
        run()
