"""`--mode=eval`: scores of a checkpoint on the validation images, printed as a table."""

import json
import math
import pathlib
import sys
from collections.abc import Collection, Sequence

import ml_collections

from input_pipeline.files import NOT_ALLOWED, write_atomically
from rcc_jax.distributed import processes
from rcc_jax.distributed.interruption import Interrupted, Interruption
from rcc_jax.evaluation.scores import Scores, scores
from rcc_jax.training.run import Run
from rcc_jax.training.train_state import TrainState
from rcc_jax.training.validation import evaluate_confusion
from rcc_jax.workdir import checkpoint_paths
from rcc_jax.workdir.folder import evaluation_name

_NOTICE = "noticed; the evaluation ends after the current images"


def evaluate(
    config: ml_collections.ConfigDict,
    workdir_path: str,
    *,
    checkpoint: str = "latest",
    images: str = "",
) -> dict[str, Scores]:
    """Scores a checkpoint on the validation images, or on others, and prints a table.

    Only `evaluation_<step>.json` is written to the workdir (`evaluation_<step>_test.json` for a
    list test.txt; nothing for a checkpoint that is given by its path), so a run may be evaluated
    while it trains.

    Args:
        config: The configuration of the run; fields of `checkpoint_paths.MAY_DIFFER` may differ.
        workdir_path: Folder of the run.
        checkpoint: 'latest', 'best', or the path of a checkpoint or of another workdir.
        images: Replaces `data.val`, in the same syntax; '' keeps it.

    Returns:
        Scores by network: 'student' and, if the run has an EMA teacher, 'ema'.

    Raises:
        ConfigError, DataError: If the configuration or the data cannot be used.
        Interrupted: After SIGTERM or SIGINT; the message says which scores were kept and where.
    """
    with Interruption(_NOTICE if processes.is_first() else "") as interruption:
        run = Run.build(config, workdir_path, images=images)
        run.check_same_everywhere()
        path = checkpoint_paths.find_named(config, workdir_path, checkpoint)
        saved, step = checkpoint_paths.restore_path(path, run.abstract_state().saved())
        state = TrainState(**saved)
        title = f"step {step}{f', {images}' if images else ''}"
        results, missing = _score(run, state, title, interruption)
        record = None
        if checkpoint_paths.is_name(checkpoint):
            record = pathlib.Path(workdir_path) / evaluation_name(step, images)
        if record and not missing and processes.is_first():
            content = {"step": step, "images": images or config.data.val, **_as_json(results, run)}
            _write(record, content)
        # A signal to any process ends all; either all of them have complete scores or none has.
        if signum := max(processes.gather(interruption.signum)):
            raise Interrupted(signum, _kept(step, results, missing, record))
    return results


def _score(
    run: Run, state: TrainState, title: str, interruption: Interruption
) -> tuple[dict[str, Scores], list[str]]:
    """Scores each network and prints its table; also returns the names of those not scored."""
    networks = {"student": state.weights}
    if state.ema is not None:
        networks["ema"] = state.averaged
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
        write_atomically(record, json.dumps(content, indent=2, allow_nan=False) + "\n")
    except OSError as error:
        # The run may belong to another user; the scores are printed anyway.
        if error.errno not in NOT_ALLOWED:
            raise
        print(f"not written to {record}: {error.strerror}", file=sys.stderr)


def _kept(
    step: int, results: Collection[str], missing: Sequence[str], record: pathlib.Path | None
) -> str:
    """The message of an interrupted evaluation: which scores were kept and where."""
    if not missing:
        where = f"; they are in {record}" if record else ""
        return f"stopped after all scores of step {step} were complete{where}."
    done = f"the scores of {' and '.join(results)} are printed above; " if results else ""
    untouched = f"{record} was not written or changed" if record else "nothing was written"
    return (
        f"stopped while scoring step {step}: {done}the scores of {' and '.join(missing)} are "
        f"incomplete and were discarded; {untouched}. The same command repeats this evaluation."
    )


def _number(value: float) -> float | None:
    """The value, or None for NaN, which JSON lacks."""
    return None if math.isnan(value) else value


def _as_json(results: dict[str, Scores], run: Run) -> dict:
    return {
        "eval": run.config.eval.to_dict(),
        **{
            name: {
                "miou": _number(result.miou),
                "iou": {k: _number(v) for k, v in result.iou.items()},
            }
            for name, result in results.items()
        },
    }
