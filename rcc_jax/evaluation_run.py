"""Evaluation of a trained run: restore, score the validation images, print and record."""

import json
import math

import ml_collections

from rcc_jax.checkpoints import Checkpoints, restore_path
from rcc_jax.errors import ConfigError
from rcc_jax.evaluation import Scores, scores
from rcc_jax.run import Run
from rcc_jax.trainer import evaluate_confusion
from rcc_jax.workdir import Workdir, write_atomically


def evaluate(
    config: ml_collections.ConfigDict, workdir_path: str, *, checkpoint: str = "latest"
) -> dict[str, Scores]:
    """Scores a checkpoint on the validation images and prints a table.

    The workdir is only read, apart from `evaluation_<step>.json`, so that a run may be evaluated
    while it goes on.

    Args:
      config: the configuration of the run; `eval.*` and `data.root` may differ.
      workdir_path: folder of the run.
      checkpoint: 'latest', 'best', or the path of a checkpoint or of another workdir.

    Returns:
      Scores by network: 'student' and, where there is one, 'ema'.

    Raises:
      ConfigError, DataError: for input that cannot work.
    """
    run = Run.build(config)
    if checkpoint in ("latest", "best"):
        workdir = Workdir.open(workdir_path, config.to_dict(), read_only=True)
        with Checkpoints(
            workdir.checkpoints_path, keep=config.checkpoint.keep, read_only=True
        ) as checkpoints:
            step = checkpoints.latest_step if checkpoint == "latest" else checkpoints.best_step
            if step is None:
                raise ConfigError(
                    f"--workdir={workdir_path} has no {checkpoint} checkpoint; train first."
                )
            state = checkpoints.restore(run.abstract_state(), step=step)
        record = workdir.path / f"evaluation_{step}.json"
    else:
        state, step = restore_path(checkpoint, run.abstract_state())
        record = None

    networks = {"student": state.weights}
    if state.ema is not None:
        networks["ema"] = state.ema
    results = {
        name: scores(evaluate_confusion(run, weights), run.class_names)
        for name, weights in networks.items()
    }
    for name, result in results.items():
        print(f"\n{name}, step {step}\n{result.table()}")
    if record is not None:
        write_atomically(record, json.dumps(_as_json(results, run, step), indent=2) + "\n")
    return results


def _as_json(results: dict[str, Scores], run: Run, step: int) -> dict:
    return {
        "step": step,
        "eval": run.config.eval.to_dict(),
        **{
            name: {
                "miou": result.miou,
                "iou": {k: None if math.isnan(v) else v for k, v in result.iou.items()},
            }
            for name, result in results.items()
        },
    }
