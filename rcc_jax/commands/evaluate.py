"""Evaluation of a run on its validation images: scores, pictures, and the mode that prints them."""

import json
import math
import pathlib
import sys
from collections.abc import Collection, Iterator, Sequence

import ml_collections
import numpy as np

import input_pipeline
from input_pipeline.files import NOT_ALLOWED, write_atomically
from rcc_jax.distributed import processes
from rcc_jax.distributed.interruption import Interrupted, Interruption
from rcc_jax.evaluation.evaluator import Scores, scores
from rcc_jax.reporting import palettes, prediction_sheet
from rcc_jax.training.run import Run
from rcc_jax.training.train_state import TrainState
from rcc_jax.workdir import checkpoint_paths
from rcc_jax.workdir.folder import evaluation_name

_NOTICE = "noticed; the evaluation ends after the images under way"


def evaluate(
    config: ml_collections.ConfigDict,
    workdir_path: str,
    *,
    checkpoint: str = "latest",
    images: str = "",
) -> dict[str, Scores]:
    """Scores a checkpoint on the validation images, or on others, and prints a table.

    The workdir is only read, apart from `evaluation_<step>.json` (`evaluation_<step>_test.json` of
    a list test.txt), so that a run may be evaluated while it goes on.

    Args:
        config: The configuration of the run, but for `checkpoint_paths.MAY_DIFFER`.
        workdir_path: Folder of the run.
        checkpoint: 'latest', 'best', or the path of a checkpoint or of another workdir.
        images: What takes the place of `data.val`, and is written like it; '' = nothing.

    Returns:
        Scores by network: 'student' and, where there is one, 'ema'.

    Raises:
        ConfigError, DataError: For input that cannot work.
        Interrupted: After SIGTERM or SIGINT; it says which scores are complete and where they are.
    """
    with Interruption(_NOTICE if processes.is_first() else "") as interruption:
        run = Run.build(config, workdir_path, images=images)
        run.check_same_everywhere()
        path = checkpoint_paths.find_named(config, workdir_path, checkpoint)
        state, step = checkpoint_paths.restore_path(path, run.abstract_state())
        title = f"step {step}{f', {images}' if images else ''}"
        results, missing = _score(run, state, title, interruption)
        record = None
        if checkpoint_paths.is_name(checkpoint):
            record = pathlib.Path(workdir_path) / evaluation_name(step, images)
        if record and not missing and processes.is_first():
            content = {"step": step, "images": images or config.data.val, **_as_json(results, run)}
            _write(record, content)
        # Of whichever process got one; the scores are complete in all or in none.
        if signum := max(processes.gather(interruption.signum)):
            raise Interrupted(signum, _kept(step, results, missing, record))
    return results


def _score(
    run: Run, state: TrainState, title: str, interruption: Interruption
) -> tuple[dict[str, Scores], list[str]]:
    """Scores each network and prints its table; also the names that a signal has left out."""
    networks = {"student": state.weights}
    if state.ema is not None:
        networks["ema"] = state.ema
    results = {}
    for name, weights in networks.items():
        counts = evaluate_confusion(run, weights, interruption.requested)
        if counts is None:
            break
        if processes.is_first() and results:
            print()
        results[name] = scores(counts, run.partition.class_names)
        if processes.is_first():
            print(f"{name}, {title}\n{results[name].table()}", flush=True)
    return results, [name for name in networks if name not in results]


def _write(record: pathlib.Path, content: dict) -> None:
    try:
        write_atomically(record, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        # The run of someone else: what was asked for is printed.
        if error.errno not in NOT_ALLOWED:
            raise
        print(f"not written to {record}: {error.strerror}", file=sys.stderr)


def _kept(
    step: int, results: Collection[str], missing: Sequence[str], record: pathlib.Path | None
) -> str:
    """What is left of an evaluation that a signal has ended."""
    if not missing:
        where = f"; they are in {record}" if record else ""
        return f"stopped after all scores of step {step} were complete{where}."
    done = f"the scores of {' and '.join(results)} are printed above, those" if results else "those"
    untouched = f"{record} was not written or changed" if record else "nothing was written"
    return (
        f"stopped while scoring step {step}: {done} of {' and '.join(missing)} are not complete "
        f"and not kept; {untouched}. The same command starts this evaluation again."
    )


def _as_json(results: dict[str, Scores], run: Run) -> dict:
    return {
        "eval": run.config.eval.to_dict(),
        **{
            name: {
                "miou": result.miou,
                "iou": {k: None if math.isnan(v) else v for k, v in result.iou.items()},
            }
            for name, result in results.items()
        },
    }


def evaluate_confusion(run: Run, weights, should_stop=lambda: False) -> np.ndarray | None:
    """Confusion matrix [K, K] (rows = truth) over the validation images.

    Each process counts a share of the images, without the others; then the counts are added up.

    Args:
        run: The run.
        weights: Weights of the network.
        should_stop: Asked between batches; once true in any process, the result is None in all.
    """
    shard = processes.index(), processes.count()
    own = run.evaluator.confusion(weights, _batches(run, shard), should_stop=should_stop)
    counts = processes.gather(None if own is None else own.tolist())
    return None if None in counts else np.sum(counts, axis=0, dtype=np.int64)


def _batches(run: Run, shard: tuple[int, int] = (0, 1)) -> Iterator[dict[str, np.ndarray]]:
    return input_pipeline.evaluation_batches(
        run.partition.val,
        # So many on all devices together: the share of each does not grow with the processes.
        batch_size=math.ceil(run.config.eval.batch_size / processes.count()),
        num_threads=run.config.data.num_threads,
        shard=shard,
        shapes=run.padded_shapes,
    )


def draw_predictions(run: Run, weights) -> np.ndarray | None:
    """Image, truth, prediction and confidence of some validation images, uint8 [H, W, 3]."""
    count = min(run.config.eval.pictures, len(run.partition.val))
    if not count:
        return None
    found = []
    # Spread evenly: neighbours in a list often are of one scene.
    for batch in _batches(run, (0, len(run.partition.val) // count)):
        # The rest of the batch would only take memory: this program is not the one that counts.
        rows = np.flatnonzero(batch["index"] >= 0)[: count - len(found)]
        batch = {name: array[rows] for name, array in batch.items()}
        seen = run.evaluator.describe(weights, batch["image"], batch.get("size"))
        sizes = batch.get("size", [batch["label"].shape[1:]] * len(rows))
        shown = batch["image"], batch["label"], seen["labels"], seen["confidence"]
        for (height, width), *pictures in zip(sizes, *shown, strict=True):
            found.append([picture[:height, :width] for picture in pictures])
        if len(found) == count:
            break
    return prediction_sheet.draw(
        *zip(*found, strict=True),
        class_names=run.partition.class_names,
        palette=palettes.of_data(run.config.data),
    )
