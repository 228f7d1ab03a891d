"""CC: UniMatch whose teacher and student agree on the class consensus itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from rcc_jax.methods.lazy import consensus, cutmix, jax, jnp, losses
from rcc_jax.methods.unimatch import UniMatch
from rcc_jax.options import option

if TYPE_CHECKING:
    from jax import Array

MAX_PLAYERS = 8


@dataclasses.dataclass(frozen=True)
class CC(UniMatch):
    """(L_x + L_reg + lambda * L_CC) / 2, where L_x + L_reg are UniMatch's.

    L_CC compares the class consensus J of teacher and student (eq. 4 to 8), averaged over the
    pixels of each strong view and over the two views. CutMix is applied to the teacher's logits as
    to the strong view.
    """

    name: ClassVar[str] = "cc"
    summary: ClassVar[str] = "UniMatch + strict agreement on the class consensus"
    reference: ClassVar[str] = "Mai, Sun, Wu, AAAI 2025, equation 8"
    min_classes: ClassVar[int] = 3

    consensus_kind: str = option(
        "l2",
        "How two consensus vectors are compared: squared distance, or cross-entropy or KL "
        "divergence of their softmax.",
        choices=("l2", "ce", "kl"),
        short="kind",
    )
    top_n: int = option(
        4,
        "Number of players N, from 3 to 8 and at most the number of classes.",
        at_least=0,
        short="top_n",
        symbol="N",
    )
    consensus_weight: float = option(
        0.2, "Weight lambda of the consensus term.", at_least=0, short="weight", symbol="lambda"
    )
    consensus_input: str = option(
        "logits",
        "Values of the players: 'logits', or softmax 'probabilities' (the paper does not say).",
        choices=("logits", "probabilities"),
        before="logits",
        short="input",
    )
    consensus_pixels: str = option(
        "valid",
        "Pixels of the consensus term: all 'valid' ones (no padding), or only the 'confident' "
        "ones, as for pseudo labels. The sum is always divided by the number of valid pixels.",
        choices=("valid", "confident"),
        before="valid",
        short="pixels",
    )

    @property
    def terms(self) -> tuple[str, ...]:
        return (*super().terms, "loss_consensus")

    def faults(self, num_classes: int | None) -> Iterator[str]:
        yield from super().faults(num_classes)
        if num_classes is None:
            most, why = MAX_PLAYERS, ""
        elif num_classes < self.min_classes:
            return
        else:
            most, why = (
                min(MAX_PLAYERS, num_classes),
                f" for config.data.num_classes = {num_classes}",
            )
        if not 3 <= self.top_n <= most:
            yield f"config.method.top_n = {self.top_n} must be from 3 to {most}{why}."

    def unlabeled_term(self, logits, targets, counts, terms: dict[str, Array]) -> Array:
        regularization = super().unlabeled_term(logits, targets, counts, terms)
        terms["loss_consensus"] = self.consensus_term(logits, targets, counts)
        return regularization + self.consensus_weight * terms["loss_consensus"]

    def consensus_term(self, logits, targets, counts) -> Array:
        """L_CC or L_RCC: the mean over pixels and strong views (eq. 10)."""
        weak, partner = (jax.lax.stop_gradient(x) for x in (logits.weak, logits.partner))
        found = []
        for student, pasted, valid, count in zip(
            logits.strong, targets.pasted, targets.strong_valid, counts.strong, strict=True
        ):
            teacher = cutmix.cutmix(pasted, partner, weak)
            if self.consensus_pixels == "confident":
                _, confidence = losses.pseudo_labels(teacher)
                valid = valid & (confidence >= self.confidence_threshold)
            if self.consensus_input == "probabilities":
                wide = jnp.promote_types(student.dtype, jnp.float32)
                teacher, student = (jax.nn.softmax(x.astype(wide)) for x in (teacher, student))
            pixel_losses = self.pixel_consensus(teacher, student)
            found.append(losses.masked_sum(pixel_losses, valid) / count)
        return sum(found) / len(found)

    def pixel_consensus(self, teacher: Array, student: Array) -> Array:
        """The loss of each pixel, [B, H, W], from teacher and student logits [B, H, W, K]."""
        return consensus.pixel_cc_loss(teacher, student, top_n=self.top_n, kind=self.consensus_kind)
