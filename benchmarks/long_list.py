"""The cost of a long list of unlabelled images: time of a start and of a batch, memory.

    python benchmarks/long_list.py --images=1000,10000,100000,1000000
    python benchmarks/long_list.py --images=1000,1000000 --source=tfds

Opens and checks a partition with each list and reads batches from it, in a separate process each.
The import of Grain and TFDS, which does not depend on the list, is timed separately.
The folders in a long list are links to one folder, so that every path leads to a small image. A
TFDS dataset in ArrayRecord has a small record for each image, and is read by a slice and
by a list of keys.
"""

import argparse
import io
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
import PIL.Image

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
LABELED = 200
IN_FOLDER = 1_000
ROWS, WARM_UP, BATCHES = 8, 20, 200


def path_of(number: int) -> str:
    """A path of the usual length and form in a large collection."""
    folder, rest = divmod(number, IN_FOLDER)
    return f"unlabeled/part_{folder:04}/frame_{rest:08}.jpg"


def make_data(root: pathlib.Path, counts: list[int]) -> None:
    """Writes a list `COUNT.txt` for each count, lists of labelled images, and all images."""
    names = [f"images/{number}" for number in range(2 * LABELED)]
    rows = [f"{name}.jpg {name}.png\n" for name in names]
    (root / "labeled.txt").write_text("".join(rows[:LABELED]))
    (root / "val.txt").write_text("".join(rows[LABELED:]))
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    first = (root / path_of(0)).parent
    for folder in (root / "images", first):
        folder.mkdir(parents=True)
    for path in [f"{name}.jpg" for name in names] + [path_of(n) for n in range(IN_FOLDER)]:
        PIL.Image.fromarray(pixels).save(root / path)
    for name in names:
        PIL.Image.fromarray(pixels[..., 0] % 3).save(root / f"{name}.png")
    for number in range(IN_FOLDER, max(counts), IN_FOLDER):
        (root / path_of(number)).parent.symlink_to(first)
    for count in counts:
        with open(root / f"{count}.txt", "w") as file:
            file.writelines(f"{path_of(number)}\n" for number in range(count))


def make_records(root: pathlib.Path, counts: list[int]) -> None:
    """Writes a dataset with a split `imagesCOUNT` for each count, files of keys, and lists of keys.

    The first images of a split are its labelled ones; the validation split is `val`.
    """
    import tensorflow_datasets as tfds

    features = {
        "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
        "label": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
    }
    identity = tfds.core.DatasetIdentity(
        name="long_list", version=tfds.core.Version("1.0.0"), data_dir=str(root), module_name="none"
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        features=tfds.features.FeaturesDict(features),
        disable_shuffling=True,
    )
    writer = tfds.core.SequentialWriter(
        info, max_examples_per_shard=100_000, file_format="array_record"
    )
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    files = [io.BytesIO(), io.BytesIO()]
    PIL.Image.fromarray(pixels).save(files[0], "jpeg", quality=50)
    PIL.Image.fromarray(pixels[..., 0] % 3).save(files[1], "png")
    example = {"image": files[0].getvalue(), "label": files[1].getvalue()}
    splits = {"val": LABELED, **{f"images{count}": count for count in counts}}
    writer.initialize_splits(list(splits))
    for split, count in splits.items():
        for start in range(0, count, IN_FOLDER):
            writer.add_examples({split: [example] * min(IN_FOLDER, count - start)})
        keys = [f"{split}/{path_of(number)}" for number in range(count)]
        rows = (f"{key}\t{key}.png\tfine\n" for key in keys)
        (root / f"keys-{split}.txt").write_text("".join(rows))
        if split != "val":
            (root / f"{count}.txt").write_text("\n".join(keys[LABELED:]) + "\n")
    writer.close_all()


def open_data(root: str, unlabeled: str, source: str) -> dict:
    """Seconds to import, to open and check, and per batch; and the peak memory."""
    sys.path.insert(0, str(REPOSITORY))
    start = time.perf_counter()
    import grain  # noqa: F401

    import input_pipeline

    if source == "tfds":
        import tensorflow_datasets  # noqa: F401
    imported = time.perf_counter() - start

    parts = {"labeled": "labeled.txt", "unlabeled": unlabeled, "val": "val.txt"}
    if source == "tfds":
        split = f"images{unlabeled.partition('.')[0]}"
        parts |= {"labeled": f"{split}[:{LABELED}]", "val": "val"}
        if not unlabeled.endswith(".txt"):
            parts["unlabeled"] = f"{split}[{LABELED}:]"
    start = time.perf_counter()
    partition = input_pipeline.open_partition(source=source, root=root, **parts, num_classes=3)
    input_pipeline.check_partition(partition)
    with input_pipeline.train_stream(
        partition,
        seed=0,
        crop_size=32,
        labeled_batch_size=ROWS,
        unlabeled_batch_size=ROWS,
        num_steps=WARM_UP + BATCHES,
        num_threads=1,
    ) as batches:
        next(batches)
        opened = time.perf_counter() - start
        for _ in range(WARM_UP - 1):
            next(batches)
        start = time.perf_counter()
        for _ in range(BATCHES):
            next(batches)
        seconds = (time.perf_counter() - start) / BATCHES
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "images": len(partition.unlabeled),
        "import_seconds": imported,
        "start_seconds": opened,
        "batch_ms": 1e3 * seconds,
        "peak_mib": peak,
    }


def measure(counts: list[int], source: str) -> list[dict]:
    """A row for each list."""
    found, in_records = [], source == "tfds"
    with tempfile.TemporaryDirectory() as root:
        (make_records if in_records else make_data)(pathlib.Path(root), counts)
        lists = [
            f"{count}{suffix}" for count in counts for suffix in ("", ".txt")[not in_records :]
        ]
        for unlabeled in lists:
            command = [sys.executable, __file__, f"--open={root}", f"--unlabeled={unlabeled}"]
            command.append(f"--source={source}")
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found.append({"list": unlabeled, **json.loads(output)})
            if in_records:
                print("by a list of keys" if unlabeled.endswith(".txt") else "by a slice", end=": ")
            print(
                "{images:,} images: {start_seconds:.2f} s to the first batch (after imports of "
                "{import_seconds:.2f} s), {batch_ms:.2f} ms per batch, {peak_mib:.0f} MiB".format(
                    **found[-1]
                ),
                flush=True,
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--images", default="1000,10000,100000,1000000", help="lengths of the lists"
    )
    parser.add_argument("--source", choices=("folder", "tfds"), default="folder")
    parser.add_argument("--results", type=pathlib.Path, help="JSON file to write")
    parser.add_argument("--open", help=argparse.SUPPRESS)
    parser.add_argument("--unlabeled", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.open:
        print(json.dumps(open_data(arguments.open, arguments.unlabeled, arguments.source)))
        return
    counts = [int(count) for count in arguments.images.split(",")]
    if min(counts) < 1:
        parser.error(f"--images={arguments.images}: give at least 1")
    found = measure(counts, arguments.source)
    if arguments.results:
        # Imported here because it loads JAX, whose memory must not be measured.
        import environment

        record = {**environment.describe(), "results": found}
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        arguments.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
