"""`--mode=label`: pseudo masks of a run's unlabelled images, of all or of the reliable half.

The folder of the results is described in `input_pipeline/partitions/pseudo_masks.py`.
"""

import concurrent.futures
import copy
import csv
import dataclasses
import functools
import io
import json
import os
import pathlib
from collections.abc import Iterator, Sequence

import ml_collections
import numpy as np

import input_pipeline
from input_pipeline.files import write_atomically
from input_pipeline.partitions import pseudo_masks
from input_pipeline.sources.base import Source
from rcc_jax import build
from rcc_jax.commands import prediction_files
from rcc_jax.commands.prediction_record import options_of, require_same
from rcc_jax.config import guess, schema
from rcc_jax.distributed.interruption import Interrupted, Interruption
from rcc_jax.errors import ConfigError
from rcc_jax.evaluation.evaluator import Evaluator
from rcc_jax.evaluation.stability import ranked, stability
from rcc_jax.reporting.progress import Progress
from rcc_jax.segmenter import Segmenter
from rcc_jax.workdir import checkpoint_paths, preservation
from rcc_jax.workdir.folder import RESULT
from rcc_jax.workdir.metrics import reopen_lines

RECORD = "label.json"
# The scores so far, a line for each image, until the ranking is complete.
SCORES = "stability.jsonl"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The results of a call: numbers of images labelled now, and of those labelled before."""

    written: int
    kept: int


def label(
    config: ml_collections.ConfigDict,
    workdir_path: str,
    *,
    output: str,
    part: str = "all",
    checkpoint: str = "latest",
) -> Outcome:
    """Labels unlabelled images of a run's data set into a folder; resumes if it was stopped.

    With `part='reliable'` all images are ranked first, by how stable the predictions are over the
    milestones of the run; the first half is labelled. `part='unreliable'` labels the other half
    into the same folder, usually with another run.

    Args:
        config: The configuration of the run. Images are labelled as `eval.*` says, and ranked
            without flip and scales.
        workdir_path: Folder of the run.
        output: Folder of the results: a new one, or one with masks of the same settings.
        part: One of `pseudo_masks.PARTS`.
        checkpoint: 'latest', 'best', or the path of a checkpoint or of another workdir.

    Raises:
        ConfigError, DataError: If the configuration or the data cannot be used.
        Interrupted: After SIGTERM or SIGINT; no file is left half written.
    """
    folder = pathlib.Path(output).absolute()
    for fields, _ in guess.unlabeled(config) if _names_no_unlabeled(config) else ():
        config.update_from_flattened_dict(fields)
    images = build.open_unlabeled(config, workdir_path).unlabeled
    if not len(images):
        raise input_pipeline.DataError(
            f"{images.name}: no unlabelled image to label. Set config.data.unlabeled to a list, a "
            "folder or a glob."
        )
    pseudo_masks.mask_names(images)
    ranks = part == "reliable" and pseudo_masks.read_ranking(folder) is None
    copies = _copies(config, workdir_path) if part == "reliable" else []
    if part == "unreliable":
        pseudo_masks.places_of(images, folder, part)  # Before the network is read.
    segmenter = Segmenter(config, checkpoint_paths.find_named(config, workdir_path, checkpoint))
    options = {
        **options_of(segmenter, images.name),
        "copies": copies,
        "images": images.ids.digest(),
    }
    _open(folder, part, options)
    with Interruption("noticed; the run ends after the current images") as interruption:
        if ranks:
            _rank(folder, images, segmenter, copies, interruption)
        return _label(folder, images, part, segmenter, interruption)


def _names_no_unlabeled(config: ml_collections.ConfigDict) -> bool:
    fields = config.data
    return fields.source == "folder" and not fields.unlabeled and not fields.train


def _copies(config: ml_collections.ConfigDict, workdir_path: str) -> list[str]:
    """The checkpoints of a run at its milestones, the last one last."""
    workdir = pathlib.Path(workdir_path).absolute()
    try:
        steps = json.loads((workdir / RESULT).read_text())["step"]
    except (OSError, ValueError, KeyError):
        raise ConfigError(
            f"--workdir={workdir_path}: the run has not finished (no {RESULT}); train it to its "
            "end first, with --config.checkpoint.milestones=3."
        ) from None
    found = [
        workdir / "checkpoints" / str(step)
        for step in preservation.milestones(steps, config.checkpoint.milestones)
    ]
    if len(found) < 2 or not all(path.is_dir() for path in found):
        raise ConfigError(
            f"--workdir={workdir_path}: --part=reliable compares checkpoints of one run, and this "
            "one kept none besides the last; train it with --config.checkpoint.milestones=3."
        )
    return [str(path) for path in found]


def _open(folder: pathlib.Path, part: str, options: dict) -> None:
    """Creates the folder and the record of a part; rejects any other folder."""
    file = folder / RECORD
    try:
        folder.mkdir(parents=True, exist_ok=True)
        record = json.loads(file.read_text()) if file.exists() else {}
        if not record and any(not path.name.startswith(".") for path in folder.iterdir()):
            raise ConfigError(
                f"--output={folder}: the folder holds other files; name a new or an empty folder."
            )
        others = {"all": ("reliable", "unreliable")}.get(part, ("all",))
        if any(other in record for other in others):
            raise ConfigError(
                f"--output={folder} holds masks of --part={'|'.join(record)}; name another folder "
                f"for --part={part}."
            )
        if part in record:
            require_same(folder, record[part], options, "pseudo masks")
        else:
            write_atomically(file, json.dumps({**record, part: options}, indent=2) + "\n")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"--output={folder}: cannot be used ({getattr(error, 'strerror', None) or error}); "
            "name a folder that you may write to."
        ) from None


def _batches(
    images: Source, config: ml_collections.ConfigDict, evaluator: Evaluator, indices: Sequence[int]
) -> Iterator[tuple[dict, list[str]]]:
    """Batches of images, whose shapes do not depend on how many are left, with their names."""
    threads, shapes = config.data.num_threads, input_pipeline.NO_SHAPES
    if most := schema.max_shapes(config):
        counts = input_pipeline.count_sizes(images, num_threads=threads)
        shapes = input_pipeline.choose_shapes(counts, most, evaluator.kind)
    for batch in input_pipeline.evaluation_batches(
        images,
        batch_size=config.eval.batch_size,
        num_threads=threads,
        shapes=shapes,
        indices=indices,
    ):
        yield batch, [images.ids[index] for index in batch["index"] if index >= 0]


def _rank(
    folder: pathlib.Path,
    images: Source,
    segmenter: Segmenter,
    copies: Sequence[str],
    interruption: Interruption,
) -> None:
    """Writes the ranking of all images."""
    config = copy.deepcopy(segmenter.config)
    config.eval.flip, config.eval.scales = False, (1.0,)
    evaluator = build.build_evaluator(config, build.build_network(config), segmenter.mesh)
    weights = [segmenter.read_weights(path) for path in copies]
    lines, file = reopen_lines(folder / SCORES, len(images))
    scores = {line["image"]: line["score"] for line in lines}
    left = [index for index, image in enumerate(images.ids) if image not in scores]
    with file, Progress(len(images), len(scores), unit="image") as progress:
        progress.message(f"ranking {len(images)} images by {len(copies)} checkpoints")
        for batch, names in _batches(images, config, evaluator, left):
            maps = [
                evaluator.predictions(each, batch["image"], batch.get("size")) for each in weights
            ]
            for row, name in enumerate(names):
                height, width = _size(batch, row)
                *earlier, last = (each[row, :height, :width] for each in maps)
                scores[name] = stability(earlier, last, config.data.num_classes)
                line = {"step": len(scores), "image": name, "score": scores[name]}
                file.write(json.dumps(line) + "\n")
            file.flush()
            progress.show(len(scores))
            _stop_if(interruption, len(scores), len(images), "ranked")
    text = io.StringIO()
    rows = [[image, repr(scores[image])] for image in ranked(scores, list(images.ids))]
    csv.writer(text, lineterminator="\n").writerows([["image", "stability"], *rows])
    content = text.getvalue().encode("utf-8", "surrogateescape")
    write_atomically(folder / pseudo_masks.RANKING, content)
    os.remove(folder / SCORES)


def _label(
    folder: pathlib.Path,
    images: Source,
    part: str,
    segmenter: Segmenter,
    interruption: Interruption,
) -> Outcome:
    """Writes the masks of a part that are not there yet."""
    prediction_files.write_legend(folder, segmenter.class_names, segmenter.palette)
    places = pseudo_masks.places_of(images, folder, part).tolist()
    left = [place for place in places if not _mask_path(folder, images.ids[place]).exists()]
    kept, written = len(places) - len(left), 0
    threads = segmenter.config.data.num_threads
    with (
        Progress(len(places), kept, unit="image") as progress,
        concurrent.futures.ThreadPoolExecutor(threads, "write") as executor,
    ):
        progress.message(
            f"{len(places)} images, {kept} already labelled; {segmenter.network} of "
            f"{segmenter.checkpoint}"
        )
        for batch, names in _batches(images, segmenter.config, segmenter.evaluator, left):
            labels = segmenter.describe(batch["image"], batch.get("size"))["labels"]
            maps = [labels[row][tuple(map(slice, _size(batch, row)))] for row in range(len(names))]
            try:
                write = functools.partial(_write, folder, segmenter)
                list(executor.map(write, names, maps))
            except OSError as error:
                raise ConfigError(
                    f"--output={folder}: cannot write there ({error}); finished masks are kept."
                ) from None
            written += len(names)
            progress.show(kept + written)
            _stop_if(interruption, kept + written, len(places), "labelled")
    return Outcome(written, kept)


def _size(batch: dict, row: int) -> tuple[int, int]:
    height, width = batch["size"][row] if "size" in batch else batch["image"].shape[1:3]
    return int(height), int(width)


def _mask_path(folder: pathlib.Path, image: str) -> pathlib.Path:
    return folder / pseudo_masks.LABELS / pseudo_masks.mask_name(image)


def _write(folder: pathlib.Path, segmenter: Segmenter, name: str, mask: np.ndarray) -> None:
    mask = np.ascontiguousarray(mask)
    prediction_files.write(
        _mask_path(folder, name),
        "labels",
        image=mask,
        prediction={"labels": mask},
        palette=segmenter.palette,
        class_names=segmenter.class_names,
        orientation=1,  # Training reads images as stored.
    )


def _stop_if(interruption: Interruption, done: int, total: int, what: str) -> None:
    if interruption.requested() and done < total:
        raise Interrupted(
            interruption.signum,
            f"stopped after {done} of {total} images were {what}; the same command resumes with "
            "the others.",
        )
