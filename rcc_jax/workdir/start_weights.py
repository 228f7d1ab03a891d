"""The weights of a run with any method, to start another run from or to predict with."""

import contextlib
import functools
import os
import pathlib
from typing import Any

import orbax.checkpoint as ocp

from input_pipeline.errors import first_line
from rcc_jax.errors import ConfigError
from rcc_jax.models.network import Weights
from rcc_jax.models.parts import inside_encoder, joined, outside_encoder
from rcc_jax.workdir import checksums
from rcc_jax.workdir.checkpoint_paths import find_checkpoint
from rcc_jax.workdir.state_difference import differences

_FIELD = "config.model.pretrained"


def check(path: str | os.PathLike, abstract: Weights) -> None:
    """Checks, at little cost, that `read` will work; raises the same errors."""
    with contextlib.closing(ocp.PyTreeCheckpointHandler()) as handler:
        _compare(handler, _state_path(path), abstract)


def read(
    path: str | os.PathLike, abstract: Weights, *, student: bool = False, field: str = _FIELD
) -> tuple[Weights, str]:
    """Reads weights: of the EMA teacher where the run had one, else of the student.

    Args:
        path: A run's folder, its folder of checkpoints (both stand for the latest step), or one
            step.
        abstract: Shapes, types and sharding of the weights.
        student: Read those of the student in any case.
        field: The setting that named the path, for messages.

    Returns:
        The weights, and a line of text about what was read.

    Raises:
        ConfigError: If there is no checkpoint, or one of another network.
    """
    state_path = _state_path(path, field)
    # Not through a Checkpointer, which warns of a file that only whole steps have.
    with contextlib.closing(ocp.PyTreeCheckpointHandler()) as handler:
        wanted = _compare(handler, state_path, abstract, student=student, field=field)
        restored = handler.restore(
            state_path,
            args=ocp.args.PyTreeRestore(
                item=wanted,
                restore_args=ocp.checkpoint_utils.construct_restore_args(wanted),
                partial_restore=True,
            ),
        )
    name = "EMA teacher" if "ema" in wanted else "student"
    parts = (Weights(**part) for part in restored.values())
    return functools.reduce(Weights.completed, parts), f"{name} of {state_path.parent}"


def _state_path(path: str | os.PathLike, field: str = _FIELD) -> pathlib.Path:
    try:
        directory, step = find_checkpoint(path)
    except ConfigError as error:
        raise ConfigError(f"{field} = {str(path)!r}: {error}") from None
    return directory / str(step) / "state"


def _compare(
    handler: ocp.PyTreeCheckpointHandler,
    state_path: pathlib.Path,
    abstract: Weights,
    *,
    student: bool = False,
    field: str = _FIELD,
) -> dict[str, Any]:
    """What to read of the checkpoint; an error where it does not fit the network."""
    try:
        if (fault := checksums.find_damage(state_path.parent)) is not None:
            raise ValueError(fault)
        saved = handler.metadata(state_path).tree
        whole = {"params": abstract.params, "stats": abstract.stats}
        wanted = {"weights" if student or saved["ema"] is None else "ema": whole}
        if "ema" in wanted and not inside_encoder(saved["ema"]):
            # A frozen encoder is only in the student.
            wanted = {"ema": outside_encoder(whole), "weights": inside_encoder(whole)}
            saved = {"ema": saved["ema"], "weights": inside_encoder(saved["weights"])}
        found = functools.reduce(joined, (saved[part] for part in wanted))
        lines = differences(found, whole)
    # A corrupt folder makes orbax raise errors of many types.
    except Exception as error:
        raise ConfigError(
            f"{field}: {state_path.parent} is a corrupt checkpoint ({first_line(error)})."
        ) from error
    if lines:
        raise ConfigError(
            f"{field}: {state_path.parent} is of another network:\n"
            + "\n".join(f"  {line}" for line in lines)
            + "\nName a run with the same config.model and config.data.num_classes."
        )
    return {part: {"params": {}, "stats": {}} | tree for part, tree in wanted.items()}


def is_run(path: str) -> bool:
    """Whether a path names a folder, as `read` takes it, and not a file of weights."""
    return bool(path) and pathlib.Path(path).is_dir()
