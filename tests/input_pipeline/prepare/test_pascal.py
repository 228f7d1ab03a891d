"""From miniature archives of VOC and SBD to examples, and what stops that."""

import io
import os
import resource
import shutil
import subprocess
import sys
import time

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

import input_pipeline
from input_pipeline import DataError
from input_pipeline.prepare import dataset, storage
from input_pipeline.prepare import pascal as pascal_module
from input_pipeline.prepare.masks import MaskFolder


@pytest.fixture
def run(tmp_path):
    """Prepares what is in `archives`; returns the lines that it reported."""

    def run(source=None, **changes):
        reported = []
        options = dataset.Options(**{"allow_counts": True, **changes})
        source, target = source or [str(tmp_path / "archives")], str(tmp_path / "data")
        dataset.prepare(pascal_module.RECIPE, source, target, options=options, log=reported.append)
        return reported

    return run


def open_prepared(folder, **changes):
    arguments = {"labeled": "train", "unlabeled": "", "val": "", "num_classes": 21}
    return input_pipeline.open_partition(
        source="tfds", root=str(folder / "pascal"), **{**arguments, **changes}
    )


def test_images_keep_their_bytes_and_masks_their_ids(prepared, pascal):
    folder = prepared / "pascal/1.0.0"
    records = tfds.builder_from_directory(folder).as_data_source(
        split="train", decoders={"image": tfds.decode.SkipDecoding()}
    )
    keys = [line.split("\t") for line in (folder / "keys-train.txt").read_text().splitlines()]
    assert len(records) == len(keys) == 9
    assert [key for key, *_ in keys] == sorted(key for key, *_ in keys)
    for record, (key, label, kind) in zip(records, keys, strict=True):
        name = os.path.basename(key)[:-4]
        assert (record["key"].decode(), record["kind"].decode()) == (key, kind)
        assert label == f"SegmentationClass/{name}.png"
        assert kind == ("fine" if name in pascal.fine else "coarse")
        assert record["image"] == pascal.voc[f"VOCdevkit/VOC2012/{key}"]
        np.testing.assert_array_equal(record["label"][..., 0], pascal.masks[name])


def test_tfds_finds_the_dataset_by_name(prepared):
    source = tfds.data_source("pascal", split="validation", data_dir=str(prepared))
    assert len(source) == 3
    assert source[0]["image"].shape == (30, 40, 3)


def test_source_gives_the_same_pixels_as_the_files(prepared, pascal):
    val = open_prepared(prepared).val
    assert list(val.ids) == [f"JPEGImages/{name}.jpg" for name in pascal.val]
    for index, name in enumerate(pascal.val):
        jpeg = pascal.voc[f"VOCdevkit/VOC2012/JPEGImages/{name}.jpg"]
        pixels = np.asarray(PIL.Image.open(io.BytesIO(jpeg)), int)
        assert np.abs(val[index]["image"] - pixels).max() <= 2  # Another JPEG decoder.
        np.testing.assert_array_equal(val[index]["label"], pascal.masks[name])


def test_voc_wins_where_sbd_has_a_mask_too(prepared, pascal):
    both = pascal.sbd_train[3]
    assert both in pascal.fine
    train = open_prepared(prepared).labeled
    index = list(train.ids).index(f"JPEGImages/{both}.jpg")
    assert 255 in train[index]["label"]  # SBD's masks have none.
    np.testing.assert_array_equal(train[index]["label"], pascal.masks[both])


def test_second_run_has_nothing_to_do(run, pascal, tmp_path):
    pascal.save(tmp_path / "archives")
    (first,) = run()
    assert "9 training images (4 fine, 5 coarse masks), 3 validation images" in first
    shutil.rmtree(tmp_path / "archives")
    (second,) = run()
    assert "complete, nothing to do" in second
    assert sorted(os.listdir(tmp_path / "data/pascal")) == [".lock", "1.0.0"]


def test_unpacked_folders(run, pascal, tmp_path, prepared):
    for files in (pascal.voc, pascal.sbd):
        files.unpack(tmp_path / "archives")
    run()
    for name in ("keys-train.txt", "keys-validation.txt"):
        path = f"pascal/1.0.0/{name}"
        assert (tmp_path / "data" / path).read_text() == (prepared / path).read_text()


def test_archives_in_several_places(run, pascal, tmp_path):
    pascal.voc.tar(tmp_path / "VOCtrainval_11-May-2012.tar")
    pascal.sbd.unpack(tmp_path / "elsewhere")
    run([str(tmp_path / "VOCtrainval_11-May-2012.tar"), str(tmp_path / "elsewhere")])


def test_killed_run_is_taken_up_again(run, pascal, tmp_path):
    archives, folder = tmp_path / "archives", tmp_path / "data/pascal"
    for files in (pascal.voc, pascal.sbd):
        files.unpack(archives)
    masks = archives / "VOCdevkit/VOC2012/SegmentationClass"
    last = masks / f"{pascal.val[-1]}.png"
    last.unlink()
    os.mkfifo(last)  # Its reader waits, and is killed there.
    flags = [f"--source={archives}", f"--data_dir={tmp_path / 'data'}", "--allow_counts"]
    command = [sys.executable, "-m", "input_pipeline.prepare", "pascal", *flags]
    process = subprocess.Popen(command)
    limit = time.monotonic() + 60
    while len(done := list(folder.glob("masks.partial/[0-9]*.png"))) < 6:
        assert time.monotonic() < limit
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not list(folder.glob("1.0.0*"))

    last.unlink()
    last.write_bytes(pascal.voc[f"VOCdevkit/VOC2012/SegmentationClass/{last.name}"])
    lost, *kept = sorted(path.name for path in done)
    (folder / "masks.partial" / lost).write_bytes(b"")  # As after a crash of the machine.
    for name in kept:
        (masks / name).write_bytes(b"")  # Reading these again would fail.
    run()
    train = open_prepared(tmp_path / "data").labeled
    assert len(train) == 9
    for index, key in enumerate(train.ids):
        np.testing.assert_array_equal(
            train[index]["label"], pascal.masks[os.path.basename(key)[:-4]]
        )


def test_masks_of_other_archives_are_not_taken_up(tmp_path):
    folder = MaskFolder(str(tmp_path / "masks"), "these")
    empty = np.zeros((2, 2), np.uint8)
    folder.convert([("x", b"")], lambda *_: empty, total=1, title="masks", num_threads=1)
    assert "x" in MaskFolder(str(tmp_path / "masks"), "these")
    assert "x" not in MaskFolder(str(tmp_path / "masks"), "others")


def test_counts_are_those_of_the_official_archives(run, pascal, tmp_path):
    pascal.save(tmp_path / "archives")
    with pytest.raises(DataError, match=r"2012\.tar: .*train\.txt gives 4 images, expected .*1464"):
        run(allow_counts=False)
    assert pascal_module.NUM_TRAIN == 10582


def test_missing_sbd(run, pascal, tmp_path):
    (pascal.save(tmp_path / "archives") / "benchmark.tgz").unlink()
    with pytest.raises(DataError, match=r"SBD.* is not there\. Expected the file benchmark\.tgz"):
        run()


def test_voc2007(run, pascal, tmp_path):
    folder = pascal.save(tmp_path / "archives")
    (folder / "VOCtrainval_11-May-2012.tar").unlink()
    for name in list(pascal.voc):
        pascal.voc[name.replace("VOC2012", "VOC2007")] = pascal.voc.pop(name)
    pascal.voc.tar(folder / "VOCtrainval_06-Nov-2007.tar")
    message = r"06-Nov-2007\.tar: holds no folder VOC2012 \(found: VOCdevkit/VOC2007\).*11-May-2012"
    with pytest.raises(DataError, match=message):
        run()


@pytest.mark.parametrize("share", [0.1, 0.6])
@pytest.mark.parametrize("name", ["VOCtrainval_11-May-2012.tar", "benchmark.tgz"])
def test_cut_off_archive(run, pascal, tmp_path, name, share):
    path = pascal.save(tmp_path / "archives") / name
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=rf"{name}: cannot be read to its end.*Download it again"):
        run()
    path.write_bytes(whole)
    run()


def test_archive_that_is_none(run, pascal, tmp_path):
    path = pascal.save(tmp_path / "archives") / "benchmark.tgz"
    path.write_text("<html>Not Found</html>")
    with pytest.raises(DataError, match=r"benchmark\.tgz: cannot be read to its end"):
        run()


def test_wrong_content(run, pascal, tmp_path):
    folder = tmp_path / "archives"
    sbd = "benchmark_RELEASE/dataset/cls/2008_000015.mat"
    whole = pascal.sbd.pop(sbd)
    pascal.save(folder)
    with pytest.raises(DataError, match=r"benchmark\.tgz: lists 2008_000015 but has no cls/"):
        run()
    pascal.sbd[sbd] = whole[:100]
    pascal.save(folder)
    with pytest.raises(DataError, match=r"cls/2008_000015\.mat: holds no GTcls\.Segmentation"):
        run()
    pascal.sbd[sbd] = whole
    mask = "VOCdevkit/VOC2012/SegmentationClass/2007_000033.png"
    pascal.voc[mask] = pascal.voc["VOCdevkit/VOC2012/JPEGImages/2007_000033.jpg"]
    pascal.save(folder)
    with pytest.raises(DataError, match=r"2007_000033\.png: image mode 'RGB', expected a palet"):
        run()
    del pascal.voc[mask]
    pascal.save(folder)
    with pytest.raises(DataError, match=r"2012\.tar: VOC2012/.*2007_000033\.png is not in it"):
        run()


def test_mask_of_another_image(run, pascal, tmp_path):
    name = "VOCdevkit/VOC2012/JPEGImages/2007_000033.jpg"
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (41, 30)).save(buffer, "JPEG")
    pascal.voc[name] = buffer.getvalue()
    pascal.save(tmp_path / "archives")
    message = r"JPEGImages/2007_000033\.jpg: the image is 41x30, its mask 2007_000033 is 40x30"
    with pytest.raises(DataError, match=message):
        run()
    assert not list((tmp_path / "data/pascal").glob("1.0.0*"))


def test_full_disk_while_masks_are_written(run, pascal, tmp_path):
    for files in (pascal.voc, pascal.sbd):
        files.unpack(tmp_path / "archives")
    masks = tmp_path / "data/pascal/masks.partial"
    masks.parent.mkdir(parents=True)
    MaskFolder(str(masks), "VOC2012 folder\ndataset folder\n")
    full = masks / f".{pascal.val[0]}.png.{os.getpid()}.tmp"
    full.symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"masks\.partial: the disk is full"):
        run()
    assert not os.path.lexists(full)  # Half a mask does not stay.
    assert "3 validation images" in run()[0]


def test_full_disk_while_records_are_written(run, pascal, tmp_path):
    pascal.save(tmp_path / "archives")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(DataError, match=r"data/pascal: the disk is full"):
            run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(os.listdir(tmp_path / "data/pascal")) == [".lock", "masks.partial"]
    assert "9 training images" in run()[0]


def test_two_preparations_at_once(run, pascal, tmp_path):
    pascal.save(tmp_path / "archives")
    (tmp_path / "data").mkdir()
    with (
        storage.held(str(tmp_path / "data/pascal")),
        pytest.raises(DataError, match="another preparation is writing there"),
    ):
        run()


def test_source_that_is_not_there(run, tmp_path):
    with pytest.raises(DataError, match=r"--source=.*nowhere: no such file or folder"):
        run([str(tmp_path / "nowhere")])
    with pytest.raises(DataError, match=r"PASCAL VOC 2012 is not there"):
        run([str(tmp_path)])
