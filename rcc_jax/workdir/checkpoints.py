"""Asynchronous, atomic checkpoints: the latest ones and the best one of each protocol."""

import contextlib
import math
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import jax
import orbax.checkpoint as ocp

from input_pipeline.errors import first_line
from rcc_jax.distributed import processes
from rcc_jax.errors import ConfigError
from rcc_jax.workdir import checksums, preservation
from rcc_jax.workdir.best_scores import BestScores
from rcc_jax.workdir.state_difference import differences

PyTree = Any
ASIDE = ".{}.replaced"
DAMAGED = "damaged-{}"


class SaveError(Exception):
    """A checkpoint could not be written. The message says which, why, and how to go on."""


class Checkpoints:
    """The checkpoints of one run, in a folder that all its processes share.

    Every process has to make each call, with equal arguments.

    A killed save leaves the earlier checkpoints as they were: a step appears on disk by one rename,
    with the checksums of its files.

    Attributes:
        set_aside: A line of text on each checkpoint that turned out to be damaged when the folder
            was opened and that no longer counts, since an earlier or later one is whole. In the
            first process alone.
        old_protocol: What the scores of checkpoints were measured with that do not say.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        *,
        keep: int = 2,
        read_only: bool = False,
        old_protocol: str = "",
    ):
        """Opens the folder and clears away what a killed run left half-written.

        Args:
            directory: The folder; made where it is absent.
            keep: How many of the latest steps stay; the best one of each protocol stays besides.
            read_only: For reading alone: change nothing, as a run may be saving there.
            old_protocol: What the scores of checkpoints were measured with that do not say.

        Raises:
            ConfigError: If `keep` is below 1, or a damaged score cannot be set aside.
        """
        if keep < 1:
            raise ConfigError(f"checkpoint.keep={keep}: keep 1 or more, or nothing can be resumed")
        self.directory = pathlib.Path(directory).absolute()
        self.set_aside: list[str] = []
        self.old_protocol = old_protocol
        self._whole: set[pathlib.Path] = set()
        if not read_only:
            if processes.is_first():
                self.directory.mkdir(parents=True, exist_ok=True)
                self._finish_replacements()
                self.set_aside = self._set_damaged_aside()
            processes.wait_for_all()
        self._saving: int | None = None
        try:
            self._manager = self._open(keep, read_only)
        # Whatever a damaged score makes orbax raise: it reads them all at once.
        except Exception as error:
            for step in self._steps_on_disk():
                if (fault := checksums.find_damage(self.directory / str(step))) is not None:
                    raise self._damaged(step, fault) from error
            raise

    def _open(self, keep: int, read_only: bool) -> ocp.CheckpointManager:
        return ocp.CheckpointManager(
            self.directory,
            item_handlers={"state": ocp.StandardCheckpointHandler()},
            options=ocp.CheckpointManagerOptions(
                preservation_policy=preservation.latest_and_best(keep, self.old_protocol),
                # Without it no metrics are saved.
                best_fn=_rank,
                best_mode="max",
                cleanup_tmp_directories=not read_only,
                create=not read_only,
                async_options=ocp.AsyncOptions(post_finalization_callback=self._write_checksums),
            ),
        )

    @property
    def latest_step(self) -> int | None:
        """The last step that was saved; None where there is none."""
        return self._manager.latest_step()

    @property
    def best_step(self) -> int | None:
        """The step of `best_score`, the later one of equals; None where there is none."""
        scores = self.scores()
        return scores.of(scores.last_protocol)[0]

    @property
    def best_score(self) -> float | None:
        """The highest score of the protocol that the run was last evaluated with, or None."""
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
        """Starts to write a state; it is copied before this returns, so it may be donated then.

        Args:
            step: The step that the state has reached. One that is on disk is replaced.
            state: A pytree of `jax.Array`s.
            metric: The score that ranks it, higher is better; None, or a value that is not finite,
                where it was not evaluated.
            protocol: What the run was last evaluated with, at this step or before; None = not yet.
                Scores of one protocol alone are compared.
            wait: Return only when the checkpoint is on disk.

        Raises:
            SaveError: If this one or the one before could not be written.
        """
        if step in self._manager.all_steps():
            self.wait()
            self._set_aside(step)
            wait = True
        score = float(metric) if metric is not None and math.isfinite(metric) else None
        # The save before this one has to end first, or its checksums would go to the wrong folder.
        self.wait()
        self._saving = step
        with self._writing():
            self._manager.save(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardSave(state)),
                metrics={"score": score, "protocol": protocol},
                force=True,
            )
        if wait:
            self.wait()
            if processes.is_first():
                shutil.rmtree(self.directory / ASIDE.format(step), ignore_errors=True)

    def _write_checksums(self) -> None:
        # Orbax calls this in the first process, in the thread that saves, just before the rename.
        (folder,) = self.directory.glob(f"{self._saving}.orbax-checkpoint-tmp*")
        checksums.write(folder)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Names the checkpoint where orbax raises whatever the file system made it raise."""
        try:
            yield
        except Exception as error:
            whole = [step for step in self._steps_on_disk() if step != self._saving]
            after = f"after step {whole[-1]}" if whole else "from the start"
            raise SaveError(
                f"{self.directory / str(self._saving)}: the checkpoint could not be written "
                f"({first_line(error)}). Is the disk full? Free some space; the same command "
                f"resumes {after}."
            ) from error

    def _steps_on_disk(self) -> list[int]:
        names = (path.name for path in self.directory.glob("[0-9]*") if path.is_dir())
        return sorted(int(name) for name in names if name.isdecimal())

    def _set_damaged_aside(self) -> list[str]:
        steps = self._steps_on_disk()
        damaged = {}
        for step in steps:
            path = self.directory / str(step)
            if (fault := checksums.find_damage(path)) is not None:
                damaged[step] = fault
            else:
                self._whole.add(path)
        if len(damaged) == len(steps):
            return []  # Nothing to go on from: `restore` says so.
        lines = []
        for step, fault in damaged.items():
            aside = self.directory / DAMAGED.format(step)
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(self.directory / str(step), aside)
            lines.append(f"checkpoint {step} is damaged and no longer used ({fault}); see {aside}")
        return lines

    def _set_aside(self, step: int) -> None:
        # Not deleted before its successor is whole: it may be the only checkpoint there is.
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
            abstract_state: Its pytree of `jax.ShapeDtypeStruct`s with their shardings.
            step: The step to read; the latest by default.

        Returns:
            The state.

        Raises:
            ConfigError: If there is no such checkpoint, it cannot be read, or it holds another
                state.
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
            self._require_whole(path)
            lines = differences(self._manager.item_metadata(step)["state"], abstract_state)
            if not lines:
                target = ocp.args.Composite(state=ocp.args.StandardRestore(abstract_state))
                state = self._manager.restore(step, args=target)["state"]
                # Without its metadata a key comes back as plain integers.
                if [x.dtype for x in jax.tree.leaves(state)] == [
                    x.dtype for x in jax.tree.leaves(abstract_state)
                ]:
                    return state
                raise ValueError("the types of its arrays are lost")
        # Whatever a damaged folder makes orbax raise: it has no error of its own for that.
        except Exception as error:
            raise self._damaged(step, first_line(error)) from error
        raise ConfigError(
            f"{path} holds another state than this config makes:\n"
            + "\n".join(f"  {line}" for line in lines)
            + "\nUse the config that it was trained with, or another checkpoint."
        )

    def _require_whole(self, path: pathlib.Path) -> None:
        # Hashing a large state takes a second; the opening has done that.
        if path not in self._whole and (fault := checksums.find_damage(path)) is not None:
            raise ValueError(fault)

    def _damaged(self, step: int, fault: str) -> ConfigError:
        others = [other for other in self._steps_on_disk() if other != step]
        remedy = (
            f"remove this folder to go on from step {others[-1]}"
            if others
            else "there is no other one: remove this folder and start again"
        )
        return ConfigError(
            f"{self.directory / str(step)}: a damaged checkpoint ({fault}); {remedy}"
        )

    def wait(self) -> None:
        """Returns when every save is on disk.

        Raises:
            SaveError: If one of them could not be written.
        """
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, then ends the threads that save."""
        with self._writing():
            self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _rank(metrics: dict[str, Any]) -> float:
    return -math.inf if metrics["score"] is None else metrics["score"]
