"""Draws a partition: which training images keep their labels."""

import hashlib
import os
from collections.abc import Callable, Sequence

from input_pipeline.errors import DataError
from input_pipeline.files import write_atomically
from input_pipeline.partitions import lists
from input_pipeline.prepare import storage


def draw(keys: Sequence[str], count: int, seed: int) -> list[int]:
    """Draws images at random, without replacement.

    An image's rank is a hash of the seed and its key. So a draw does not depend on the order of
    the keys or on a version of a library, and a larger one of the same seed contains a smaller
    one.

    Args:
        keys: The images.
        count: How many to draw, at most all of them.
        seed: Another seed draws others.

    Returns:
        Their indices, ascending.
    """
    ranks = [hashlib.sha256(f"{seed}:{key}".encode()).digest() for key in keys]
    return sorted(sorted(range(len(keys)), key=ranks.__getitem__)[:count])


def prepare(
    data: str,
    output: str,
    *,
    count: int,
    seed: int,
    kind: str = "any",
    report: Callable[[str], None] = print,
) -> None:
    """Writes `labeled.txt` and `unlabeled.txt` into a folder, as `image label` lines.

    Args:
        data: A prepared dataset, or a list of `image label` lines of all training images.
        output: The folder; made if absent.
        count: Number of labelled images.
        seed: Of the draw.
        kind: 'fine' or 'coarse' draws among such masks alone, 'any' among all.
        report: Takes a line of text about what is done.

    Raises:
        DataError: Data that cannot be read, fewer images than that, or other lists in the way.
    """
    pairs, kinds, path = _read(data)
    if kind != "any" and kinds is None:
        raise DataError(
            f"--kind={kind}: {path} does not say how carefully a mask was drawn; only a prepared "
            "dataset does. Leave --kind out."
        )
    candidates = [i for i in range(len(pairs)) if kind == "any" or kinds[i] == kind]
    if not 0 < count < len(candidates):
        raise DataError(
            f"--count={count}: must be from 1 to below the {len(candidates)} images of {path}"
            f"{'' if kind == 'any' else f' with {kind} masks'}."
        )
    drawn = {candidates[i] for i in draw([pairs[i][0] for i in candidates], count, seed)}
    parts = {
        "labeled.txt": [pair for i, pair in enumerate(pairs) if i in drawn],
        "unlabeled.txt": [pair for i, pair in enumerate(pairs) if i not in drawn],
    }
    separator = "\t" if any(" " in name for pair in pairs for name in pair) else " "
    for name, lines in parts.items():
        text = "".join(f"{separator.join(line)}\n" for line in lines)
        _write(os.path.join(output, name), text.encode("utf-8", "surrogateescape"))
    report(f"{output}: {count} labelled and {len(pairs) - count} unlabelled images.")


def _read(data: str) -> tuple[list[tuple[str, str]], list[str] | None, str]:
    """Pairs, the kinds of the masks where known, and the file they are from."""
    if not os.path.isdir(data):
        path = lists.resolve_list(data, root=os.curdir, field="--data")
        return list(zip(*lists.read_pairs(path, field="--data"), strict=True)), None, path
    # Here and not above: TFDS takes a second to import, and a list needs none of it.
    from input_pipeline.sources.record_dataset import RecordDataset

    dataset = RecordDataset(data, field="--data")
    rows = dataset.read_keys("train")
    if rows is None:
        raise DataError(
            f"--data={data}: the dataset has no file keys-train.txt, so its images have no names. "
            "Give a dataset made by `python -m input_pipeline.prepare`, or a list."
        )
    return [(key, label) for key, label, _ in rows], [kind for *_, kind in rows], dataset.folder


def _write(path: str, content: bytes) -> None:
    if os.path.exists(path):
        with open(path, "rb") as file:
            if file.read() == content:
                return
        raise DataError(f"{path}: holds another list. Remove it, or take another --output.")
    try:
        os.makedirs(os.path.dirname(path) or os.curdir, exist_ok=True)
        with storage.full_disk_named(os.path.dirname(path) or os.curdir):
            write_atomically(path, content)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}).") from None
