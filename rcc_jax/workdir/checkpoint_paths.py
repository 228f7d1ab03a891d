"""The checkpoint that a user names: 'latest', 'best', 'best:PROTOCOL', or a path."""

import os
import pathlib
from typing import Any

import ml_collections

from input_pipeline import near_names
from rcc_jax.config import method_group, protocols
from rcc_jax.config.recorded import recorded_fields, with_tuples
from rcc_jax.errors import ConfigError
from rcc_jax.models import families
from rcc_jax.workdir.best_scores import BEST_OF
from rcc_jax.workdir.checkpoints import Checkpoints
from rcc_jax.workdir.folder import MAY_CHANGE, Workdir

PyTree = Any
# Fields that a command on a run may change for itself alone. Class names change nothing in a
# network.
MAY_DIFFER = (*MAY_CHANGE, "data.class_names")


def is_name(checkpoint: str) -> bool:
    """Whether this is a name for a checkpoint of the run itself, and no path."""
    return checkpoint in ("latest", "best") or checkpoint.startswith(BEST_OF)


def find_named(
    config: ml_collections.ConfigDict, workdir: str | os.PathLike, checkpoint: str
) -> str:
    """The checkpoint that a user names.

    Args:
        config: The configuration of the run; fields of `MAY_DIFFER` may differ.
        workdir: Folder of the run.
        checkpoint: 'latest', 'best' (of the last evaluation's protocol), 'best:PROTOCOL', or the
            path of a checkpoint or of another workdir.

    Returns:
        Its path.

    Raises:
        ConfigError: If the run has none, or another configuration.
    """
    if not is_name(checkpoint):
        if not pathlib.Path(checkpoint).is_dir():
            hint = near_names.did_you_mean(checkpoint, ("latest", "best"))
            hint = hint or near_names.hint(checkpoint)
            raise ConfigError(
                f"--checkpoint={checkpoint}: there is no such folder. Name 'latest', 'best', "
                f"'{BEST_OF}PROTOCOL', or the path of a checkpoint or of a run.{hint}"
            )
        if lines := other_settings(config, checkpoint):
            raise ConfigError(
                f"--checkpoint={checkpoint} was trained with another network:\n"
                + "\n".join(f"  {line}" for line in lines)
                + "\nName that run as --workdir, or give its values in --config."
            )
        return checkpoint
    folder = Workdir.open(
        workdir,
        method_group.resolved(config),
        may_change=MAY_DIFFER,
        read_only=True,
        way_out="Give --workdir without --config and these fields: the run knows its own.",
    ).checkpoints_path
    if not folder.is_dir():
        raise ConfigError(f"--workdir={workdir} has no {checkpoint} checkpoint; train first.")
    old = protocols.of_run(workdir)
    with Checkpoints(folder, read_only=True, old_protocol=old) as checkpoints:
        return str(folder / str(_named_step(checkpoints, checkpoint, workdir)))


def other_settings(config: ml_collections.ConfigDict, path: str | os.PathLike) -> list[str]:
    """How the run of a checkpoint differs in settings that cannot be read from its weights.

    Args:
        config: The configuration that is to read the checkpoint.
        path: As for `find_checkpoint`.

    Returns:
        Lines such as 'model.output_stride: 8 there, 16 here'; no line if that run's configuration
        is unknown, or has another backbone, whose weights do not fit.

    Raises:
        ConfigError: If the record of that run cannot be parsed.
    """
    path = pathlib.Path(path).absolute()
    records = (recorded_fields(folder) for folder in (path, *path.parents[:2]))
    recorded = with_tuples(next(filter(None, records), {}))
    if recorded.get("model.backbone") != config.model.backbone:
        return []
    lines = []
    for name in families.BACKBONES[config.model.backbone].not_in_weights:
        there, here = recorded.get(f"model.{name}"), config.model[name]
        if there not in (None, here):
            lines.append(f"model.{name}: {there} there, {here} here")
    return lines


def _named_step(checkpoints: Checkpoints, name: str, workdir: str | os.PathLike) -> int:
    if name in ("latest", "best"):
        step = checkpoints.latest_step if name == "latest" else checkpoints.best_step
        way_out = "train first"
    else:
        scores = checkpoints.scores()
        step, _ = scores.of(name.removeprefix(BEST_OF))
        known = ", ".join(f"{BEST_OF}{protocol}" for protocol in scores.best)
        way_out = f"there is {known}" if known else "train first"
    if step is None:
        raise ConfigError(f"--workdir={workdir} has no {name} checkpoint; {way_out}.")
    return step


def find_checkpoint(path: str | os.PathLike) -> tuple[pathlib.Path, int]:
    """The checkpoint that a path names: its folder of checkpoints and the step.

    Args:
        path: A run's folder, its folder of checkpoints (both stand for the latest step), or one
            step.

    Raises:
        ConfigError: If there is none.
    """
    path = pathlib.Path(path).absolute()
    if not path.is_dir():
        raise ConfigError(f"{path}: there is no such folder")
    if (path / "checkpoints").is_dir():
        path = path / "checkpoints"
    elif path.name.isdecimal():
        return path.parent, int(path.name)
    with Checkpoints(path, read_only=True) as checkpoints:
        if checkpoints.latest_step is None:
            raise ConfigError(f"{path}: no checkpoint there; train first")
        return path, checkpoints.latest_step


def restore_path(path: str | os.PathLike, abstract_state: PyTree) -> tuple[PyTree, int]:
    """Reads the checkpoint that a path names.

    Args:
        path: As for `find_checkpoint`.
        abstract_state: As for `Checkpoints.restore`.

    Returns:
        The state and its step.

    Raises:
        ConfigError: If there is no checkpoint, or not one of this state.
    """
    directory, step = find_checkpoint(path)
    with Checkpoints(directory, read_only=True) as checkpoints:
        return checkpoints.restore(abstract_state, step=step), step
