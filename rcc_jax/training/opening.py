"""What a run does before its first step: it opens its folder and records its data and versions."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax

from input_pipeline.files import write_atomically
from rcc_jax.config import method_group
from rcc_jax.config.recorded import flatten
from rcc_jax.distributed import processes
from rcc_jax.errors import ConfigError
from rcc_jax.training.run import Run
from rcc_jax.workdir import environment, image_lists, revisions
from rcc_jax.workdir.folder import Workdir

DATA = "data.json"
# How messages call the parts.
_PARTS = {"labeled": "labelled", "unlabeled": "unlabelled", "val": "validation"}


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
        ConfigError: The run resumes with other images than before.
        DataError: If a file name cannot be written in a list.
    """
    images = {**run.partition.counts(), "digests": run.partition.digests()}
    if latest_step is not None:
        _check_same_images(workdir.path, images)
    image_lists.record(run.partition, workdir.path)
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


def _check_same_images(folder: pathlib.Path, images: dict[str, Any]) -> None:
    """Refuses to resume with other images; an earlier version recorded only their number."""
    try:
        before = json.loads((folder / DATA).read_text())
        known = before.get("digests", {})
    except (OSError, ValueError, AttributeError):
        return
    for part, name in _PARTS.items():
        there, here = before.get(part, images[part]), images[part]
        same = known.get(part, images["digests"][part]) == images["digests"][part]
        if there != here or not same:
            numbers = f"{there} then, {here} now" if there != here else f"{here} other ones"
            raise ConfigError(
                f"--workdir={folder}: the run started with other {name} images ({numbers}), and "
                f"config.data.{part} names them. Restore that list or folder to resume, or start "
                "a new run with another --workdir."
            )
