"""Training on the labelled images only: L_x."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from rcc_jax.methods.base import Method, Result
from rcc_jax.methods.lazy import jnp, losses, passes
from rcc_jax.options import option

if TYPE_CHECKING:
    from jax import Array


@dataclasses.dataclass(frozen=True)
class Supervised(Method):
    """Cross-entropy of all labelled pixels, or of the hard ones (OHEM)."""

    name: ClassVar[str] = "supervised"
    summary: ClassVar[str] = "labelled images only, twice as many per step"
    reference: ClassVar[str] = "the baseline"

    labeled_loss: str = option(
        "ce", "Cross-entropy of the labelled pixels: 'ce' of all, 'ohem' of the hard ones.",
        choices=("ce", "ohem"),
    )  # fmt: skip
    ohem_threshold: float = option(
        0.7,
        "A pixel is hard if its probability of the true class is at most this.",
        at_least=0,
        at_most=1,
        symbol="OHEM threshold",
        only_with=("labeled_loss", "ohem"),
    )
    ohem_min_kept: int = option(
        100_000,
        "Smallest number of pixels kept per labelled image; 0 = all of them.",
        at_least=0,
        symbol="OHEM pixels",
        only_with=("labeled_loss", "ohem"),
    )

    @property
    def terms(self) -> tuple[str, ...]:
        return ("loss_labeled",)

    def counts(self, batch):
        return passes.count_labeled(passes.labels(batch))

    def loss(self, nets, batch, memory, *, counts, parts, clock, key) -> Result:
        logits = nets.student(batch["labeled"]["image"])
        loss = self.labeled_term(logits, passes.labels(batch), counts, parts)
        return Result(loss, {"loss_labeled": loss})

    def labeled_term(self, logits: Array, labels: Array, counts, parts: int) -> Array:
        """L_x: the mean cross-entropy of the labelled pixels (eq. 1 of RCC).

        Args:
            logits: [B, H, W, K].
            labels: [B, H, W] class ids, 255 = ignored.
            counts: `passes.Counts` of the whole batch.
            parts: Number of parts that the batch is split into.
        """
        pixel_losses = losses.cross_entropy(logits, labels)
        if self.labeled_loss == "ce":
            return jnp.sum(pixel_losses) / counts.labeled
        hard = losses.ohem_mask(
            logits,
            labels,
            threshold=self.ohem_threshold,
            min_kept=self.ohem_min_kept * labels.shape[0],
        )
        # The hard pixels are only known here, so every part of a batch has its own mean.
        return losses.masked_sum(pixel_losses, hard) / jnp.maximum(jnp.sum(hard), 1) / parts
