"""`--mode=predict`: reads a folder of images, labels them and writes the predictions."""

import concurrent.futures
import dataclasses
import itertools
import pathlib
import sys
from collections.abc import Iterator

import jax
import ml_collections
import numpy as np

from input_pipeline.batches import photos as photo_files
from input_pipeline.batches.photos import Photo, PhotoBatch
from input_pipeline.errors import DataError
from input_pipeline.sources.orientation import as_stored
from rcc_jax.commands import prediction_files
from rcc_jax.commands.prediction_record import BatchPlan, PredictionRecord, assign, options_of
from rcc_jax.distributed.interruption import Interrupted, Interruption
from rcc_jax.errors import ConfigError, is_out_of_memory
from rcc_jax.reporting.progress import Progress
from rcc_jax.segmenter import Segmenter
from rcc_jax.workdir import checkpoint_paths

# From this number of sizes on, a message says that the network is compiled for each.
_MANY_SIZES = 4


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The results of a call.

    Attributes:
        written: Number of images predicted now.
        kept: Number of images whose predictions existed already.
        failed: Errors by path of the image.
    """

    written: int
    kept: int
    failed: dict[str, DataError]


def predict(
    config: ml_collections.ConfigDict,
    workdir_path: str,
    *,
    images: str,
    output: str,
    checkpoint: str = "latest",
    save: str = "labels,overlays",
    overwrite: bool = False,
) -> Outcome:
    """Labels images and writes the requested files into a folder; resumes if it was stopped.

    Args:
        config: The configuration of the run; `eval.*` says how images are evaluated.
        workdir_path: Folder of the run.
        images: A file, a folder (with its subfolders) or a glob.
        output: Folder of the results: a new one, or one with predictions of the same settings.
        checkpoint: 'latest', 'best', or the path of a checkpoint or of another workdir.
        save: Kinds of files, comma-separated; see `prediction_files`.
        overwrite: Whether to overwrite existing predictions.

    Returns:
        The outcome; images that cannot be read are reported and skipped.

    Raises:
        ConfigError, DataError: If the configuration or the data cannot be used.
        Interrupted: After SIGTERM or SIGINT; no image is left half written.
    """
    kinds, folder = prediction_files.parse_kinds(save), pathlib.Path(output).absolute()
    start, found = photo_files.find_photos(images, field="--input", leave_out=str(folder))
    segmenter = Segmenter(config, checkpoint_paths.find_named(config, workdir_path, checkpoint))
    record = PredictionRecord.open(folder, options_of(segmenter, start), segmenter.evaluator.kind)
    if overwrite:
        record.plans.clear()
    todo = {
        name: path
        for name, path in found.items()
        if overwrite
        or not all(prediction_files.path_of(folder, kind, name).exists() for kind in kinds)
    }
    with (
        Interruption("noticed; the run ends after the current images") as interruption,
        Progress(len(found), len(found) - len(todo), unit="image") as progress,
    ):
        return _Prediction(segmenter, record, kinds, progress, interruption).run(found, todo)


def _unpadded(batch: PhotoBatch, values: np.ndarray) -> list[np.ndarray]:
    """The rows of [B, H, W, ...] that hold images, cut to the sizes of the images."""
    return [
        row[: photo.height, : photo.width] for photo, row in zip(batch.photos, values, strict=False)
    ]


class _Prediction:
    """The shared state of one call of `predict`."""

    def __init__(self, segmenter, record, kinds, progress, interruption):
        self.segmenter: Segmenter = segmenter
        self.record: PredictionRecord = record
        self.folder: pathlib.Path = record.folder
        self.kinds: tuple[str, ...] = kinds
        self.progress: Progress = progress
        self.interruption: Interruption = interruption
        self.failed: dict[str, DataError] = {}

    def run(self, found: dict[str, str], todo: dict[str, str]) -> Outcome:
        kept = len(found) - len(todo)
        batches = self._batches(found, todo)
        prediction_files.write_legend(
            self.folder, self.segmenter.class_names, self.segmenter.palette
        )
        written, writing = 0, []
        threads = self.segmenter.config.data.num_threads
        with concurrent.futures.ThreadPoolExecutor(threads, "write") as executor:
            for batch in batches:
                predictions = self._describe(batch)
                # Files of a batch are written while the network predicts the next one.
                self._wait(writing)
                writing = [
                    executor.submit(self._write, photo, image, prediction)
                    for photo, image, prediction in zip(
                        batch.photos, _unpadded(batch, batch.images), predictions, strict=True
                    )
                ]
                written += len(batch.photos)
                self.progress.show(kept + written + len(self.failed))
                if self.interruption.requested():
                    break
            self._wait(writing)
        if self.interruption.requested():
            raise Interrupted(
                self.interruption.signum,
                f"stopped after {kept + written} of {len(found)} images; the same command resumes "
                "with the others.",
            )
        return Outcome(written, kept, self.failed)

    def _batches(self, found: dict[str, str], todo: dict[str, str]) -> Iterator[PhotoBatch]:
        """The remaining images, in the batch shapes recorded by the first start."""
        config, plans = self.segmenter.config, self.record.plans
        threads, paths = config.data.num_threads, set(todo.values())

        def report(path: str, error: DataError) -> None:
            if path in paths:
                self._report(path, error)

        # Without a plan, this is the first start or the folder is from a version that recorded
        # none. That version chose the batches from all images, so read all of them.
        looked_at = todo if plans else found
        photos = photo_files.open_photos(looked_at, num_threads=threads, on_fault=report)
        if rest := assign(photos, plans)[1]:
            plans.append(BatchPlan.of(rest, self.segmenter))
            self.record.write()
        photos = [photo for photo in photos if photo.path in paths]
        assigned, _ = assign(photos, plans)
        self._announce(len(found), len(found) - len(todo), photos)
        return itertools.chain.from_iterable(
            photo_files.photo_batches(
                own,
                batch_size=config.eval.batch_size,
                num_threads=threads,
                on_fault=self._report,
                shapes=plan.shapes,
                rows=plan.rows,
            )
            for plan, own in zip(plans, assigned, strict=True)
        )

    def _report(self, path: str, error: DataError) -> None:
        self.failed[path] = error
        print(f"skipped: {error}", file=sys.stderr, flush=True)

    def _announce(self, count: int, kept: int, photos: list[Photo]) -> None:
        shapes = sum(len(plan.shapes.sizes) for plan in self.record.plans)
        sizes = len({photo.size for photo in photos})
        self.progress.message(
            f"{count} images, {kept} already done; {self.segmenter.network} of "
            f"{self.segmenter.checkpoint}"
        )
        if shapes:
            self.progress.message(
                f"{sizes} image sizes are padded to {shapes}; the network is compiled for these"
            )
        elif self.segmenter.config.eval.mode == "whole" and sizes >= _MANY_SIZES:
            self.progress.message(
                f"the network is compiled for each of {sizes} image sizes; "
                "--config.eval.mode=sliding compiles it once"
            )

    def _describe(self, batch: PhotoBatch) -> list[dict[str, np.ndarray]]:
        try:
            found = self.segmenter.describe(
                batch.images, batch.sizes, probabilities="probabilities" in self.kinds
            )
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error):
                raise
            rows, height, width, _ = batch.images.shape
            raise ConfigError(
                f"{rows} images of {width}x{height} do not fit into the memory of the device; "
                "use --config.eval.batch_size=1 or --config.eval.mode=sliding with a smaller "
                "--config.eval.window. Finished predictions are kept."
            ) from None
        rows = zip(*(_unpadded(batch, values) for values in found.values()), strict=True)
        return [dict(zip(found, row, strict=True)) for row in rows]

    def _write(self, photo: Photo, image: np.ndarray, prediction: dict[str, np.ndarray]) -> None:
        turn = photo.orientation
        prediction = {name: as_stored(value, turn) for name, value in prediction.items()}
        for kind in self.kinds:
            prediction_files.write(
                prediction_files.path_of(self.folder, kind, photo.name),
                kind,
                image=as_stored(image, turn),
                prediction=prediction,
                palette=self.segmenter.palette,
                class_names=self.segmenter.class_names,
                orientation=turn,
            )

    def _wait(self, writing: list[concurrent.futures.Future]) -> None:
        try:
            for future in writing:
                future.result()
        except OSError as error:
            raise ConfigError(
                f"--output={self.folder}: cannot write there ({error}); finished predictions are "
                "kept."
            ) from None
