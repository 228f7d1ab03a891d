"""Guesses settings that are left unset from the images in folders, once for each run."""

import functools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import ml_collections
from tqdm import tqdm

from input_pipeline import near_names
from input_pipeline.errors import DataError
from input_pipeline.findings import Inspection
from input_pipeline.inspection import inspect, proposals
from input_pipeline.inspection import text as data_report
from input_pipeline.inspection.proposals import Proposal
from input_pipeline.partitions import folders as folder_partition
from input_pipeline.partitions import partition as partitions
from input_pipeline.partitions.paired_folders import images_beside
from input_pipeline.partitions.partition import Partition
from input_pipeline.sources.labels import IGNORE
from rcc_jax.config import method_group, named_weights, networks, schema
from rcc_jax.config.recorded import recorded_fields
from rcc_jax.errors import ConfigError

# Where parts are looked for below data.root; the first that exists is used.
LABELED, VAL = ("labeled.txt", "masks", "train/masks"), ("val.txt", "val/masks")
UNLABELED_LIST, UNLABELED_FOLDER = "unlabeled.txt", "unlabeled"
SHARE = "0.2"
# Larger crops need more memory than many devices have.
LARGEST_CROP = 513
# Number of masks whose size is read if their values are not needed.
_MANY_SIZES = 200
_MAPS = ("data.label_map", "data.colormap")
_OF_MASKS = ("data.num_classes", "data.crop_size")

Guess = tuple[dict[str, Any], str]  # Values by field, and the reason.


def resolve_auto(
    config: ml_collections.ConfigDict,
    workdir: str | os.PathLike,
    *,
    may_guess: bool = True,
    log: Callable[[str], None] = print,
    note: Callable[[str], object] | None = None,
) -> None:
    """Sets the fields that are unset; values that were given are never changed.

    If the folder holds a run, the values are taken from its `config.json` and no data are read, so
    a resumed run keeps its settings. Otherwise labelled and validation masks are read: all of them
    if they tell the classes, a sample for the crop size alone. First weights 'auto' are chosen
    later, when the training starts, unless the run has recorded them.

    Args:
        config: The configuration; changed in place.
        workdir: Folder of the run.
        may_guess: Whether the data may be read; if not, the folder must hold a run.
        log: Called with a line of text for each guess.
        note: Called with the reason if the classes cannot be told from the masks; they then stay
            unset. Other faults surface when the data are opened. If None, all of these are raised.

    Raises:
        ConfigError, DataError: If a field cannot be guessed or the data cannot be used.
    """
    left = unset(config)
    if not left:
        return
    recorded = recorded_fields(workdir)
    if recorded is not None:
        root = recorded.get("data.root")
        if root != config.data.root:
            log(
                f"{workdir} holds a run on data.root = {root!r} and its settings are kept; name "
                "another --workdir for other data"
            )
        config.update_from_flattened_dict({f: recorded[f] for f in left if f in recorded})
        return
    if not may_guess:
        raise ConfigError(f"--workdir={workdir}: there is no run in this folder; train first")
    # The order matters: each group of guesses uses the fields set by the one before.
    for guesses in (_parts, functools.partial(_masks, note=note), _method):
        for fields, reason in guesses(config):
            config.update_from_flattened_dict(fields)
            log(f"guessed {data_report.flags(Proposal(fields, ''))} ({reason})")


def unset(config: ml_collections.ConfigDict) -> list[str]:
    """The fields to be guessed from the data."""
    data, method = config.data, config.method
    of_a_folder = data.source == "folder"
    # The method needs unlabelled images, but no field names any.
    uses_some = method_group.uses_unlabeled(method.name)
    no_unlabeled = not data.unlabeled and not data.train and uses_some
    left = {
        "data.labeled": of_a_folder and not data.labeled,
        "data.unlabeled": of_a_folder and no_unlabeled,
        "data.val": of_a_folder and not data.val,
        "data.num_classes": of_a_folder and data.num_classes == 0,
        "data.crop_size": of_a_folder and data.crop_size == 0,
        "method.name": method.name == "auto",
        "method.top_n": method.top_n == 0 and "top_n" in method_group.used(config),
        # Decided last, by `training/first_weights.py`: it may need a download.
        **{
            member.field: member.model.pretrained == named_weights.AUTO
            for member in networks.members(config)
        },
    }
    as_they_are = left["data.num_classes"] and not data.label_map and not data.colormap
    left |= dict.fromkeys(_MAPS, as_they_are)
    return [field for field, is_left in left.items() if is_left]


def _parts(config: ml_collections.ConfigDict) -> Iterator[Guess]:
    """Lists and folders of the usual names."""
    left = unset(config)
    if config.data.source != "folder":
        return
    root = folder_partition.find_root(config.data.root)
    if "data.labeled" in left:
        place = _first(root, LABELED)
        if place is None:
            given = f"data.root = {config.data.root!r}" if config.data.root else "data.root not set"
            hints = [near_names.hint(place, root) for place in LABELED]
            raise ConfigError(
                f"config.data.labeled is not set, and {root} ({given}) has none of "
                f"{', '.join(LABELED)}. Name a list of `image label` lines or a folder of masks "
                "with --config.data.labeled=..., or set --config.data.root to the folder of "
                f"your data.{next(filter(None, hints), '')}"
            )
        yield {"data.labeled": place}, f"{_kind(root, place)} in {root}"
    if "data.val" in left:
        place = _first(root, VAL)
        if place is None:
            yield {"data.val": SHARE}, "no validation images found: a share of the labelled ones"
        else:
            yield {"data.val": place}, f"{_kind(root, place)} in {root}"
    if "data.unlabeled" in left:
        yield from unlabeled(config)


def unlabeled(config: ml_collections.ConfigDict) -> Iterator[Guess]:
    """The list or the folders of unlabelled images below data.root, if there are any.

    Raises:
        DataError: If data.root does not exist.
    """
    root = folder_partition.find_root(config.data.root)
    listed = os.path.isfile(os.path.join(root, UNLABELED_LIST))
    beside = images_beside(config.data.labeled)
    folders = [x for x in (beside, UNLABELED_FOLDER) if os.path.isdir(os.path.join(root, x))]
    if listed:
        yield {"data.unlabeled": UNLABELED_LIST}, f"a list in {root}"
    elif folders:
        yield {"data.unlabeled": ",".join(folders)}, "all images there without a mask"


def _first(root: str, places: tuple[str, ...]) -> str | None:
    return next((place for place in places if os.path.exists(os.path.join(root, place))), None)


def _kind(root: str, place: str) -> str:
    return "a folder of masks" if os.path.isdir(os.path.join(root, place)) else "a list"


def _masks(
    config: ml_collections.ConfigDict, note: Callable[[str], object] | None
) -> Iterator[Guess]:
    """The classes, and the crop size from the sizes of the masks, which equal their images'."""
    left, fields = unset(config), config.data
    if not any(name in left for name in _OF_MASKS):
        return
    opened = {"source": "folder", "unlabeled": None, "num_classes": IGNORE}
    opened |= {name: fields[name] for name in ("root", "labeled", "val", "train")}
    if note is None:
        partition = partitions.open_partition(**opened)
    else:
        partition = partitions.open_what_can_be(lambda *_: None, **opened)
    if partition is None:
        return
    need_values = _MAPS[0] in left
    try:
        found, sizes = _survey(partition, need_values, fields.num_threads)
    except DataError:
        if note is None:
            raise
        names = " and ".join(f"config.{name}" for name in left if name in _OF_MASKS)
        note(f"{names}: not set, and no mask could be read to guess from. Repair the masks.")
        return
    if "data.num_classes" in left and need_values:
        try:
            yield _classes(fields, found)
        except ConfigError as error:
            if note is None:
                raise
            note(str(error))
    elif "data.num_classes" in left:
        yield _classes_of_map(fields)
    if "data.crop_size" in left:
        crop = proposals.crop_size(sizes, 0, LARGEST_CROP, multiple=networks.crop_multiple(config))
        yield dict(crop.fields), crop.meaning


def _survey(
    partition: Partition, need_values: bool, num_threads: int
) -> tuple[Inspection, Counter]:
    """The contents of the masks, and the number of masks of each size."""
    parts = [part for part in (partition.labeled, partition.val) if len(part)]
    total = sum(map(len, parts)) if need_values else None
    with tqdm(
        desc="reading", total=total, unit="mask", disable=None, leave=False, dynamic_ncols=True
    ) as bar:
        return inspect.survey_masks(
            parts or [partition.labeled],
            num_threads=max(num_threads, os.cpu_count() or 1),
            at_most=None if need_values else _MANY_SIZES,
            progress=bar.update,
        )


def _classes(fields: ml_collections.ConfigDict, found: Inspection) -> Guess:
    guess = proposals.classes(found.values, found.colors)
    if guess is None:
        raise ConfigError(_unclear(fields, found))
    named = len(fields.class_names)
    if named > guess.fields["data.num_classes"]:
        return {**guess.fields, "data.num_classes": named}, f"class_names; {guess.meaning}"
    return dict(guess.fields), guess.meaning


def _unclear(fields: ml_collections.ConfigDict, found: Inspection) -> str:
    values = found.values.nonzero()[0].tolist()
    shown = ", ".join(map(str, values[:8])) + (", ..." if len(values) > 8 else "")
    held = [f"the values {shown}"] if values else []
    held += [f"{len(found.colors)} colours"] if found.colors else []
    text = (
        f"config.data.num_classes is not set, and the masks of data.labeled = {fields.labeled!r} "
        f"do not tell the classes: they hold {' and '.join(held)}. Set it, and data.label_map or "
        "data.colormap if these are not ids."
    )
    for proposal in proposals.for_values(found.values, 0)[:1]:
        text += f" Perhaps {proposal.meaning}"
        text += f": {data_report.flags(proposal)}" if proposal.fields else "."
    return text


def _classes_of_map(fields: ml_collections.ConfigDict) -> Guess:
    """The number of classes in a table; a malformed one is rejected later, when it is parsed."""
    ids = [int(number) for number in re.findall(r":\s*(\d+)", fields.label_map or fields.colormap)]
    largest = max((number for number in ids if number != IGNORE), default=1)
    name = "label_map" if fields.label_map else "colormap"
    return {"data.num_classes": max(2, largest + 1)}, f"the ids of data.{name}"


def _method(config: ml_collections.ConfigDict) -> Iterator[Guess]:
    left, num_classes = unset(config), config.data.num_classes
    if not num_classes:  # Already reported.
        return
    if "method.name" in left:
        name = "rcc" if num_classes >= 3 else "unimatch"
        yield {"method.name": name}, f"{num_classes} classes; rcc compares pairs of three or more"
    if "method.top_n" not in left:
        return
    if "top_n" not in method_group.used(config):
        config.method.top_n = None
        return
    players = min(schema.PLAYERS, max(3, num_classes))
    if num_classes >= 3:
        yield {"method.top_n": players}, f"{num_classes} classes"
    else:  # The checks will reject this method for so few classes; no guess to report.
        config.method.top_n = players
