"""`--mode=check`: checks the settings and data of a run before it starts."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator, Sequence

import ml_collections
import numpy as np
from tqdm import tqdm

from input_pipeline import findings
from input_pipeline.batches.views import UnlabeledViews
from input_pipeline.errors import DataError
from input_pipeline.files import write_atomically
from input_pipeline.findings import Inspection
from input_pipeline.inspection import inspect, proposals, pseudo
from input_pipeline.inspection import text as data_report
from input_pipeline.inspection.proposals import Proposal
from input_pipeline.partitions import folders, pseudo_masks
from input_pipeline.partitions import partition as partitions
from input_pipeline.partitions.partition import Partition
from input_pipeline.partitions.pseudo_masks import PseudoSource
from input_pipeline.sources.labels import IGNORE
from rcc_jax.config import checks, guess, method_group, networks, schema
from rcc_jax.errors import ConfigError
from rcc_jax.methods import METHODS
from rcc_jax.reporting import contact_sheet, palettes, sheets

REPORT, SHEET = "check.json", "check.png"


def check(
    config: ml_collections.ConfigDict, folder: str | os.PathLike, faults: Sequence[str] = ()
) -> bool:
    """Reads all data, prints the findings and writes them into a folder.

    Args:
        config: The configuration.
        folder: Folder of `check.json` and of the contact sheet `check.png`; created if absent.
        faults: The reasons why fields could not be guessed from the data; these are still unset.

    Returns:
        Whether the run can be trained.

    Raises:
        ConfigError: If the folder cannot be written to.
    """
    folder = pathlib.Path(folder)
    found = Inspection()
    for message in (*faults, *_faults(config)):
        found.errors[findings.SETTINGS].add("settings", message)
    partition = _open(config, found)
    masks = _open_pseudo(config, partition, found)
    if partition is not None:
        total = sum(len(getattr(partition, part)) for part in findings.PARTS)
        total, threads = total + len(masks or ()), max(config.data.num_threads, os.cpu_count() or 1)
        with tqdm(
            desc="reading", total=total, unit="image", disable=None, leave=False, dynamic_ncols=True
        ) as bar:
            inspect.inspect_partition(
                partition,
                as_colors=bool(config.data.colormap),
                num_threads=threads,
                required=[part for part, text in _lists(config).items() if text is not None],
                progress=bar.update,
                found=found,
            )
            if masks is not None:
                pseudo.inspect_masks(masks, found, num_threads=threads, progress=bar.update)
    if not _classes_known(config):
        found.warnings.pop(findings.ABSENT, None)  # The classes are unknown.
    proposed = list(_propose(config, found))
    names = ()
    if partition is not None and _classes_known(config):
        names = partition.class_names[: partition.num_classes]
    print(data_report.as_text(found, names, proposed), flush=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        report = data_report.as_dict(found, names, proposed)
        write_atomically(folder / REPORT, json.dumps(report, indent=2) + "\n")
        print(f"wrote {folder / REPORT}", flush=True)
        if partition is not None and _draw(partition, found, config, folder / SHEET):
            print(f"wrote {folder / SHEET}", flush=True)
    except OSError as error:
        raise ConfigError(
            f"--workdir={folder}: cannot write there ({error.strerror}); name a folder that you "
            "may write to"
        ) from None
    return not found.errors


def _faults(config: ml_collections.ConfigDict) -> Iterator[str]:
    """Faults of the settings that are known by now."""
    # If no unlabelled images were found by now, that is a fault.
    left = [field for field in guess.unset(config) if field != "data.unlabeled"]
    return checks.faults(config, left=left)


def _classes_known(config: ml_collections.ConfigDict) -> bool:
    """Whether the number of classes is set to a value that masks can hold."""
    return 2 <= config.data.num_classes <= IGNORE


def _can_draw(config: ml_collections.ConfigDict) -> bool:
    """Whether views can be drawn with these settings."""
    return config.data.crop_size >= 1 and config.seed >= 0


def _open(config: ml_collections.ConfigDict, found: Inspection) -> Partition | None:
    """Opens everything that can be opened and records the faults of the rest."""
    fields = config.data
    if fields.source not in schema.fields()["data.source"].choices:
        return None
    names = ("source", "root", "train", "label_map", "colormap", "image_feature", "label_feature")
    shared = {name: fields[name] for name in names}
    # Even without known classes, opening the masks shows which ones can be read.
    known = _classes_known(config) or fields.source == "scenes"
    shared["num_classes"] = fields.num_classes if known else IGNORE
    named = len(fields.class_names) == shared["num_classes"]
    shared["class_names"] = tuple(fields.class_names) if named else ()

    def note(part: str, kind: str, message: str, count: int) -> None:
        found.errors[kind].add(part, message, count)

    partition = partitions.open_what_can_be(note, **shared, **_lists(config))
    if partition is not None:
        for part, fault in partition.faults_of_names():
            note(part, findings.UNLISTED, fault, 1)
    return partition


def _open_pseudo(
    config: ml_collections.ConfigDict, partition: Partition | None, found: Inspection
) -> PseudoSource | None:
    """The pseudo masks that the method trains on; None if there are none or they cannot be found.

    They belong to unlabelled images; if those are missing, that is the fault to report.
    """
    if not config.data.pseudo or partition is None or not len(partition.unlabeled):
        return None
    if not _classes_known(config) or config.method.name not in METHODS:
        return None
    part = method_group.build(config).pseudo_images
    if part not in pseudo_masks.PARTS:  # A fault of the settings.
        return None
    try:
        return pseudo_masks.open_unchecked(
            config.data.pseudo, partition.unlabeled, part, partition.num_classes
        )
    except DataError as error:
        found.errors[findings.PSEUDO].add("pseudo", str(error))
        return None


def _lists(config: ml_collections.ConfigDict) -> dict[str, str | None]:
    """The setting of each part; None for unlabelled images if the method uses none."""
    has_unlabeled = method_group.uses_unlabeled(config.method.name)
    return {
        "labeled": config.data.labeled,
        "val": config.data.val,
        "unlabeled": config.data.unlabeled if has_unlabeled else None,
    }


def _propose(
    config: ml_collections.ConfigDict, found: Inspection
) -> Iterator[tuple[str, Proposal]]:
    """Yields the kind of a fault (or 'hint') and the settings that fix it."""
    fields = config.data
    num_ids = sum(part.num_masks for part in found.parts.values())
    mixed = found.colors and not fields.colormap and num_ids
    if mixed:
        meaning = f"{num_ids} other masks hold ids: export these masks with ids too"
        yield findings.COLORED, Proposal({}, meaning)
    proposal = _more_validation(config, found)
    if proposal is not None:
        yield "hint", proposal
    if not _classes_known(config):  # All other proposals depend on the classes.
        return
    alone = _for_method(config, Proposal({}, "this number of classes needs it"))
    if alone.fields:
        yield findings.SETTINGS, alone
    pixels = sum(part.pixels for part in found.parts.values()) if found.parts else np.zeros(256)
    kind = findings.NO_USE if findings.NO_USE in found.errors else findings.VALUES
    if kind in found.errors and not fields.colormap:
        # A new table must map the values of the valid masks too.
        counts = found.values if fields.label_map else found.values + pixels
        for proposal in proposals.for_values(counts, fields.num_classes, fields.label_map):
            yield kind, _for_method(config, proposal)
    if found.colors and not mixed:
        for proposal in proposals.for_colors(found.colors, fields.num_classes, fields.colormap):
            kind = findings.VALUES if fields.colormap else findings.COLORED
            yield kind, _for_method(config, proposal)
    if not found.errors and not fields.class_names and fields.source != "scenes":
        proposal = proposals.num_classes(pixels, fields.num_classes)
        if proposal is not None:
            yield "hint", _for_method(config, proposal)
    sizes = sum((part.sizes for part in found.parts.values()), start=type(found.colors)())
    proposal = proposals.crop_size(sizes, fields.crop_size, multiple=networks.crop_multiple(config))
    if proposal is not None:
        yield "hint", proposal


def _more_validation(config: ml_collections.ConfigDict, found: Inspection) -> Proposal | None:
    if not found.parts:
        return None
    fields, labeled, val = config.data, found.parts["labeled"], found.parts["val"]
    absent = []
    if val.num_masks == len(val.usable):  # Unreadable masks may hold any class.
        missing = np.flatnonzero((labeled.images > 0) & (val.images == 0)).tolist()
        names = dict(enumerate(fields.class_names or map(str, range(fields.num_classes))))
        absent = [names[number] for number in missing if number in names]
    is_share = fields.source == "folder" and folders.is_share(
        os.path.expanduser(fields.root), fields.val
    )
    return proposals.validation(
        len(labeled.usable), len(val.usable), absent, float(fields.val) if is_share else None
    )


def _for_method(config: ml_collections.ConfigDict, proposal: Proposal) -> Proposal:
    """Adapts the method to the number of classes: fewer players, or no consensus term."""
    players = method_group.used(config).get("top_n")
    num_classes = proposal.fields.get("data.num_classes", config.data.num_classes)
    if players is None or num_classes >= players:
        return proposal
    if num_classes >= 3:
        fields = {**proposal.fields, "method.top_n": num_classes}
        return dataclasses.replace(proposal, fields=fields)
    ((field, value),) = method_group.method_class(config).without_consensus().items()
    fields = {**proposal.fields, f"method.{field}": value}
    return dataclasses.replace(proposal, fields=fields)


def _draw(partition: Partition, found: Inspection, config, path: pathlib.Path) -> bool:
    if not _can_draw(config):
        return False
    views, crop = method_group.views(config), config.data.crop_size
    picture = contact_sheet.draw(
        partition,
        {part: found.parts[part].usable for part in findings.PARTS},
        crop_size=crop,
        views=views
        and UnlabeledViews(crop, views.strong, boxes=True, recipe=views.recipe, box=views.box),
        cutmix_partner=config.data.cutmix_partner,
        seed=config.seed,
        palette=palettes.of_data(config.data),
    )
    if picture is not None:
        sheets.save_png(path, picture)
    return picture is not None
