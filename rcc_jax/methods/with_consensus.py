"""The consensus terms CC, RCC and their variants, which methods with strong views can add."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rcc_jax.methods.lazy import consensus, jax, jnp, losses
from rcc_jax.methods.supervised import Supervised
from rcc_jax.options import option, options

if TYPE_CHECKING:
    from jax import Array

MIN_PLAYERS, MAX_PLAYERS = 3, 8
NONE = "none"
_OF_PAIRS = ("rank", "l2", "ce", "kl")
_SOFT = "soft"
_KINDS = (*_OF_PAIRS, _SOFT)


class StrongView(NamedTuple):
    """What the consensus terms need of one strong view.

    Attributes:
        teacher: Logits [B, H, W, K] of the weak view, mixed in the same way as the strong view.
        student: Logits [B, H, W, K] of the strong view.
        kept: bool [B, H, W], where the pseudo label counts.
        valid: bool [B, H, W], False on padding.
        num_valid: Number of valid pixels of the whole batch.
    """

    teacher: Array
    student: Array
    kept: Array
    valid: Array
    num_valid: Array


def consensus_option(default: str, choices: tuple[str, ...]) -> Any:
    """The field `consensus` with a method's own default and choices."""
    return option(
        default,
        "Term that compares the class consensus of teacher and student: 'rank' compares the soft "
        "ranks of the class pairs (RCC), 'l2' the squared distance, 'ce' and 'kl' the "
        "cross-entropy and the KL divergence of the softmax (CC). 'soft' compares no pairs: it is "
        "the KL divergence of the softmax over the teacher's top N classes.",
        choices=choices,
        short="consensus",
        before=default,
    )


@dataclasses.dataclass(frozen=True)
class WithConsensus(Supervised):
    """The fields and the term L_CC or L_RCC (eq. 8 to 11 of RCC); off by default.

    A method adds `consensus_weight` times `consensus_term` to the loss of its strong views.
    """

    consensus: str = consensus_option(NONE, (NONE, *_KINDS))
    top_n: int = option(
        4,
        "Number of players N, from 3 to 8 and at most the number of classes. 0: chosen from the "
        "number of classes.",
        at_least=0,
        before=4,
        short="top_n",
        symbol="N",
        only_with=("consensus", *_KINDS),
    )
    consensus_weight: float = option(
        0.2,
        "Weight lambda of the consensus term.",
        at_least=0,
        before=0.2,
        short="weight",
        symbol="lambda",
        only_with=("consensus", *_KINDS),
    )
    consensus_input: str = option(
        "logits",
        "Values of the players: 'logits', or softmax 'probabilities' (the paper does not say). "
        "Log-probabilities are the same game as logits.",
        choices=("logits", "probabilities"),
        before="logits",
        short="input",
        only_with=("consensus", *_OF_PAIRS),
    )
    consensus_pairs: str = option(
        "all",
        "Pairs of players that are compared: 'all', or only those with the teacher's 'top' class. "
        "Ranks, softmax and sum are over these pairs.",
        choices=("all", "top"),
        before="all",
        short="pairs",
        only_with=("consensus", *_OF_PAIRS),
    )
    consensus_pixels: str = option(
        "valid",
        "Pixels of the consensus term: all 'valid' ones (no padding), only the 'confident' ones, "
        "as for pseudo labels (with a threshold of 0 all of them), or 'agreeing': all valid ones, "
        "each weighted with the share of comparisons of two pairs on which teacher and student "
        "agree. The sum is divided by the number of all valid pixels (augseg: of all pixels) in "
        "each case.",
        choices=("valid", "confident", "agreeing"),
        before="valid",
        short="pixels",
        only_with=("consensus", *_KINDS),
    )
    temperature: float = option(
        1.0,
        "Temperature tau of the soft ranks.",
        above=0,
        before=1.0,
        short="tau",
        symbol="tau",
        only_with=("consensus", "rank"),
    )

    @property
    def consensus_terms(self) -> tuple[str, ...]:
        """Names of the scalars that `add_consensus` logs."""
        return () if self.consensus == NONE else ("loss_consensus",)

    @classmethod
    def without_consensus(cls) -> dict[str, str]:
        """The field of the method, with its value, that leaves the term out."""
        is_optional = NONE in options(cls)["consensus"].choices
        return {"consensus": NONE} if is_optional else {"name": "unimatch"}

    def faults(self, num_classes: int | None) -> Iterator[str]:
        yield from super().faults(num_classes)
        if self.consensus == NONE:
            return
        most, why = MAX_PLAYERS, ""
        if num_classes is not None:
            most = min(MAX_PLAYERS, num_classes)
            why = f" for config.data.num_classes = {num_classes}"
        if most < MIN_PLAYERS:
            ((field, value),) = self.without_consensus().items()
            yield (
                f"config.method.consensus = {self.consensus!r} compares the likeliest classes of "
                f"pixels and needs at least {MIN_PLAYERS} classes, but config.data.num_classes = "
                f"{num_classes}; use config.method.{field}={value}."
            )
        elif not MIN_PLAYERS <= self.top_n <= most:
            yield f"config.method.top_n = {self.top_n} must be from {MIN_PLAYERS} to {most}{why}."

    def add_consensus(
        self, loss: Array, views: Sequence[StrongView], terms: dict[str, Array]
    ) -> Array:
        """Adds lambda times the consensus term to a loss, and the term to `terms`.

        Args:
            loss: The method's own loss of the strong views.
            views: The strong views.
            terms: Scalars to log.
        """
        if self.consensus == NONE:
            return loss
        terms["loss_consensus"] = self.consensus_term(views)
        return loss + self.consensus_weight * terms["loss_consensus"]

    def consensus_term(self, views: Sequence[StrongView]) -> Array:
        """L_CC, L_RCC or the soft term: the mean over the pixels and the strong views (eq. 10)."""
        found = []
        for teacher, student, kept, valid, num_valid in views:
            teacher = jax.lax.stop_gradient(teacher)
            where = valid & kept if self.consensus_pixels == "confident" else valid
            if self.consensus_input == "probabilities" and self.consensus != _SOFT:
                wide = jnp.promote_types(student.dtype, jnp.float32)
                teacher, student = (jax.nn.softmax(x.astype(wide)) for x in (teacher, student))
            pixel_losses = self.pixel_consensus(teacher, student)
            if self.consensus_pixels == "agreeing":
                alike = consensus.rank_agreement(
                    teacher, jax.lax.stop_gradient(student), top_n=self.top_n
                )
                pixel_losses = pixel_losses * alike
            found.append(losses.masked_sum(pixel_losses, where) / num_valid)
        return sum(found) / len(found)

    def pixel_consensus(self, teacher: Array, student: Array) -> Array:
        """The loss of each pixel, [B, H, W], from teacher and student logits [B, H, W, K]."""
        if self.consensus == _SOFT:
            return consensus.pixel_soft_loss(teacher, student, top_n=self.top_n)
        if self.consensus == "rank":
            return consensus.pixel_rcc_loss(
                teacher,
                student,
                top_n=self.top_n,
                temperature=self.temperature,
                pairs=self.consensus_pairs,
            )
        return consensus.pixel_cc_loss(
            teacher, student, top_n=self.top_n, kind=self.consensus, pairs=self.consensus_pairs
        )
