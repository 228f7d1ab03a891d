"""Pictures of the method's view of a few unlabelled images, the same at each evaluation."""

import dataclasses
import functools
from typing import Any

import cv2
import numpy as np

from input_pipeline.batches.skipping import SkippingSource
from input_pipeline.batches.views import UnlabeledViews
from rcc_jax import build
from rcc_jax.config import schema
from rcc_jax.distributed import meshes
from rcc_jax.evaluation.evaluator import Evaluator
from rcc_jax.methods import Method
from rcc_jax.reporting import heat_map, palettes, sheets
from rcc_jax.training.method_view import MethodView, method_view
from rcc_jax.training.run import Run
from rcc_jax.training.train_state import TrainState

# Independent of the run's seed, so that runs with other seeds and methods show the same views.
_SEED = 0
# Colour of padding.
_WHITE = np.full(3, 255, np.uint8)


@dataclasses.dataclass(frozen=True)
class Panel:
    """A column of the sheet.

    Attributes:
        title: What it shows.
        pictures: A picture per row, uint8 [SIDE, SIDE, 3]; padding is white.
    """

    title: str
    pictures: list[np.ndarray]


class UnlabeledSheet:
    """Draws weak and strong views of unlabelled images and the networks' predictions for them."""

    def __init__(self, run: Run):
        """Prepares the sheet without reading or compiling anything."""
        self._run = run
        # Training sees every view once and whole, whatever `config.eval` says. This compiles a
        # second function of the same network, for these few views of one size.
        self._student = self._evaluator("main")
        of_main = run.method.labeled_by == "main"
        self._teacher = self._student if of_main else self._evaluator(run.method.labeled_by)

    def _evaluator(self, member: str) -> Evaluator:
        """A network of the module that is trained."""
        return Evaluator(
            functools.partial(self._run.network.predict, member=member),
            num_classes=self._run.partition.num_classes,
            mesh=meshes.make_local_mesh(),
        )

    def draw(self, state: TrainState) -> np.ndarray | None:
        """Lays the panels of a state out with a legend; see `panels`.

        Returns:
            The sheet, uint8 [H, W, 3], or None.
        """
        columns = self.panels(state)
        if columns is None:
            return None
        rows = list(zip(*(column.pictures for column in columns), strict=True))
        more = {
            "not kept": sheets.PALE,
            "padding": _WHITE,
            **heat_map.scale("confidence, agreement "),
        }
        colors = palettes.of_data(self._run.config.data)
        legend = sheets.legend(self._run.partition.class_names, colors, more)
        return sheets.sheet(rows, [column.title for column in columns], **legend)

    def panels(self, state: TrainState) -> list[Panel] | None:
        """Draws the columns of the sheet; a row is an image.

        The network whose pseudo labels the student learns labels the weak view: the EMA teacher,
        the student itself, or the second of two networks. A pixel is kept if its confidence reaches
        the threshold. The student labels the first strong view before CutMix, so that all pictures
        of a row show the same places. `consensus.agreement.rank_agreement` compares the two. Both
        networks are in evaluation mode: they use BatchNorm's running statistics, while training
        steps use those of the batch.

        Args:
            state: The state of the training.

        Returns:
            The columns. None if the method has no unlabelled images or `eval.pictures` is 0.

        Raises:
            DataError: An image cannot be used.
        """
        if self._views is None:
            return None
        views, method = self._views, self._run.method
        threshold = method.threshold(state.memory)
        ema = any(teacher.labels for teacher in method.teachers)
        teacher = state.averaged if ema else state.weights
        # One after the other: both at once would need twice the memory.
        seen = method_view(
            method.shown(
                self._teacher.log_probabilities(teacher, views["weak"]), self._memory(state)
            ),
            self._student.log_probabilities(state.weights, views["strong1"]),
            views["valid"],
            threshold=threshold,
            top_n=getattr(method, "top_n", schema.PLAYERS),
        )
        return self._columns(views, seen, threshold, teacher=self._title(ema))

    def _memory(self, state: TrainState) -> Any:
        """The memory on the devices of this process, where the pictures are made."""
        method = self._run.method
        # A memory that is not shown may hold gigabytes.
        if type(method).shown is Method.shown:
            return state.memory
        return meshes.replicate(meshes.make_local_mesh(), state.memory)

    def _title(self, ema: bool) -> str:
        if ema:
            return "EMA teacher"
        return "teacher" if self._run.method.labeled_by == "main" else "second network"

    @functools.cached_property
    def _views(self) -> dict[str, np.ndarray] | None:
        """Rows 'weak', 'strong1' and 'valid'; the random draws of the training are unaffected."""
        run, source = self._run, self._run.partition.unlabeled
        count = run.config.eval.pictures if run.method.strong_views else 0
        if not count:
            return None
        if (max_bad := build.max_bad(run.config)) is not None:
            source = SkippingSource(source, max_bad)
        # Spread evenly: neighbours in a list often show the same scene.
        chosen = np.linspace(0, len(source) - 1, min(count, len(source))).astype(int)
        make = UnlabeledViews(
            run.config.data.crop_size,
            strong_views=1,
            boxes=False,
            recipe=run.method.views.recipe,
        )
        rows = [
            make(source[index], np.random.default_rng([_SEED, row]))
            for row, index in enumerate(chosen.tolist())
        ]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def _columns(self, views, seen: MethodView, threshold: float, *, teacher: str) -> list[Panel]:
        valid = views["valid"]
        colors = palettes.of_data(self._run.config.data)
        labels, student = (
            sheets.colorize(each, colors) for each in (seen.labels, seen.student_labels)
        )
        kept = np.where(seen.kept[..., None], labels, sheets.pale(views["weak"]))
        share = seen.kept.sum() / valid.sum()
        columns = [
            ("weak view", views["weak"], cv2.INTER_AREA),
            (teacher, labels, cv2.INTER_NEAREST),
            ("confidence", heat_map.shades(seen.confidence), cv2.INTER_AREA),
            (f"kept: {share:.1%} at {threshold:g} or more", kept, cv2.INTER_NEAREST),
            ("strong view", views["strong1"], cv2.INTER_AREA),
            ("student", student, cv2.INTER_NEAREST),
        ]
        if seen.agreement is not None:
            title = f"agreement, mean {seen.agreement[valid].mean():.2f}"
            columns.append((title, heat_map.shades(seen.agreement), cv2.INTER_AREA))
        return [
            Panel(
                title,
                [
                    sheets.fit(np.where(inside[..., None], picture, _WHITE), interpolation)
                    for picture, inside in zip(pictures, valid, strict=True)
                ],
            )
            for title, pictures, interpolation in columns
        ]
