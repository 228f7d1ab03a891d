"""TFDS datasets as sources: all of them by slices, prepared ones also by lists of keys."""

import io
import pickle

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

import input_pipeline
from input_pipeline import DataError, findings
from input_pipeline.inspection.inspect import inspect_partition


def png(pixels) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.asarray(pixels, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write(folder, splits, *, mask="mask", file_format="array_record"):
    """Builds a dataset with features photo and mask and without keys; returns its content."""
    features = {
        "photo": tfds.features.Image(encoding_format="png"),
        "inner": {"mask": tfds.features.Image(shape=(None, None, 1), encoding_format="png")},
        "mask": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
        "number": tfds.features.Scalar(np.int64),
    }
    folder.mkdir(parents=True)
    identity = tfds.core.DatasetIdentity(
        name="plain", version=tfds.core.Version("2.0.0"), data_dir=str(folder), module_name="plain"
    )
    info = tfds.core.DatasetInfo(
        builder=identity, description="plain", features=tfds.features.FeaturesDict(features)
    )
    rng, written = np.random.default_rng(0), {}
    if file_format != "array_record":
        info.set_file_format(file_format)
        info.set_splits(tfds.core.splits.SplitDict([]))
        info.write_to_directory(folder)
        return written
    writer = tfds.core.SequentialWriter(info, max_examples_per_shard=3, file_format=file_format)
    writer.initialize_splits(list(splits))
    for split, count in splits.items():
        for number in range(count):
            photo = rng.integers(0, 256, (20, 24, 3)).astype(np.uint8)
            label = rng.choice([0, 4, 9, 255], (20, 24)).astype(np.uint8)
            encoded = png(label)
            example = {
                "photo": png(photo),
                "mask": encoded,
                "inner": {"mask": encoded},
                "number": number,
            }
            writer.add_examples({split: [example]})
            written[f"{split}:{number}"] = (photo, label)
    writer.close_all()
    return written


@pytest.fixture
def plain(tmp_path):
    """Root and images of a dataset in plain/2.0.0 with 8 training and 3 test images."""
    return tmp_path / "plain", write(tmp_path / "plain/2.0.0", {"train": 8, "test": 3})


def open_plain(root, **changes):
    arguments = {
        "labeled": "train[:2]",
        "unlabeled": "",
        "val": "test",
        "num_classes": 3,
        "label_map": "0:0,4:1,9:2",
        "image_feature": "photo",
        "label_feature": "mask",
    }
    return input_pipeline.open_partition(source="tfds", root=str(root), **{**arguments, **changes})


def keyed(root):
    """Adds files of keys to the dataset."""
    for split, count in (("train", 8), ("test", 3)):
        lines = (f"i/{split}{n}.png\tm/{split}{n}.png\tfine\n" for n in range(count))
        (root / f"2.0.0/keys-{split}.txt").write_text("".join(lines))
    return root


@pytest.mark.parametrize("feature", ["mask", "inner/mask"])
def test_slices_of_a_plain_dataset(plain, feature):
    root, written = plain
    partition = open_plain(root, label_feature=feature)
    input_pipeline.check_partition(partition)
    assert list(partition.labeled.ids) == ["train:0", "train:1"]
    assert list(partition.unlabeled.ids) == [f"train:{n}" for n in range(2, 8)]
    assert partition.label_kinds is None
    for part in ("labeled", "unlabeled", "val"):
        source = getattr(partition, part)
        for index, name in enumerate(source.ids):
            photo, label = written[name]
            np.testing.assert_array_equal(source[index]["image"], photo)
            assert source.image_size(index) == photo.shape[:2]
            if part == "unlabeled":
                assert set(source[index]) == {"image"}
            else:
                ids = np.select([label == 0, label == 4, label == 9], [0, 1, 2], 255)
                np.testing.assert_array_equal(source[index]["label"], ids)


def test_other_slices(plain):
    root, _ = plain
    partition = open_plain(
        root, labeled="test[1:]+train[50%:75%]", unlabeled="train[:3]", val="test[:1]"
    )
    assert list(partition.labeled.ids) == ["test:1", "test:2", "train:4", "train:5"]
    assert list(partition.unlabeled.ids) == ["train:0", "train:1", "train:2"]
    held_out = open_plain(root, val="train[6:]")
    assert list(held_out.unlabeled.ids) == [f"train:{n}" for n in range(2, 6)]
    chosen = open_plain(root, train="train[:4]")
    assert list(chosen.unlabeled.ids) == ["train:2", "train:3"]
    assert len(open_plain(root, unlabeled=None).unlabeled) == 0


def test_leaking_slices(plain):
    with pytest.raises(DataError, match=r"train:1 is in data\.labeled \(train\[:2\]\) and in"):
        input_pipeline.check_partition(open_plain(plain[0], val="train[1:3]"))


def test_lists_of_keys(plain, tmp_path):
    root = keyed(plain[0])
    (tmp_path / "labeled.txt").write_text("i/train5.png m/train5.png\n./i/train0.png x\n")
    (tmp_path / "val.txt").write_text("i/test2.png\r\n")
    lists = {"labeled": str(tmp_path / "labeled.txt"), "val": str(tmp_path / "val.txt")}
    partition = open_plain(root, **lists)
    input_pipeline.check_partition(partition)
    assert list(partition.labeled.ids) == ["i/train5.png", "i/train0.png"]
    assert list(partition.unlabeled.ids) == [f"i/train{n}.png" for n in (1, 2, 3, 4, 6, 7)]
    np.testing.assert_array_equal(partition.labeled[0]["image"], plain[1]["train:5"][0])
    np.testing.assert_array_equal(partition.val[0]["image"], plain[1]["test:2"][0])
    (tmp_path / "labeled.txt").write_text("i/train5.png\ntrain[:2]\n")
    with pytest.raises(
        DataError, match=r"txt:2: no image train\[:2\] \(it is a slice; set data\.labeled "
    ):
        open_plain(root, **lists)
    # A check opens the known keys of a list and reports the unknown ones.
    (tmp_path / "labeled.txt").write_text("i/train5.png\ni/x.png\ni/train0.png\ni/y.png\n")
    noted = []
    with pytest.raises(DataError, match=r"labeled\.txt:2: .* 2 of 4 lines cannot be used"):
        open_plain(root, **lists)
    partition = open_plain(root, **lists, note=lambda *fault: noted.append(fault))
    assert list(partition.labeled.ids) == ["i/train5.png", "i/train0.png"]
    ((part, _, message, count),) = noted
    assert (part, count) == ("labeled", 2)
    assert "labeled.txt:2: no image i/x.png" in message
    (tmp_path / "labeled.txt").write_text("i/train5.png\ni/train0.png\n")
    (tmp_path / "unlabeled.txt").write_text("i/train7.png\ni/train6.png\n")
    partition = open_plain(root, unlabeled=str(tmp_path / "unlabeled.txt"), **lists)
    assert list(partition.unlabeled.ids) == ["i/train7.png", "i/train6.png"]


@pytest.mark.parametrize(
    ("labeled", "unlabeled", "message"),
    [
        (
            "train0\n\nx\ny",
            "",
            r"labeled\.txt:3: no image i/x\.png; line 4: no image i/y\.png\. .*2\.0\.0 \(train: 8",
        ),
        ("train0\n\nx\ny", "", r"2 of 3 lines .* a list for another dataset\? .*data\.labeled"),
        ("train0", "train9", r"unlabeled\.txt:1: no image i/train9\.png\. .*2\.0\.0"),
        ("train0\ntrain0", "", r"data\.labeled .*i/train0\.png is listed twice"),
        ("train0", "train0", r"i/train0\.png is in data\.labeled .* and in data\.unlabeled"),
        ("test0", "", r"i/test0\.png is in data\.labeled .*and in data\.val \(test\)"),
        ("train0", "test0", r"i/test0\.png is in data\.val \(test\) and in data\.unlabeled"),
    ],
)
def test_lists_that_do_not_fit(plain, tmp_path, labeled, unlabeled, message):
    root = keyed(plain[0])
    files = {"labeled": "", "unlabeled": ""}
    for part, text in (("labeled", labeled), ("unlabeled", unlabeled)):
        if text:
            lines = [f"i/{name}.png m.png\n" if name else "\n" for name in text.split("\n")]
            (tmp_path / f"{part}.txt").write_text("".join(lines))
            files[part] = str(tmp_path / f"{part}.txt")
    with pytest.raises(DataError, match=message):
        input_pipeline.check_partition(open_plain(root, **files))


@pytest.mark.parametrize("checked", [False, True], ids=["training", "check"])
def test_a_malformed_list_names_its_bad_lines_and_is_refused(plain, tmp_path, checked):
    root = keyed(plain[0])
    lines = ["i/train0.png m.png", "", "my i/train1.png m.png", "i/train1.png", "i/x.png"]
    lines += [f"i/train2.png m.png {number}" for number in range(6, 30)]
    (tmp_path / "labeled.txt").write_text("\n".join(lines))
    noted = []
    with pytest.raises(DataError) as raised:
        open_plain(
            root,
            labeled=str(tmp_path / "labeled.txt"),
            note=(lambda *fault: noted.append(fault)) if checked else None,
        )
    message = str(raised.value)
    assert "labeled.txt:3: 3 columns, expected 1 or 2: 'my i/train1.png m.png'" in message
    assert "; line 5: no image i/x.png; line 6: 3 columns" in message
    assert "; line 23: 3 columns, expected 1 or 2: 'i/train2.png m.png 23'; and 6 more. " in message
    assert "line 24" not in message
    assert "26 of 28 lines cannot be used" in message
    assert "end a name that contains a blank with a tab" in message
    assert noted == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labeled": ""}, r"data\.labeled is empty.*slice of .*train: 8, test: 3"),
        (
            {"val": ""},
            r"data\.val is empty, and .*test: 3\) has no split validation or val",
        ),
        (
            {"labeled": "train[:x]"},
            r"data\.labeled = 'train\[:x\]': not a slice .*splits are train",
        ),
        (
            {"labeled": "train[:x]+test+train[2]+nothing"},
            r"not a slice .*: train\[:x\] \(.*; train\[2\] \(.*; nothing \(.*splits are train",
        ),
        ({"labeled": "valid[:2]"}, r"data\.labeled = 'valid\[:2\]': no such file or folder"),
        (
            {"image_feature": "image"},
            r"data\.image_feature = 'image'.*features are .*'photo' \(Image\)",
        ),
        ({"label_feature": "number"}, r"data\.label_feature = 'number': .* no image feature"),
        ({"label_feature": "inner"}, r"data\.label_feature = 'inner': .* no image feature"),
        ({"label_map": ""}, r"2\.0\.0: train:\d \(mask\): id 4 with data\.num_classes = 3"),
    ],
)
def test_settings_that_cannot_work(plain, changes, message):
    with pytest.raises(DataError, match=message):
        input_pipeline.check_partition(open_plain(plain[0], **changes))


def test_split_with_nothing_left(plain):
    partition = open_plain(plain[0], train="train[:2]")
    assert len(partition.unlabeled) == 0
    arguments = {"seed": 0, "crop_size": 8, "num_steps": 1}
    message = r"the rest of data\.train \(train\[:2\]\): no unlabelled image"
    with pytest.raises(DataError, match=message):
        input_pipeline.train_stream(
            partition, labeled_batch_size=1, unlabeled_batch_size=1, **arguments
        )


def test_list_without_keys(plain, tmp_path):
    (tmp_path / "labeled.txt").write_text("a.jpg a.png\n")
    with pytest.raises(DataError, match=r"has no image names \(files keys-SPLIT\.txt\)"):
        open_plain(plain[0], labeled=str(tmp_path / "labeled.txt"))


def test_dataset_that_cannot_be_read(plain, tmp_path):
    root = plain[0]
    with pytest.raises(DataError, match=r"data\.root: no folder /nowhere"):
        open_plain("/nowhere")
    with pytest.raises(
        DataError, match=r"data\.root = .*: neither dataset_info\.json nor exactly one version"
    ):
        open_plain(tmp_path)
    write(tmp_path / "old", {}, file_format="tfrecord")
    with pytest.raises(DataError, match=r"old: its files have the format tfrecord.*array_record"):
        open_plain(tmp_path / "old")
    (keyed(root) / "2.0.0/keys-test.txt").write_text("i\tm\tfine\n")
    with pytest.raises(
        DataError, match=r"keys-test\.txt: .* each of the 3 records of split 'test', found 1"
    ):
        open_plain(root)
    (root / "2.0.0/keys-test.txt").unlink()
    shard = root / "2.0.0/plain-train.array_record-00001"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"train:\d: the record cannot be read"):
        input_pipeline.check_partition(open_plain(root))
    shard.unlink()
    with pytest.raises(DataError, match=r"train\.array_record-00001: no such file.* 3 records"):
        open_plain(root)
    (root / "2.0.0/dataset_info.json").write_text("{")
    with pytest.raises(DataError, match=r"not a dataset that TFDS can open"):
        open_plain(root)


def test_pickled_source_reads_the_same(plain):
    source = open_plain(plain[0]).labeled
    source[0]
    data = pickle.dumps(source)
    assert len(data) < 4000
    np.testing.assert_array_equal(pickle.loads(data)[1]["image"], source[1]["image"])


def test_stream_of_worker_processes(plain):
    arguments = {
        "seed": 0, "crop_size": 16, "labeled_batch_size": 2, "unlabeled_batch_size": 2,
        "num_steps": 2,
    }  # fmt: skip
    streams = []
    for num_workers in (0, 1):
        with input_pipeline.train_stream(
            open_plain(plain[0]), num_workers=num_workers, **arguments
        ) as stream:
            streams.append(list(stream))
    for first, second in zip(*streams, strict=True):
        for part in first:
            for name, rows in first[part].items():
                np.testing.assert_array_equal(rows, second[part][name])


def test_inspection_goes_on_past_damaged_records(plain):
    root = plain[0]
    found = inspect_partition(open_plain(root), as_colors=False, num_threads=2)
    assert (found.errors, found.warnings) == ({}, {})
    assert found.parts["labeled"].num_masks == 2
    # The reader returns nothing for three records of the second shard.
    shard = root / "2.0.0/plain-train.array_record-00001"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    found = inspect_partition(open_plain(root, label_map=""), as_colors=False, num_threads=2)
    assert found.errors[findings.VALUES].counts == {"labeled": 2, "val": 3}
    damaged = found.errors[findings.IMAGE].counts
    assert list(damaged) == ["unlabeled"]
    assert 1 <= damaged["unlabeled"] <= 3
    assert found.parts["unlabeled"].usable.sum() == 6 - damaged["unlabeled"]
    assert np.flatnonzero(found.values).tolist() == [0, 4, 9, 255]
