"""TFDS datasets as sources: all of them by slices, prepared ones also by lists of keys."""

import pickle

import numpy as np
import pytest

import input_pipeline
from input_pipeline import DataError, findings
from input_pipeline.inspection.inspect import inspect_partition
from tests.support.record_datasets import keyed, open_plain, write


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
