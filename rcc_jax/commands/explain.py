"""Explains a network: which pairs of classes compete in its predictions on a data set."""

import csv
import io
import json
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence

import ml_collections
import numpy as np

import input_pipeline
from input_pipeline import near_names
from input_pipeline.batches import photos as photo_files
from input_pipeline.batches.photometric import strong_view
from input_pipeline.files import write_atomically
from rcc_jax import build
from rcc_jax.commands.prediction_record import options_of, require_same
from rcc_jax.config import schema
from rcc_jax.consensus.players import MAX_PLAYERS
from rcc_jax.errors import ConfigError
from rcc_jax.evaluation.consensus_map import ConsensusMap
from rcc_jax.reporting import heat_map, sheets
from rcc_jax.reporting.progress import Progress
from rcc_jax.segmenter import Segmenter
from rcc_jax.workdir import checkpoint_paths

TOP_PAIRS = 10
# The printed list leaves out pairs that occur in hardly any pixel; pairs.csv has them.
LEAST_SHARE = 0.001
# Images are enlarged to at least this many pixels, so that their titles have room.
MAP_WIDTH = 180

_RECORD = "consensus.json"

Batch = tuple[list[str], np.ndarray]


def explain(
    config: ml_collections.ConfigDict,
    workdir_path: str,
    *,
    checkpoint: str = "latest",
    images: str = "",
    output: str = "",
    pair: str = "",
) -> tuple[ConsensusMap, int]:
    """Averages the class consensus over images; writes tables and pictures, prints the top pairs.

    The teacher sees the images as they are. The student sees them with distorted colours, as in the
    strong views of training. Both have the same weights if the run has no EMA teacher.

    Args:
        config: The configuration of the run. `method.top_n` classes are players, for any method.
        workdir_path: Folder of the run.
        checkpoint: 'latest', 'best', or the path of a checkpoint or of another workdir.
        images: A file, a folder or a glob; '' for the validation images of the run.
        output: Folder of the results: a new or empty one, or one with results of the same settings,
            which are replaced; '' for consensus_STEP in the workdir.
        pair: 'CLASS,CLASS', a pair to draw maps of; '' for none.

    Returns:
        The consensus sums, and the number of images that could not be read.

    Raises:
        ConfigError, DataError: If the settings or the images cannot be used.
    """
    path = checkpoint_paths.find_named(config, workdir_path, checkpoint)
    if not output and not checkpoint_paths.is_name(checkpoint):
        raise ConfigError("--mode=consensus with the path of a checkpoint needs --output=DIR.")
    segmenter = Segmenter(config, path)
    found = ConsensusMap(
        segmenter.class_names,
        top_n=min(config.method.top_n or schema.PLAYERS, len(segmenter.class_names), MAX_PLAYERS),
        pair=_parse_pair(pair, segmenter.class_names) if pair else None,
        num_maps=config.eval.pictures,
    )
    options = {**options_of(segmenter, _absolute(images) or config.data.val), "top_n": found.top_n}
    step = pathlib.Path(path).name
    folder = pathlib.Path(output or pathlib.Path(workdir_path) / f"consensus_{step}")
    _check_folder(folder, options)
    failed = {}
    if images:
        count, batches = _photo_batches(config, images, folder, failed)
    else:
        count, batches = _validation_batches(config, workdir_path)
    _add_all(found, segmenter, batches, count)
    if not found.num_images:
        raise ConfigError(f"--input={images}: none of the images could be read.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder, found, segmenter, options)
    except OSError as error:
        raise ConfigError(f"--output={folder}: cannot write there ({error}).") from None
    print(_in_words(found))
    print(f"tables and pictures: {folder}")
    return found, len(failed)


def _absolute(images: str) -> str:
    return images and os.path.abspath(os.path.expanduser(images))


def _check_folder(folder: pathlib.Path, options: dict) -> None:
    """Rejects a folder of other files, or of results with other settings."""
    file = folder / _RECORD
    try:
        if not folder.exists():
            return
        if not file.exists():
            if any(not path.name.startswith(".") for path in folder.iterdir()):
                raise ConfigError(
                    f"--output={folder}: the folder holds other files; name a new or an empty "
                    "folder."
                )
            return
        before = json.loads(file.read_text())
        known = {name: value for name, value in before.items() if name in options}
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"--output={folder}: cannot be used ({error}); name another folder."
        ) from None
    require_same(folder, known, options, "a consensus")


def _parse_pair(text: str, names: Sequence[str]) -> tuple[int, int]:
    chosen = [name.strip() for name in text.split(",")]
    for name in chosen:
        if name not in names:
            raise ConfigError(
                f"--pair={text}: there is no class {name!r}.{near_names.did_you_mean(name, names)} "
                f"Classes: {', '.join(names)}."
            )
    if len(set(chosen)) != 2:
        raise ConfigError(
            f"--pair={text}: name two different classes, such as {','.join(names[:2])}."
        )
    return names.index(chosen[0]), names.index(chosen[1])


def _photo_batches(
    config, images: str, output: pathlib.Path, failed: dict
) -> tuple[int, Iterator[Batch]]:
    def report(path, error):
        failed[path] = error
        print(f"skipped: {error}", file=sys.stderr, flush=True)

    threads = config.data.num_threads
    _, paths = photo_files.find_photos(images, field="--input", leave_out=str(output.absolute()))
    photos = photo_files.open_photos(paths, num_threads=threads, on_fault=report)
    batches = photo_files.photo_batches(
        photos, batch_size=config.eval.batch_size, num_threads=threads, on_fault=report
    )
    return len(photos), (([p.name for p in batch.photos], batch.images) for batch in batches)


def _validation_batches(config, workdir_path: str) -> tuple[int, Iterator[Batch]]:
    source = build.open_partition(config, workdir_path).val

    def batches():
        for batch in input_pipeline.evaluation_batches(
            source, batch_size=config.eval.batch_size, num_threads=config.data.num_threads
        ):
            yield [source.ids[index] for index in batch["index"] if index >= 0], batch["image"]

    return len(source), batches()


def _add_all(
    found: ConsensusMap, segmenter: Segmenter, batches: Iterator[Batch], count: int
) -> None:
    evaluator, teacher, student = (
        segmenter.evaluator,
        segmenter.weights,
        segmenter.student_weights(),
    )
    with Progress(count, 0, unit="image") as progress:
        for names, images in batches:
            distorted = images.copy()
            for row in range(len(names)):
                draws = np.random.default_rng([segmenter.config.seed, found.num_images + row])
                distorted[row] = strong_view(images[row], draws)
            found.add(
                names,
                images,
                evaluator.log_probabilities(teacher, images),
                evaluator.log_probabilities(student, distorted),
            )
            progress.update(found.num_images)


def _in_words(found: ConsensusMap) -> str:
    names, teacher, student = found.class_names, found.mean("teacher"), found.mean("student")
    share = found.counts() / found.num_pixels
    lines = [f"mean consensus of the teacher's top {found.top_n} over {found.num_images} images:"]
    for u, v in found.top_pairs(TOP_PAIRS, least_share=LEAST_SHARE):
        lines.append(
            f"{names[u]}-{names[v]} {teacher[u, v]:.2f} "
            f"(student {student[u, v]:.2f}; in {share[u, v]:.1%} of the pixels)"
        )
    return "\n".join(lines)


def _write(folder: pathlib.Path, found: ConsensusMap, segmenter: Segmenter, options: dict) -> None:
    record = {
        **options,
        "teacher": segmenter.network,
        "student": "student, colours distorted as in training",
        "images": found.num_images,
        "pixels": found.num_pixels,
    }
    # First, so that an interrupted command can be repeated.
    write_atomically(folder / _RECORD, json.dumps(record, indent=2) + "\n")
    names, counts = found.class_names, found.counts()
    teacher, student = found.mean("teacher"), found.mean("student")
    tables = {"teacher": teacher, "student": student, "counts": counts}
    for table, values in tables.items():
        rows = [[name, *map(_cell, row)] for name, row in zip(names, values, strict=True)]
        write_atomically(folder / f"{table}.csv", _csv([["", *names], *rows]))
    ordered = found.top_pairs(len(names) ** 2)
    rows = [
        [names[u], names[v], counts[u, v], _cell(teacher[u, v]), _cell(student[u, v])]
        for u, v in ordered
    ]
    header = ["class_a", "class_b", "pixels", "teacher", "student"]
    write_atomically(folder / "pairs.csv", _csv([header, *rows]))
    write_atomically(folder / "consensus.svg", _heat_maps(names, teacher, student))
    maps = found.maps()
    if maps:
        sheets.save_png(folder / "pair.png", _pair_sheet(found, segmenter.palette))


def _cell(value: float | int) -> str:
    if isinstance(value, np.integer):
        return str(value)
    return "" if np.isnan(value) else f"{value:.6f}"


def _csv(rows: Sequence[Sequence]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _heat_maps(names: Sequence[str], teacher: np.ndarray, student: np.ndarray) -> str:
    both = np.stack([teacher, student])
    low, high = np.nanmin(both), np.nanmax(both)
    difference = student - teacher
    reach = max(np.nanmax(np.abs(difference)), 0.01)
    tables = [
        heat_map.Table("mean J of the teacher", teacher, low, high),
        heat_map.Table("mean J of the student, same pixels", student, low, high),
        heat_map.Table("student - teacher", difference, -reach, reach, signed=True),
    ]
    return heat_map.draw(tables, names)


def _pair_sheet(found: ConsensusMap, palette: np.ndarray) -> np.ndarray:
    maps = found.maps()
    values = np.concatenate([np.stack([m.teacher, m.student]).ravel() for m in maps])
    low, high = np.nanmin(values), np.nanmax(values)
    rows = []
    for entry in maps:
        row = [entry.image, sheets.colorize(entry.labels, palette)]
        for part in (entry.teacher, entry.student):
            seen = np.isfinite(part)[..., None]
            colors = heat_map.colors_of(part, low, high)
            row.append(np.where(seen, colors, sheets.pale(entry.image)))
        rows.append(row)
    names = [found.class_names[index] for index in found.pair]
    ends = np.linspace(low, high, 3)
    shades = zip(ends, heat_map.colors_of(ends, low, high), strict=True)
    more = {
        "not both players": sheets.PALE,
        **{f"J {at:.2f}": color for at, color in shades},
    }
    return sheets.sheet(
        rows,
        ["image", "labels", "teacher", "student"],
        groups=[("", 2), (f"consensus J of {' and '.join(names)}", 2)],
        scale=-(-MAP_WIDTH // max(entry.image.shape[1] for entry in maps)),
        **sheets.legend(found.class_names, palette, more),
    )
