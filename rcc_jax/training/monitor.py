"""What a person gets to see of each evaluation of a training: a table and pictures."""

import math
import pathlib
import shutil
from collections.abc import Mapping

from rcc_jax.config import protocols
from rcc_jax.evaluation.evaluator import Scores
from rcc_jax.evaluation.score_table import score_table
from rcc_jax.reporting import pictures_page, sheets
from rcc_jax.training.run import Run
from rcc_jax.training.train_state import TrainState
from rcc_jax.training.unlabeled_sheet import UnlabeledSheet
from rcc_jax.training.validation import draw_predictions
from rcc_jax.workdir.metrics import MetricWriter, Progress

# Where there is no terminal to ask.
_LINE = 100


class EvaluationReport:
    """Prints scores, draws what the networks see; of the first process alone."""

    def __init__(
        self, run: Run, pictures_path: pathlib.Path, writer: MetricWriter, progress: Progress
    ):
        """Reads and compiles nothing yet.

        Args:
            run: The run.
            pictures_path: Folder of the pictures; made with the first one.
            writer: What TensorBoard gets the pictures from.
            progress: Where to print.
        """
        self._run, self._pictures_path = run, pictures_path
        self._writer, self._progress = writer, progress
        self._unlabeled = UnlabeledSheet(run)

    def show(
        self, state: TrainState, step: int, results: Mapping[str, Scores], best: float | None
    ) -> None:
        """Shows an evaluation that the writer has already.

        Args:
            state: Of the training after the step.
            step: Number of finished steps.
            results: By '' (student) and '_ema' (averaged teacher).
            best: The highest mIoU of this protocol so far, percent; None where no class ever had a
                pixel.

        Raises:
            DataError: An image that cannot be used.
        """
        width = shutil.get_terminal_size((_LINE, 0)).columns
        protocol = protocols.name(self._run.config.eval)
        previous = self._writer.evaluation_before(step, protocol)
        self._progress.message(score_table(results, previous, width=width))
        text = ", ".join(f"mIoU{s.replace('_', ' ')} {r.miou:.2f}" for s, r in results.items())
        best = math.nan if best is None else best
        self._progress.message(f"step {step}: {text} (best {best:.2f})")
        counting = state.weights if state.ema is None else state.ema
        pictures = {
            # Kind of sheet in the folder, and name in TensorBoard.
            ("step", "predictions"): draw_predictions(self._run, counting),
            ("unlabeled", "unlabeled"): self._unlabeled.draw(state),
        }
        drawn = {key: picture for key, picture in pictures.items() if picture is not None}
        for (kind, tag), picture in drawn.items():
            self._pictures_path.mkdir(exist_ok=True)
            path = self._pictures_path / pictures_page.sheet_name(kind, step)
            sheets.save_png(path, picture)
            self._writer.image(step, tag, picture)
        if drawn:
            name = self._pictures_path.resolve().parent.name
            pictures_page.write(self._pictures_path, name, self._writer.evaluation_scores)
