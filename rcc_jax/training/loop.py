"""The training loop: data, step, metrics, checkpoint, evaluation. Resumes bit for bit."""

import collections
import functools
import pathlib
from typing import NoReturn

import jax
import ml_collections

from rcc_jax import build
from rcc_jax.config import method_group, protocols
from rcc_jax.distributed import meshes, processes
from rcc_jax.distributed.interruption import Interrupted, Interruption, stopping_at_once
from rcc_jax.distributed.stop_vote import StopVote
from rcc_jax.evaluation.scores import Scores, scores
from rcc_jax.reporting.progress import Progress
from rcc_jax.training import first_weights, nonfinite, opening
from rcc_jax.training.monitor import EvaluationReport
from rcc_jax.training.run import Run
from rcc_jax.training.timing import StepClock, compile_step
from rcc_jax.training.train_state import TrainState
from rcc_jax.training.validation import evaluate_confusion
from rcc_jax.workdir import revisions
from rcc_jax.workdir.bad_files import BadFiles
from rcc_jax.workdir.best_scores import BestScores
from rcc_jax.workdir.checkpoints import Checkpoints
from rcc_jax.workdir.folder import Workdir
from rcc_jax.workdir.metrics import MetricWriter

# Steps that may be queued on the devices; each holds a batch in their memory.
_STEPS_IN_FLIGHT = 2
_NOTICE = "noticed; the run saves and ends after the current work"


def train(config: ml_collections.ConfigDict, workdir_path: str) -> float:
    """Trains, or resumes the run in the workdir.

    Args:
        config: The configuration.
        workdir_path: Folder of the run, created if absent.

    Returns:
        mIoU of the last evaluation, in percent (of the EMA teacher where there is one).

    Raises:
        ConfigError, DataError: If the configuration or the data cannot be used.
        nonfinite.NonFiniteError: If the training diverges.
        Interrupted: After SIGTERM or SIGINT, with everything saved.
    """
    run = Run.build(config, workdir_path)
    meshes.check_batch_size(
        config.train.batch_size, config.train.accumulation, run.mesh.size, "config.train.batch_size"
    )
    run.check_same_everywhere()
    start = None
    log = functools.partial(print, flush=True) if processes.is_first() else lambda _: None
    if not any(pathlib.Path(workdir_path, "checkpoints").glob("[0-9]*")):
        # Before the folder exists: it would otherwise belong to a faulty configuration.
        with stopping_at_once("stopped before the first step; the same command starts again."):
            start = first_weights.find(config, workdir_path, log)
        run.check_start(start.paths)
    else:
        revisions.check(workdir_path)
        for line in opening.check_images(run, workdir_path):
            log(f"warning: {line}")
    with (
        Interruption(_NOTICE if processes.is_first() else "") as interruption,
        opening.open_workdir(workdir_path, method_group.resolved(config)) as workdir,
        Checkpoints(
            workdir.checkpoints_path,
            keep=config.checkpoint.keep,
            milestones=run.milestones,
            old_protocol=protocols.of_run(workdir.path),
        ) as checkpoints,
    ):
        return _Loop(run, workdir, checkpoints, interruption, start).run_to_end()


class _Loop:
    """The parts of a run that change as it trains, except the state itself."""

    def __init__(self, run, workdir, checkpoints, interruption, start):
        self.run: Run = run
        self.start: first_weights.Start | None = start
        self.workdir: Workdir = workdir
        self.checkpoints: Checkpoints = checkpoints
        self.interruption: Interruption = interruption
        self.vote = StopVote(run.mesh, interruption)
        self.is_first = processes.is_first()
        start = checkpoints.latest_step or 0
        self.writer = MetricWriter(
            workdir.path,
            start_step=start,
            total_steps=run.num_steps,
            old_protocol=checkpoints.old_protocol,
            enabled=self.is_first,
        )
        self.bad_files = None
        if (max_bad := build.max_bad(run.config)) is not None:
            self.bad_files = BadFiles(
                workdir.path, run.partition, start_step=start, max_bad=max_bad
            )
        self.progress = Progress(run.num_steps, start, enabled=self.is_first)
        self.report = EvaluationReport(run, workdir.pictures_path, self.writer, self.progress)
        self.clock = StepClock(start)
        self.known_skipped = 0
        self.protocol = protocols.name(run.config.eval)
        # Taken from the metrics: the best checkpoint may be corrupt.
        known = self.writer.best_scores()
        self.scores = BestScores(*processes.from_first((known.best, known.last_protocol)))
        self.last_score = None

    def run_to_end(self) -> float:
        try:
            state = self._initial_state()
            self.known_skipped = int(state.skipped)
            state = self._finish_evaluation(state)
            state = self._steps(state)
        finally:
            self.progress.close()
            self.writer.close()
            if self.bad_files is not None:
                self.bad_files.close()
        self.checkpoints.wait()
        if self.is_first:
            self.workdir.write_result(self.run.num_steps, self.last_score, self.scores)
        return self.last_score

    def _initial_state(self) -> TrainState:
        message, latest = self.progress.message, self.checkpoints.latest_step
        message(opening.describe(self.run))
        for line in self.checkpoints.set_aside:
            message(line)
        if self.is_first:
            opening.record(self.run, self.workdir, latest, message)
        if latest is None:
            # `self.start` is None if the folder had the remains of a first save, which are removed
            # by now: no weights were looked for.
            start = self.start or first_weights.find(self.run.config, self.workdir.path, message)
            if self.is_first:
                first_weights.record(start, self.workdir.path)
            return self.run.initial_state(message, start.paths)
        state = TrainState(**self.checkpoints.restore(self.run.abstract_state().saved()))
        message(f"resuming after step {int(state.step)} of {self.workdir.path}")
        if line := self.scores.change(self.protocol):
            message(line)
        return state

    def _finish_evaluation(self, state: TrainState) -> TrainState:
        """Repeats the evaluation that was interrupted when the run last stopped."""
        step = int(state.step)
        writer = self.writer
        done, score = processes.from_first(
            (writer.has_evaluation(step), writer.evaluation_score(step))
        )
        if self.run.evaluation_due(step) and not done:
            self._evaluate_and_save(state, step)
        elif step == self.run.num_steps:
            self.last_score = score
        return state

    def _steps(self, state: TrainState) -> TrainState:
        start = int(state.step)
        if start >= self.run.num_steps:
            self.progress.message(f"finished: all {self.run.num_steps} steps are done")
            return state
        train_step = None
        batches = self.run.batches(start)
        in_flight = collections.deque()
        try:
            for step in range(start + 1, self.run.num_steps + 1):
                with self.clock.waiting():
                    batch = self._next_batch(batches, state, step)
                self.vote.cast()
                batch = meshes.place_batch(self.run.mesh, batch)
                if train_step is None:
                    self.progress.message(
                        "compiling the training step (minutes on a CPU, less with a warm cache)"
                    )
                    with self.clock.paused():
                        train_step, line = compile_step(self.run.train_step(), state, batch)
                    self.progress.message(line)
                    self.progress.begin()
                state, scalars = train_step(state, batch)
                in_flight.append(scalars["loss"])
                if len(in_flight) > _STEPS_IN_FLIGHT:
                    jax.block_until_ready(in_flight.popleft())
                self._after_step(state, step, scalars)
        finally:
            batches.close()
        return state

    def _next_batch(self, batches, state: TrainState, step: int) -> dict:
        try:
            batch = next(batches)
        except Exception:
            # Workers may receive the signal as well; their exit is then not a data error.
            # This process cannot save alone: other processes may be at another step.
            if not self.interruption.requested() or processes.count() > 1:
                raise
            self._save(state, step - 1)
            self._stop(step - 1)
        if self.bad_files is not None:
            self.bad_files.note(step, batches.replaced)
        return batch

    def _after_step(self, state: TrainState, step: int, scalars: dict) -> None:
        if step % self.run.config.train.log_every == 0 or step == self.run.num_steps:
            self._log(state, step, scalars)
        # Asked once: a signal that arrives after the decision to save stops the next step.
        stop = self.vote.passed()
        if self.run.evaluation_due(step):
            self._evaluate_and_save(state, step)
        elif self.run.checkpoint_due(step) or stop:
            self._save(state, step)
        if stop and step < self.run.num_steps:
            self._stop(step)

    def _log(self, state: TrainState, step: int, scalars: dict) -> None:
        self._require_finite(state)
        self._report_skipped(state)
        self._report_bad_files()
        values = {name: float(value) for name, value in jax.device_get(scalars).items()}
        self.writer.write(step, values)
        timing = self.clock.lap(step, self.run.config.train.batch_size)
        self.writer.timing(step, timing)
        self.progress.update(step, {**values, **timing})

    def _report_skipped(self, state: TrainState) -> None:
        skipped = int(state.skipped)
        if skipped > self.known_skipped:
            self.progress.message(
                f"steps skipped because they were not finite: {skipped} so far; the last: "
                f"{nonfinite.bad_terms(state)}"
            )
        self.known_skipped = skipped

    def _report_bad_files(self) -> None:
        if self.bad_files is not None:
            for line in self.bad_files.write():
                self.progress.message(line)

    def _require_finite(self, state: TrainState) -> None:
        nonfinite.require_finite(state, self.workdir.path, self.checkpoints.latest_step)

    def _save(self, state: TrainState, step: int, score: float | None = None) -> None:
        self._require_finite(state)
        nonfinite.require_finite_weights(state, self.workdir.path)
        # Write before the checkpoint: a resumed run will not see these files again.
        self._report_bad_files()
        self.checkpoints.save(step, state.saved(), metric=score, protocol=self.scores.last_protocol)

    def _evaluate_and_save(self, state: TrainState, step: int) -> None:
        self._require_finite(state)
        with self.clock.paused():
            results = self._evaluate(state)
            if results is None:
                # Saved without a metric: the next start finds no evaluation and repeats it.
                self._save(state, step)
                self._stop(step)
            line = {"protocol": self.protocol}
            for suffix, result in results.items():
                line[f"miou{suffix}"] = result.miou
                line[f"iou{suffix}"] = result.iou
                if result.absent:
                    line["absent"] = result.absent
            # Write before the checkpoint, so that every checkpoint has its metrics.
            self.writer.write(step, line)
            self.last_score = list(results.values())[-1].miou
            self.scores.note(step, self.protocol, self.last_score)
            self._save(state, step, self.last_score)
            if self.is_first:
                self.report.show(state, step, results, self.scores.of(self.protocol)[1])

    def _evaluate(self, state: TrainState) -> dict[str, Scores] | None:
        """Scores of the student ('') and of the EMA teacher ('_ema'); None if interrupted."""
        networks = {"": state.weights}
        if state.ema is not None:
            networks["_ema"] = state.averaged
        results = {}
        for suffix, weights in networks.items():
            confusion = evaluate_confusion(self.run, weights, self.interruption.requested)
            if confusion is None:
                return None
            results[suffix] = scores(confusion, self.run.partition.class_names)
        return results

    def _stop(self, step: int) -> NoReturn:
        self.checkpoints.wait()
        raise Interrupted(
            # Any process may have received the signal.
            max(processes.gather(self.interruption.signum)),
            f"stopped and saved after step {step} of {self.run.num_steps} in "
            f"{self.workdir.path}; the same command resumes from there.",
        )
