"""What a run does before its first step: it opens its folder and records its data and versions."""

import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax

from input_pipeline.files import write_atomically
from rcc_jax.config import method_group
from rcc_jax.config.recorded import flatten, recorded_fields
from rcc_jax.distributed import processes
from rcc_jax.errors import ConfigError
from rcc_jax.training.run import Run
from rcc_jax.workdir import environment, image_lists, revisions
from rcc_jax.workdir.folder import Workdir

DATA = "data.json"
# What messages call the parts, and the fields that name them.
_PARTS = {
    "labeled": ("labelled", "config.data.labeled"),
    "unlabeled": ("unlabelled", "config.data.unlabeled (or train, if that is empty)"),
    "val": ("validation", "config.data.val"),
}


def open_workdir(path: str, config: dict[str, Any]) -> Workdir:
    """Opens the folder: process 0 writes it, then the others read it.

    Args:
        path: Folder of the run, created if absent.
        config: The resolved configuration, nested.

    Raises:
        ConfigError: The folder cannot be used, holds a run of another configuration, or is not
            shared by all processes.
    """
    if processes.is_first():
        workdir = Workdir.open(path, config)
        processes.wait_for_all()
        return workdir
    processes.wait_for_all()
    if not (pathlib.Path(path) / "config.json").exists():
        raise ConfigError(
            f"--workdir={path}: process {processes.index()} does not see what process 0 wrote "
            "there; name a folder on a disk that all processes share."
        )
    return Workdir.open(path, config, read_only=True)


def describe(run: Run) -> str:
    """One line on the images, the steps and the devices of a run."""
    counts, kinds = run.partition.counts(), (run.partition.label_kinds or {}).items()
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds)
    return (
        f"{counts['labeled']} labelled{f' ({listed} masks)' if listed else ''}, "
        + (f"{counts['pseudo']} pseudo-labelled, " if "pseudo" in counts else "")
        + f"{counts['unlabeled']} unlabelled, {counts['val']} validation images; "
        f"{run.num_steps} steps on {run.mesh.size} device(s) of kind "
        f"{jax.devices()[0].device_kind}"
        + (f" in {processes.count()} processes" if processes.count() > 1 else "")
    )


def record(
    run: Run, workdir: Workdir, latest_step: int | None, message: Callable[[str], None]
) -> None:
    """Records the images and the versions of a start. Only the first process calls it.

    Args:
        run: The run.
        workdir: Its folder.
        latest_step: Step of the checkpoint that the run resumes from; None for its first start.
        message: Called with a warning if the run was made by an earlier revision of the code.

    Raises:
        DataError: If a file name cannot be written in a list.
    """
    image_lists.record(run.partition, workdir.path)
    images = {**run.partition.counts(), "digests": run.partition.digests()}
    write_atomically(workdir.path / DATA, json.dumps(images) + "\n")
    if latest_step is not None:
        line = revisions.warning(
            revisions.recorded(workdir.path),
            workdir.added,
            flatten(method_group.resolved(run.config)),
        )
        if line is not None:
            message(line)
    environment.record(workdir.path / revisions.FILE, latest_step or 0)


def check_images(run: Run, folder: str | os.PathLike) -> list[str]:
    """Refuses to resume a run with other images to train on than before.

    Args:
        run: The run.
        folder: Its folder. A run of an earlier version recorded only the number of images.

    Returns:
        Lines about changes with which a run may resume: other validation images; other names of as
        many images after a move of `data.root`.

    Raises:
        ConfigError: Naming the part.
    """
    try:
        before = json.loads((pathlib.Path(folder) / DATA).read_text())
        known = dict(before.get("digests") or {})
    except (OSError, ValueError, TypeError, AttributeError):
        return []
    root = (recorded_fields(folder) or {}).get("data.root")
    counts, digests, lines = run.partition.counts(), run.partition.digests(), []
    for part, (name, source) in _PARTS.items():
        there, here = before.get(part, counts[part]), counts[part]
        if there == here and known.get(part, digests[part]) == digests[part]:
            continue
        numbers = f"{there} then, {here} now" if there != here else f"{here} other names"
        said = f"the run started with other {name} images ({numbers})"
        if part == "val":
            lines.append(f"{said}: its scores before and after cannot be compared")
        elif there == here and root != run.config.data.root:
            lines.append(f"{said}, below config.data.root = {root!r}")
        else:
            raise ConfigError(
                f"--workdir={folder}: {said}, which {source} names. Restore that list or folder to "
                "resume (--config.data.on_error=skip passes over files that cannot be used), or "
                "start a new run with another --workdir."
            )
    return lines
