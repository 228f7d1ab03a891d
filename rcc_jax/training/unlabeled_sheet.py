"""A picture of what the method sees in a few unlabelled images, the same at each evaluation."""

import functools

import cv2
import numpy as np

from input_pipeline.batches.skipping import SkippingSource
from input_pipeline.batches.views import UnlabeledViews
from rcc_jax import build
from rcc_jax.distributed import meshes
from rcc_jax.evaluation.evaluator import Evaluator
from rcc_jax.reporting import heat_map, palettes, sheets
from rcc_jax.training.method_view import MethodView, method_view
from rcc_jax.training.run import Run
from rcc_jax.training.train_state import TrainState

# Not the seed of the run: runs of other seeds and methods show the same views.
_SEED = 0
# What `visualization.pale` makes of a middling grey; padding.
_WHITE = np.full(3, 255, np.uint8)


class UnlabeledSheet:
    """Draws weak and strong views of unlabelled images with what the networks make of them."""

    def __init__(self, run: Run):
        """Reads and compiles nothing yet."""
        self._run = run
        # Views are seen whole and once in training, whatever `config.eval` says. A second function
        # of the same network: it is compiled once more, for these few views of one size.
        self._evaluator = Evaluator(
            run.network.predict,
            num_classes=run.partition.num_classes,
            mesh=meshes.make_local_mesh(),
        )

    def draw(self, state: TrainState) -> np.ndarray | None:
        """The sheet of a state, uint8 [H, W, 3]; a row an image.

        The teacher (the averaged one where there is one) labels the weak view. Kept are the pixels
        whose confidence reaches the threshold. The student labels the first strong view, before
        CutMix, so that all pictures of a row show the same places. `agreement.rank_agreement`
        compares the two. Both networks are in evaluation mode, with BatchNorm's running statistics,
        where training steps have those of the batch.

        Args:
            state: Of the training.

        Returns:
            The sheet; None where the method has no unlabelled images or `eval.pictures` is 0.

        Raises:
            DataError: An image that cannot be used.
        """
        if self._views is None:
            return None
        views, method = self._views, self._run.method
        teacher = state.weights if state.ema is None else state.ema
        # One after the other: at twice the rows there would be twice the memory.
        seen = method_view(
            self._evaluator.log_probabilities(teacher, views["weak"]),
            self._evaluator.log_probabilities(state.weights, views["strong1"]),
            views["valid"],
            threshold=method.confidence_threshold,
            top_n=method.top_n,
        )
        return self._sheet(views, seen, averaged=state.ema is not None)

    @functools.cached_property
    def _views(self) -> dict[str, np.ndarray] | None:
        """Rows 'weak', 'strong1' and 'valid'; draws of their own touch none of the training's."""
        run, source = self._run, self._run.partition.unlabeled
        count = run.config.eval.pictures if run.method.strong_views else 0
        if not count:
            return None
        if (max_bad := build.max_bad(run.config)) is not None:
            source = SkippingSource(source, max_bad)
        # Spread evenly: neighbours in a list often are of one scene.
        chosen = np.linspace(0, len(source) - 1, min(count, len(source))).astype(int)
        make = UnlabeledViews(run.config.data.crop_size, strong_views=1, boxes=False)
        rows = [
            make(source[index], np.random.default_rng([_SEED, row]))
            for row, index in enumerate(chosen.tolist())
        ]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def _sheet(self, views, seen: MethodView, *, averaged: bool) -> np.ndarray:
        partition, valid = self._run.partition, views["valid"]
        threshold = self._run.method.confidence_threshold
        colors = palettes.of_data(self._run.config.data)
        teacher, student = (
            sheets.colorize(labels, colors) for labels in (seen.labels, seen.student_labels)
        )
        kept = np.where(seen.kept[..., None], teacher, sheets.pale(views["weak"]))
        share = seen.kept.sum() / valid.sum()
        panels = [
            ("weak view", views["weak"], cv2.INTER_AREA),
            ("averaged teacher" if averaged else "teacher", teacher, cv2.INTER_NEAREST),
            ("confidence", heat_map.shades(seen.confidence), cv2.INTER_AREA),
            (f"kept: {share:.1%} at {threshold:g} or more", kept, cv2.INTER_NEAREST),
            ("strong view", views["strong1"], cv2.INTER_AREA),
            ("student", student, cv2.INTER_NEAREST),
        ]
        if seen.agreement is not None:
            title = f"agreement, mean {seen.agreement[valid].mean():.2f}"
            panels.append((title, heat_map.shades(seen.agreement), cv2.INTER_AREA))
        rows = [
            [
                sheets.fit(np.where(inside[..., None], pictures[row], _WHITE), interpolation)
                for _, pictures, interpolation in panels
            ]
            for row, inside in enumerate(valid)
        ]
        more = {
            "not kept": sheets.PALE,
            "padding": _WHITE,
            **heat_map.scale("confidence, agreement "),
        }
        return sheets.sheet(
            rows,
            [title for title, *_ in panels],
            **sheets.legend(partition.class_names, colors, more),
        )
