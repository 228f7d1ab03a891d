"""Draws a partition: which training images keep their labels."""

import dataclasses
import fnmatch
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


@dataclasses.dataclass(frozen=True)
class Choice:
    """How labelled images are chosen among the training images.

    Attributes:
        count: Number of labelled images.
        seed: Seed of a random draw.
        kind: 'fine' or 'coarse' draws among such masks alone, 'any' among all.
        match: Only images whose name matches this pattern of the shell, such as '*0006R0*'.
        every: Take every n-th of them in the order of the list instead of a random draw; 0 = draw.
        start: The first image to take, counted from 1, if `every` is given.
        rest: Unlabelled images: 'all' others, or only those that do not 'match'.
    """

    count: int
    seed: int = 0
    kind: str = "any"
    match: str = "*"
    every: int = 0
    start: int = 1
    rest: str = "all"

    def matches(self, name: str) -> bool:
        """Whether labelled images may have this name."""
        return fnmatch.fnmatchcase(name, self.match)

    def take(self, names: Sequence[str]) -> list[int]:
        """Indices of the labelled images among the candidates, ascending."""
        if self.every:
            return list(range(self.start - 1, len(names), self.every))[: self.count]
        return draw(names, self.count, self.seed)


def prepare(
    data: str,
    output: str,
    choice: Choice,
    *,
    log: Callable[[str], None] = print,
) -> None:
    """Writes `labeled.txt` and `unlabeled.txt` into a folder, as `image label` lines.

    Args:
        data: A prepared dataset, or a list of `image label` lines of all training images.
        output: The folder; made if absent.
        choice: Which images are labelled.
        log: Takes a line of text about what is done.

    Raises:
        DataError: The data cannot be read, have too few images, or the folder holds other lists.
    """
    pairs, kinds, path = _read(data)
    if choice.kind != "any" and kinds is None:
        raise DataError(
            f"--kind={choice.kind}: {path} does not say how carefully a mask was drawn; only a "
            "prepared dataset does. Leave --kind out."
        )
    candidates = [
        i
        for i, (name, _) in enumerate(pairs)
        if choice.matches(name) and (choice.kind == "any" or kinds[i] == choice.kind)
    ]
    taken = _checked(choice, candidates, [pairs[i][0] for i in candidates], path)
    labeled = {candidates[i] for i in taken}
    parts = {
        "labeled.txt": [pair for i, pair in enumerate(pairs) if i in labeled],
        "unlabeled.txt": [
            pair
            for i, pair in enumerate(pairs)
            if i not in labeled and (choice.rest == "all" or not choice.matches(pair[0]))
        ],
    }
    if not parts["unlabeled.txt"]:
        raise DataError(f"--rest=others: every image of {path} matches --from={choice.match}.")
    separator = "\t" if any(" " in name for pair in pairs for name in pair) else " "
    for name, lines in parts.items():
        text = "".join(f"{separator.join(line)}\n" for line in lines)
        _write(os.path.join(output, name), text.encode("utf-8", "surrogateescape"))
    numbers = [len(lines) for lines in parts.values()]
    log(f"{output}: {numbers[0]} labelled and {numbers[1]} unlabelled images.")


def _checked(choice: Choice, candidates: list[int], names: list[str], path: str) -> list[int]:
    """The chosen indices among the candidates; raises DataError if there are too few."""
    which = "" if choice.match == "*" else f" that match --from={choice.match}"
    which += "" if choice.kind == "any" else f" with {choice.kind} masks"
    if choice.start != 1 and not choice.every:
        raise DataError(
            f"--start={choice.start} has no effect without --every, because the images are drawn."
        )
    if choice.every < 0 or choice.start < 1:
        raise DataError(f"--every={choice.every} --start={choice.start}: must be at least 0 and 1.")
    if not 0 < choice.count < len(candidates):
        raise DataError(
            f"--count={choice.count}: must be from 1 to below the {len(candidates)} images of "
            f"{path}{which}."
        )
    taken = choice.take(names)
    if len(taken) < choice.count:
        raise DataError(
            f"--count={choice.count}: --every={choice.every} from --start={choice.start} gives "
            f"only {len(taken)} of the {len(candidates)} images of {path}{which}."
        )
    return taken


def _read(data: str) -> tuple[list[tuple[str, str]], list[str] | None, str]:
    """The pairs, the kinds of the masks if known, and the file that they come from."""
    if not os.path.isdir(data):
        path = lists.resolve_list(data, root=os.curdir, field="--data")
        return list(zip(*lists.read_pairs(path, field="--data"), strict=True)), None, path
    # Imported here, because TFDS takes a second to import and a list does not need it.
    from input_pipeline.sources.record_dataset import RecordDataset

    dataset = RecordDataset(data, field="--data")
    rows = dataset.read_keys("train")
    if rows is None:
        raise DataError(
            f"--data={data}: the dataset has no file keys-train.txt, so its images have no names. "
            "Give a dataset made by `python -m input_pipeline.prepare`, or a list."
        )
    keys, masks, kinds = rows
    return list(zip(keys, masks, strict=True)), list(kinds), dataset.folder


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
