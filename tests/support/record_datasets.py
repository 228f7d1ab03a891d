"""Small data sets as TFDS writes them, with and without keys."""

import io

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds

import input_pipeline


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
