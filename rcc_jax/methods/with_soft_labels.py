"""Hard or soft pseudo labels, for every method that trains on pseudo labels."""

from __future__ import annotations

import dataclasses
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

    @property
    def repeats_valid_pixels(self) -> bool:
        """Whether the consensus covers 'confident' pixels, but these are all."""
        is_told = self.consensus != NONE and self.consensus_pixels == "confident"
        return is_told and self.soft_keeps_all and self.pseudo_labels == "soft"

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
