"""Asynchronous, atomic checkpoints: the latest ones and the best one of each protocol."""

import contextlib
import math
import os
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import orbax.checkpoint as ocp

from input_pipeline.errors import first_line
from rcc_jax.distributed import processes
from rcc_jax.errors import ConfigError, is_out_of_memory
from rcc_jax.workdir import checksums, preservation
from rcc_jax.workdir.best_scores import BestScores
from rcc_jax.workdir.state_difference import differences

PyTree = Any
ASIDE = ".{}.replaced"
CORRUPT = "damaged-{}"  # The name that the folders of earlier runs have.


class SaveError(Exception):
    """A checkpoint could not be written. The message says which, why, and how to resume."""


class Checkpoints:
    """The checkpoints of one run, in a folder that all its processes share.

    Every process must make each call, with equal arguments. A checkpoint appears on disk by one
    rename, together with the checksums of its files, so a killed save changes no earlier one.

    Attributes:
        set_aside: A line of text for each corrupt checkpoint that was renamed when the folder was
            opened. In process 0 only.
        old_protocol: Protocol of the scores of checkpoints that do not record it.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        *,
        keep: int = 2,
        milestones: Sequence[int] = (),
        read_only: bool = False,
        old_protocol: str = "",
    ):
        """Opens the folder, completes or removes what a killed run left, and renames corrupt steps.

        Corrupt checkpoints stay if no other is intact; `restore` then names them.

        Args:
            directory: The folder; made if absent.
            keep: Number of latest steps to keep, besides the best one of each protocol.
            milestones: Steps that are kept in any case.
            read_only: Change nothing, since a run may be saving there.
            old_protocol: Protocol of the scores of checkpoints that do not record it.

        Raises:
            ConfigError: If `keep` is below 1, or a corrupt score keeps the folder from opening.
        """
        if keep < 1:
            raise ConfigError(
                f"config.checkpoint.keep={keep}: keep 1 or more, to be able to resume"
            )
        self.directory = pathlib.Path(directory).absolute()
        self.set_aside: list[str] = []
        self.old_protocol = old_protocol
        self._intact: set[pathlib.Path] = set()
        if not read_only:
            if processes.is_first():
                self.directory.mkdir(parents=True, exist_ok=True)
                self._finish_replacements()
                self.set_aside = self._set_corrupt_aside()
            processes.wait_for_all()
        self._saving: int | None = None
        try:
            self._manager = self._open(keep, milestones, read_only)
        # Orbax reads all scores on opening; a corrupt one makes it raise errors of many types.
        except Exception as error:
            for step in self._steps_on_disk():
                if (fault := checksums.find_damage(self.directory / str(step))) is not None:
                    raise self._corrupt(step, fault) from error
            raise

    def _open(self, keep: int, milestones: Sequence[int], read_only: bool) -> ocp.CheckpointManager:
        return ocp.CheckpointManager(
            self.directory,
            item_handlers={"state": ocp.StandardCheckpointHandler()},
            options=ocp.CheckpointManagerOptions(
                preservation_policy=preservation.chosen(keep, milestones, self.old_protocol),
                # Without it no metrics are saved.
                best_fn=preservation.rank,
                best_mode="max",
                cleanup_tmp_directories=not read_only,
                create=not read_only,
                async_options=ocp.AsyncOptions(post_finalization_callback=self._write_checksums),
            ),
        )

    @property
    def latest_step(self) -> int | None:
        """The last saved step; None if there is none."""
        return self._manager.latest_step()

    @property
    def best_step(self) -> int | None:
        """The step of `best_score`, of equal scores the later one; None if there is none."""
        scores = self.scores()
        return scores.of(scores.last_protocol)[0]

    @property
    def best_score(self) -> float | None:
        """The highest score of the protocol of the last evaluation, or None."""
        scores = self.scores()
        return scores.of(scores.last_protocol)[1]

    def scores(self) -> BestScores:
        """The best checkpoints on disk."""
        steps = self._manager.all_steps()
        metrics = {step: self._manager.metrics(step) for step in steps}
        return preservation.best_scores(metrics, self.old_protocol)

    def save(
        self,
        step: int,
        state: PyTree,
        *,
        metric: float | None = None,
        protocol: str | None = None,
        wait: bool = False,
    ) -> None:
        """Starts to write a state, which is copied before this returns and may then be donated.

        Args:
            step: The step that the state has reached. A checkpoint of this step is replaced.
            state: A pytree of `jax.Array`s.
            metric: Its score, higher is better; None or not finite if it was not evaluated.
            protocol: Protocol of the last evaluation, at this step or before; None = not yet. Only
                scores of equal protocols are compared.
            wait: Return only when the checkpoint is on disk.

        Raises:
            SaveError: If this checkpoint or the previous one could not be written.
        """
        if step in self._manager.all_steps():
            self.wait()
            self._set_aside(step)
            wait = True
        score = float(metric) if metric is not None and math.isfinite(metric) else None
        # The previous save must end first, or its checksums would go to the wrong folder.
        self.wait()
        self._saving = step
        with self._writing():
            args = ocp.args.Composite(state=ocp.args.StandardSave(state))
            metrics = {"score": score, "protocol": protocol}
            self._manager.save(step, args=args, metrics=metrics, force=True)
        if wait:
            self.wait()
            if processes.is_first():
                shutil.rmtree(self.directory / ASIDE.format(step), ignore_errors=True)

    def _write_checksums(self) -> None:
        # Orbax calls this in process 0, in the saving thread, just before the rename.
        (folder,) = self.directory.glob(f"{self._saving}.orbax-checkpoint-tmp*")
        checksums.write(folder)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turns whatever orbax raises while saving into an error that names the checkpoint."""
        try:
            yield
        except Exception as error:
            if is_out_of_memory(error):
                raise
            saved = [step for step in self._steps_on_disk() if step != self._saving]
            start = f"resumes from step {saved[-1]}" if saved else "starts anew"
            raise SaveError(
                f"{self.directory / str(self._saving)}: the checkpoint could not be written "
                f"({first_line(error)}). Is the disk full? Free some space; the same command "
                f"{start}."
            ) from error

    def _steps_on_disk(self) -> list[int]:
        names = (path.name for path in self.directory.glob("[0-9]*") if path.is_dir())
        return sorted(int(name) for name in names if name.isdecimal())

    def _set_corrupt_aside(self) -> list[str]:
        steps, corrupt = self._steps_on_disk(), {}
        for step in steps:
            path = self.directory / str(step)
            if (fault := checksums.find_damage(path)) is not None:
                corrupt[step] = fault
            else:
                self._intact.add(path)
        if len(corrupt) == len(steps):
            return []  # Nothing to resume from: `restore` says so.
        lines = []
        for step, fault in corrupt.items():
            aside = self.directory / CORRUPT.format(step)
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(self.directory / str(step), aside)
            lines.append(f"checkpoint {step} is corrupt and no longer used ({fault}): now {aside}")
        return lines

    def _set_aside(self, step: int) -> None:
        # Deleted only when its successor is complete: it may be the only checkpoint.
        if processes.is_first():
            os.rename(self.directory / str(step), self.directory / ASIDE.format(step))
        processes.wait_for_all()
        self._manager.reload()

    def _finish_replacements(self) -> None:
        for aside in self.directory.glob(ASIDE.format("*")):
            final = self.directory / aside.name.split(".")[1]
            if final.exists():
                shutil.rmtree(aside)
            else:
                os.rename(aside, final)

    def restore(self, abstract_state: PyTree, *, step: int | None = None) -> PyTree:
        """Reads a state back, onto any number of devices.

        Args:
            abstract_state: The state as a pytree of `jax.ShapeDtypeStruct`s with shardings.
            step: The step to read; the latest by default.

        Returns:
            The state.

        Raises:
            ConfigError: If there is no such checkpoint, or it is corrupt or of another state.
        """
        self.wait()
        steps = sorted(self._manager.all_steps())
        if step is None and not steps:
            raise ConfigError(f"{self.directory}: no checkpoint there; train first")
        step = steps[-1] if step is None else step
        path = self.directory / str(step)
        if step not in steps:
            raise ConfigError(f"{path}: no such checkpoint; there are {steps or 'none'}")
        try:
            self._require_intact(path)
            lines = differences(self._manager.item_metadata(step)["state"], abstract_state)
            if not lines:
                target = ocp.args.Composite(state=ocp.args.StandardRestore(abstract_state))
                state = self._manager.restore(step, args=target)["state"]
                # If its metadata is lost, a random key comes back as plain integers.
                if [x.dtype for x in jax.tree.leaves(state)] == [
                    x.dtype for x in jax.tree.leaves(abstract_state)
                ]:
                    return state
                raise ValueError("the types of its arrays are lost")
        # A corrupt folder makes orbax raise errors of many types.
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise self._corrupt(step, first_line(error)) from error
        raise ConfigError(
            f"{path} holds another state than this configuration makes:\n"
            + "\n".join(f"  {line}" for line in lines)
            + "\nUse the configuration that it was trained with, or another checkpoint."
        )

    def _require_intact(self, path: pathlib.Path) -> None:
        # Hashing a large state takes a second, so the checks on opening are not repeated.
        if path not in self._intact and (fault := checksums.find_damage(path)) is not None:
            raise ValueError(fault)

    def _corrupt(self, step: int, fault: str) -> ConfigError:
        others = [other for other in self._steps_on_disk() if other != step]
        remedy = (
            f"remove this folder to resume from step {others[-1]}"
            if others
            else "there is no other one: remove this folder and start anew"
        )
        return ConfigError(f"{self.directory / str(step)}: corrupt checkpoint ({fault}); {remedy}")

    def wait(self) -> None:
        """Returns when every save is on disk.

        Raises:
            SaveError: If a checkpoint could not be written.
        """
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for all saves, then ends their threads."""
        with self._writing():
            self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
