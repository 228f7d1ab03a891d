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


def check_start(path: str | os.PathLike, abstract: Weights, member: str, field: str) -> None:
    """Checks, at little cost, that `read_start` will work; raises the same errors."""
    with contextlib.closing(ocp.PyTreeCheckpointHandler()) as handler:
        _compare_start(handler, _state_path(path, field), abstract, member, field)


def read_start(
    path: str | os.PathLike, abstract: Weights, member: str, field: str
) -> tuple[Weights, str]:
    """Reads the weights with which another run starts; the two may train different methods.

    Args:
        path: As for `read`.
        abstract: Shapes, types and sharding of the weights of the module that is to start.
        member: 'main' for its network that predicts, or the name of another network in it.
        field: The setting that named the path, for messages.

    Returns:
        Weights of the module, and a line of text about what was read. They are all weights if the
        earlier run trained the same module, else the network that predicts there, as `member`.

    Raises:
        ConfigError: If there is no checkpoint, or one of another network.
    """
    state_path = _state_path(path, field)
    with contextlib.closing(ocp.PyTreeCheckpointHandler()) as handler:
        wanted, is_whole = _compare_start(handler, state_path, abstract, member, field)
        weights, summary = _restore(handler, state_path, wanted)
    if is_whole:
        return weights, summary
    network = weights.main
    return network.as_member(member) if member in abstract.params else network, summary


def read(
    path: str | os.PathLike, abstract: Weights, *, student: bool = False, field: str
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
        return _restore(handler, state_path, wanted)


def _restore(
    handler: ocp.PyTreeCheckpointHandler, state_path: pathlib.Path, wanted: dict[str, Any]
) -> tuple[Weights, str]:
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


def _state_path(path: str | os.PathLike, field: str) -> pathlib.Path:
    try:
        directory, step = find_checkpoint(path)
    except ConfigError as error:
        raise ConfigError(f"{field} = {str(path)!r}: {error}") from None
    return directory / str(step) / "state"


class _OtherNetworkError(ConfigError):
    """A checkpoint has other arrays than are wanted."""


def _compare_start(
    handler: ocp.PyTreeCheckpointHandler,
    state_path: pathlib.Path,
    abstract: Weights,
    member: str,
    field: str,
) -> tuple[dict[str, Any], bool]:
    """What to read of the checkpoint, and whether it is the whole module."""
    network = abstract.member(member) if member in abstract.params else abstract
    if member == "main" and network is not abstract:
        with contextlib.suppress(_OtherNetworkError):
            return _compare(handler, state_path, abstract, field=field), True
    return _compare(handler, state_path, network, field=field, only_main=True), False


def _compare(
    handler: ocp.PyTreeCheckpointHandler,
    state_path: pathlib.Path,
    abstract: Weights,
    *,
    student: bool = False,
    field: str,
    only_main: bool = False,
) -> dict[str, Any]:
    """What to read of the checkpoint; an error where it does not fit.

    With `only_main`, whatever the run trained beside the network that predicts is not read.
    """
    try:
        if (fault := checksums.find_damage(state_path.parent)) is not None:
            raise ValueError(fault)
        saved = handler.metadata(state_path).tree
        if only_main and "main" in saved["weights"]["params"]:
            abstract = abstract.as_member("main")
            saved = {part: _main_of(saved[part]) for part in ("weights", "ema")}
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
        raise _OtherNetworkError(
            f"{field}: {state_path.parent} is of another network:\n"
            + "\n".join(f"  {line}" for line in lines)
            + "\nName a run with the same config.model and config.data.num_classes."
        )
    return {part: {"params": {}, "stats": {}} | tree for part, tree in wanted.items()}


def _main_of(saved: Any) -> Any:
    """Parameters and statistics of the member `main` alone."""
    if saved is None:
        return None
    return {part: {"main": tree["main"]} for part, tree in saved.items() if "main" in tree}


def is_run(path: str) -> bool:
    """Whether a path names a folder, as `read` takes it, and not a file of weights."""
    return bool(path) and pathlib.Path(path).is_dir()
