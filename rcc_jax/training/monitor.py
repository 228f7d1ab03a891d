"""What a training run shows of each evaluation: a table of scores and pictures."""

import math
import pathlib
import shutil
from collections.abc import Mapping

from rcc_jax.config import protocols
from rcc_jax.evaluation.scores import Scores, score_table
from rcc_jax.reporting import palettes, pictures_page, prediction_sheet, sheets
from rcc_jax.reporting.progress import Progress
from rcc_jax.training.run import Run
from rcc_jax.training.train_state import TrainState
from rcc_jax.training.unlabeled_sheet import UnlabeledSheet
from rcc_jax.training.validation import draw_predictions
from rcc_jax.workdir.metrics import MetricWriter

# Columns of the table if the output is not a terminal.
_LINE = 100


class EvaluationReport:
    """Prints scores and draws predictions. Only the first process uses it."""

    def __init__(
        self, run: Run, pictures_path: pathlib.Path, writer: MetricWriter, progress: Progress
    ):
        """Prepares the report without reading or compiling anything.

        Args:
            run: The run.
            pictures_path: Folder of the pictures, created with the first of them.
            writer: Passes the pictures on to TensorBoard.
            progress: Prints the table.
        """
        self._run, self._pictures_path = run, pictures_path
        self._writer, self._progress = writer, progress
        self._unlabeled = UnlabeledSheet(run)

    def show(
        self, state: TrainState, step: int, results: Mapping[str, Scores], best: float | None
    ) -> None:
        """Shows an evaluation that the writer has already recorded.

        Args:
            state: The state of the training after the step.
            step: Number of finished steps.
            results: Scores of the student under '' and of the EMA teacher under '_ema'.
            best: The highest mIoU of this protocol so far, in percent. None if no validation mask
                has a pixel of any class.

        Raises:
            DataError: An image cannot be used.
        """
        width = shutil.get_terminal_size((_LINE, 0)).columns
        protocol = protocols.name(self._run.config.eval)
        previous = self._writer.evaluation_before(step, protocol)
        self._progress.message(score_table(results, previous, width=width))
        text = ", ".join(f"mIoU{s.replace('_', ' ')} {r.miou:.2f}" for s, r in results.items())
        best = math.nan if best is None else best
        self._progress.message(f"step {step}: {text} (best {best:.2f})")
        self._draw(state, step)

    def _draw(self, state: TrainState, step: int) -> None:
        """Writes the pictures of a step, and the page that lists those of all steps."""
        rows = draw_predictions(self._run, state.averaged or state.weights)
        unlabeled = self._unlabeled.draw(state)
        if rows is None and unlabeled is None:
            return
        self._pictures_path.mkdir(exist_ok=True)
        if rows is not None:
            palette = palettes.of_data(self._run.config.data)
            sheet = prediction_sheet.sheet(rows, self._run.partition.class_names, palette)
            path = self._pictures_path / pictures_page.sheet_name("step", step)
            prediction_sheet.save(path, rows, sheet)
            self._writer.image(step, "predictions", sheet)
        if unlabeled is not None:
            path = self._pictures_path / pictures_page.sheet_name("unlabeled", step)
            sheets.save_png(path, unlabeled)
            self._writer.image(step, "unlabeled", unlabeled)
        name = self._pictures_path.resolve().parent.name
        pictures_page.write(self._pictures_path, name, self._writer.evaluation_scores)
