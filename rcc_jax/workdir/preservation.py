"""Which checkpoints of a run stay: the latest ones, and the best one of each protocol."""

from collections.abc import Mapping, Sequence
from typing import Any

from orbax.checkpoint import checkpoint_managers as policies

from rcc_jax.workdir.best_scores import BestScores


def latest_and_best(keep: int, old_protocol: str) -> policies.PreservationPolicy:
    """The policy of a run.

    Args:
        keep: How many of the latest stay.
        old_protocol: What the scores of checkpoints were measured with that do not say.
    """
    # Not max_to_keep, which together with best_fn deletes the newest checkpoint.
    return policies.AnyPreservationPolicy([policies.LatestN(keep), _BestOfEach(old_protocol)])


def best_scores(metrics: Mapping[int, Mapping[str, Any] | None], old_protocol: str) -> BestScores:
    """The best checkpoints.

    Args:
        metrics: 'score' and 'protocol' by step; None, for one without, does not count.
        old_protocol: The protocol of those without that entry.
    """
    scores = BestScores()
    for step, entry in sorted(metrics.items()):
        if entry is not None:
            scores.note(step, entry.get("protocol", old_protocol), entry["score"])
    return scores


class _BestOfEach(policies.PreservationPolicy):
    """Keeps the best checkpoint of each protocol."""

    def __init__(self, old_protocol: str):
        self._old_protocol = old_protocol

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        scores = best_scores({info.step: info.metrics for info in checkpoints}, self._old_protocol)
        kept = {step for step, _ in scores.best.values()}
        return [info.step in kept for info in checkpoints]
