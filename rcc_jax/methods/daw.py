"""DAW: UniMatch with aligned pseudo labels and a threshold that follows the labelled pixels."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from rcc_jax.methods.base import Result
from rcc_jax.methods.fields import ema_option, threshold_option
from rcc_jax.methods.fixmatch import Labels
from rcc_jax.methods.lazy import jax, jnp, losses, passes, pseudo
from rcc_jax.methods.unimatch import UniMatch

if TYPE_CHECKING:
    from jax import Array

    from rcc_jax.methods.pseudo import Pseudo

MOMENTUM = 0.99
# With fewer right or wrong pixels in a batch, their statistics stay.
FEWEST = 10


@dataclasses.dataclass(frozen=True)
class DAW(UniMatch):
    """UniMatch's loss with other pseudo labels; the consensus term is inside its outer factor 1/2.

    The probabilities of unlabelled pixels are multiplied, class by class, by the mean confidence
    of labelled over that of unlabelled pixels (distribution alignment). A pseudo label counts from
    the confidence T on, where two Gaussians cross: one fitted to the confidences of the labelled
    pixels that are predicted right, one to those of the wrong ones. All statistics are of the whole
    batch and of its own step. The consensus term compares the logits before the alignment. The EMA
    is only evaluated: the student itself labels.
    """

    name: ClassVar[str] = "daw"
    summary: ClassVar[str] = "UniMatch, aligned pseudo labels, threshold from labelled pixels"
    reference: ClassVar[str] = "Sun et al., NeurIPS 2023"
    recipe_threshold: ClassVar[bool] = False
    # A step reads the statistics of its own batch.
    accumulates: ClassVar[bool] = False
    ema_labels: ClassVar[bool] = False

    ema_decay: float = ema_option(0.999)
    confidence_threshold: float = threshold_option(
        0.95,
        "Confidence gamma before the first step, which replaces it by the method's own.",
        only_with=("pseudo_labels", "hard"),
    )

    @property
    def terms(self) -> tuple[str, ...]:
        return (*super().terms, "threshold")

    def threshold(self, memory) -> float:
        return float(memory["threshold"]) if self.pseudo_labels == "hard" else 0.0

    def shown(self, logits, memory) -> Array:
        ratio = memory["labeled"] / memory["unlabeled"]
        return logits + jnp.log(ratio).reshape(1, 1, 1, -1)

    def memory(self, weights, num_classes: int, key) -> dict[str, Array]:
        return {
            "labeled": jnp.full(num_classes, 1 / num_classes),
            "unlabeled": jnp.full(num_classes, 1 / num_classes),
            # Of the pixels predicted right and wrong.
            "mean": jnp.full(2, 1 / num_classes),
            "variance": jnp.full(2, 0.5),
            "threshold": jnp.full((), float(self.confidence_threshold)),
        }

    def loss(self, nets, batch, memory, *, counts, parts, clock, key) -> Result:
        logits = self.passes(nets, batch, key)
        targets = passes.targets(batch, self.strong_views)
        fixed = jax.tree.map(jax.lax.stop_gradient, (logits.labeled, logits.weak, logits.partner))
        labeled, *unlabeled = (jax.nn.softmax(_wide(each)) for each in fixed)
        observed = observe(labeled, targets, unlabeled)
        new = self.update(memory, observed, None, clock)
        labels = Labels(*(self.aligned(probability, new) for probability in unlabeled))
        loss, terms = self.sum_terms(logits, targets, counts, labels=labels)
        return Result(loss, {**terms, "threshold": new["threshold"]}, observed)

    def aligned(self, probability: Array, memory) -> Pseudo:
        """The pseudo labels of aligned probabilities [B, H, W, K]."""
        logits = self.shown(jnp.log(probability), memory)
        if self.pseudo_labels == "soft":
            return pseudo.soft(logits, self.soft_share)
        return pseudo.hard(logits, memory["threshold"])

    def update(self, memory, observations, weights, clock) -> dict[str, Array]:
        new = {}
        for name in ("labeled", "unlabeled"):
            number, total = observations[name]
            mean = total / jnp.maximum(number, 1)
            new[name] = jnp.where(number > 0, _moved(memory[name], mean), memory[name])
        number, mean, variance = observations["confidence"]
        enough = number >= FEWEST
        new["mean"] = jnp.where(enough, _moved(memory["mean"], mean), memory["mean"])
        new["variance"] = jnp.where(
            enough, _moved(memory["variance"], variance), memory["variance"]
        )
        new["threshold"] = crossing(
            new["mean"], new["variance"], memory["threshold"], len(new["labeled"])
        )
        dtypes = jax.tree.map(lambda x: x.dtype, memory)
        return jax.tree.map(lambda x, dtype: x.astype(dtype), new, dtypes)


def observe(labeled: Array, targets, unlabeled: list[Array]) -> dict[str, Any]:
    """The statistics of a batch that `DAW.update` needs.

    Args:
        labeled: Probabilities [B, H, W, K] of labelled images.
        targets: `passes.Targets`.
        unlabeled: Probabilities of the images' and of their partners' weak views.
    """
    known = targets.labels != losses.IGNORED
    confidence, predicted = jnp.max(labeled, -1), jnp.argmax(labeled, -1)
    right = known & (predicted == targets.labels)
    groups = jnp.stack([right, known & ~right])
    return {
        "labeled": _by_class(labeled, known),
        "unlabeled": jax.tree.map(
            jnp.add,
            _by_class(unlabeled[0], targets.valid),
            _by_class(unlabeled[1], targets.partner_valid),
        ),
        "confidence": _moments(confidence, groups),
    }


def crossing(mean: Array, variance: Array, old: Array, num_classes: int) -> Array:
    """Where the Gaussians of right and wrong confidences cross, from 1 / K to 1.

    The paper's root divides by the difference of the variances; this form of it does not. If the
    variances are equal and the mean of the right pixels is the larger one, it is the midpoint of
    the means. If wrong pixels are the more confident ones, it jumps between the bounds, as the
    paper's formula does.

    Args:
        mean: Mean confidences of right and wrong pixels, [2].
        variance: Their variances, [2].
        old: The result if they do not cross.
        num_classes: Number of classes K.
    """
    (right_mean, wrong_mean), (right_variance, wrong_variance) = mean, variance
    a = right_variance - wrong_variance
    b = 2 * (right_mean * wrong_variance - wrong_mean * right_variance)
    d = wrong_mean**2 * right_variance - right_mean**2 * wrong_variance
    d = d + right_variance * wrong_variance * jnp.log(wrong_variance / right_variance)
    inside = b**2 - 4 * a * d
    bottom = b + jnp.sqrt(jnp.maximum(inside, 0))
    found = -2 * d / jnp.where(bottom == 0, 1, bottom)
    crosses = (inside > 0) & (bottom != 0)
    return jnp.where(crosses, jnp.clip(found, 1 / num_classes, 1), old)


def _wide(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _moved(old: Array, new: Array) -> Array:
    return MOMENTUM * old + (1 - MOMENTUM) * new


def _by_class(probability: Array, valid: Array) -> tuple[Array, Array]:
    """Number and sum of confidences of the valid pixels that are predicted as each class, [K]."""
    num_classes = probability.shape[-1]
    of_class = jax.nn.one_hot(jnp.argmax(probability, -1), num_classes, dtype=probability.dtype)
    of_class = of_class * valid[..., None]
    confidence = jnp.max(probability, -1)[..., None]
    axes = tuple(range(probability.ndim - 1))
    return jnp.sum(of_class, axes), jnp.sum(of_class * confidence, axes)


def _moments(values: Array, groups: Array) -> tuple[Array, Array, Array]:
    """Number, mean and variance of the values in each of the masks [groups, B, H, W]."""
    axes = tuple(range(1, groups.ndim))
    number = jnp.sum(groups, axes).astype(values.dtype)
    mean = jnp.sum(jnp.where(groups, values, 0), axes) / jnp.maximum(number, 1)
    off = values[None] - mean.reshape(-1, *(1,) * values.ndim)
    squares = jnp.sum(jnp.where(groups, off**2, 0), axes)
    return number, mean, squares / jnp.maximum(number - 1, 1)
