"""What methods with two networks share: each learns the other's pseudo labels."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from rcc_jax.methods.fixmatch import FixMatch
from rcc_jax.methods.lazy import pair, passes

if TYPE_CHECKING:
    from jax import Array

    from rcc_jax.methods.passes import Counts, Targets


class Outputs(NamedTuple):
    """Logits [B, H, W, K] of one network.

    Attributes:
        labeled: Of the labelled images.
        learned: Of the images on which it learns the other's pseudo labels.
        weak, partner: Of the images whose pseudo labels the other network learns, and of their
            CutMix partners; they need no gradient.
    """

    labeled: Array
    learned: Array
    weak: Array
    partner: Array


@dataclasses.dataclass(frozen=True)
class TwoNetworks(FixMatch):
    """The loss of FixMatch for each of two networks, whose teacher is the other one.

    The module is a `models.pair.Pair`: the first network, `main`, predicts, is evaluated and
    exported. One optimizer, memory and EMA cover both. An EMA, if there is one, is only evaluated.
    The consensus term, off by default, compares a network with the other one.
    """

    ema_labels: ClassVar[bool] = False
    labeled_by: ClassVar[str] = "second"
    recipe_threshold: ClassVar[bool] = False

    @property
    def terms(self) -> tuple[str, ...]:
        of_one = ("loss_labeled", "loss_strong1", "kept_ratio", *self.consensus_terms)
        return (*of_one, *map(_of_second, of_one))

    def network(self, make, rngs):
        return pair.Pair(make(rngs), make(rngs))

    def cross_terms(
        self,
        outputs: tuple[Outputs, Outputs],
        targets: tuple[Targets, Targets],
        counts: tuple[Counts, Counts],
        parts: int,
    ) -> tuple[Array, dict[str, Array]]:
        """The sum of both networks' `sum_terms`, and the terms of each.

        Args:
            outputs: Logits of `main` and of the second network.
            targets: Labels and masks of what each of them learns; one strong view.
            counts: Denominators of the same, over the WHOLE batch.
            parts: Number of parts that the batch is split into.
        """
        found = []
        for own, other, wanted, count in zip(outputs, outputs[::-1], targets, counts, strict=True):
            logits = passes.Logits(own.labeled, (own.learned,), other.weak, other.partner)
            found.append(self.sum_terms(logits, wanted, count, parts=parts))
        (loss, terms), (of_second, more) = found
        terms = terms | {_of_second(term): value for term, value in more.items()}
        return loss + of_second, terms


def _of_second(term: str) -> str:
    return f"{term}_second"
