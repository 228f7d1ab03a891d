"""Which checkpoints of a run are kept: the latest, the best of each protocol, milestones."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from orbax.checkpoint import checkpoint_managers as policies

from rcc_jax.workdir.best_scores import BestScores


def chosen(keep: int, kept: Sequence[int], old_protocol: str) -> policies.PreservationPolicy:
    """The policy of a run.

    Args:
        keep: Number of latest checkpoints to keep.
        kept: Steps to keep in any case.
        old_protocol: Protocol of checkpoints that do not record theirs.
    """
    # Not max_to_keep: together with best_fn it deletes the newest checkpoint.
    return policies.AnyPreservationPolicy(
        [policies.LatestN(keep), _BestOfEach(old_protocol), _Steps(kept)]
    )


def milestones(num_steps: int, count: int) -> tuple[int, ...]:
    """The steps after 1/count, 2/count, ..., all of the steps of a run.

    >>> milestones(100, 3)
    (33, 66, 100)
    """
    return tuple(num_steps * number // count for number in range(1, count + 1))


def best_scores(metrics: Mapping[int, Mapping[str, Any] | None], old_protocol: str) -> BestScores:
    """The best checkpoints.

    Args:
        metrics: 'score' and 'protocol', by step; None for a checkpoint without metrics.
        old_protocol: Protocol of metrics without that entry.
    """
    scores = BestScores()
    for step, entry in sorted(metrics.items()):
        if entry is not None:
            scores.note(step, entry.get("protocol", old_protocol), entry["score"])
    return scores


def rank(metrics: Mapping[str, Any]) -> float:
    """The score of a checkpoint for orbax, lowest if it has none."""
    return -math.inf if metrics["score"] is None else metrics["score"]


class _Steps(policies.PreservationPolicy):
    """Keeps the checkpoints of certain steps."""

    def __init__(self, steps: Sequence[int]):
        self._steps = set(steps)

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        return [info.step in self._steps for info in checkpoints]


class _BestOfEach(policies.PreservationPolicy):
    """Keeps the best checkpoint of each protocol."""

    def __init__(self, old_protocol: str):
        self._old_protocol = old_protocol

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        scores = best_scores({info.step: info.metrics for info in checkpoints}, self._old_protocol)
        kept = {step for step, _ in scores.best.values()}
        return [info.step in kept for info in checkpoints]
