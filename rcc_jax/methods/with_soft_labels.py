"""Hard or soft pseudo labels, for every method that trains on pseudo labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from rcc_jax.methods.lazy import jax, pseudo
from rcc_jax.methods.with_consensus import NONE, WithConsensus
from rcc_jax.options import option

if TYPE_CHECKING:
    from jax import Array

    from rcc_jax.methods.pseudo import Pseudo


@dataclasses.dataclass(frozen=True)
class WithSoftLabels(WithConsensus):
    """The fields of pseudo labels, without a threshold.

    Class attribute:
        soft_keeps_all: Whether every pixel has a soft label.
    """

    soft_keeps_all: ClassVar[bool] = True

    pseudo_labels: str = option(
        "hard",
        "'hard': the teacher's most likely class, where it is confident. 'soft': the probabilities "
        "of the few classes that share most of it, at every pixel (ESL's dynamic soft labels).",
        choices=("hard", "soft"),
        short="pseudo",
        before="hard",
    )
    soft_share: float = option(
        0.95,
        "Share eta of the probability that the classes of a soft label hold together.",
        at_least=0,
        at_most=1,
        short="eta",
        symbol="eta",
        before=0.95,
        only_with=("pseudo_labels", "soft"),
    )

    def faults(self, num_classes: int | None) -> Iterator[str]:
        yield from super().faults(num_classes)
        all_kept = self.pseudo_labels == "soft" and self.soft_keeps_all
        if all_kept and self.consensus != NONE and self.consensus_pixels == "confident":
            yield (
                "config.method.consensus_pixels = 'confident': with pseudo_labels = 'soft' every "
                "pixel counts, so this is the same as 'valid'; use that."
            )

    @property
    def least_confidence(self) -> float:
        """The confidence from which hard labels count; 0 if confidence does not matter."""
        return 0.0

    def label(self, logits: Array, threshold: float | None = None) -> Pseudo:
        """The pseudo labels that a teacher's logits [B, H, W, K] give, without a gradient.

        Args:
            logits: Logits of the teacher.
            threshold: Replaces `least_confidence`.
        """
        logits = jax.lax.stop_gradient(logits)
        if self.pseudo_labels == "soft":
            return pseudo.soft(logits, self.soft_share)
        return pseudo.hard(logits, self.least_confidence if threshold is None else threshold)
