"""CorrMatch: pseudo labels grow over regions of pixels that correlate."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

from rcc_jax.methods.base import Networks, Result, Views
from rcc_jax.methods.fields import threshold_option
from rcc_jax.methods.lazy import correlation, cutmix, jax, jnp, losses, passes, pseudo, resize
from rcc_jax.methods.pseudo_regions import grow
from rcc_jax.methods.unimatch import drop_channels
from rcc_jax.methods.with_consensus import StrongView, WithConsensus
from rcc_jax.options import option

if TYPE_CHECKING:
    from jax import Array

    from rcc_jax.methods.passes import Counts, Targets

MOMENTUM = 0.999


class Outputs(NamedTuple):
    """Logits [B, H, W, K] of a step; `correlated_*` are spread by the correlation.

    Attributes:
        labeled, correlated_labeled: Student, labelled images.
        strong, correlated_strong: Student, strong view after CutMix.
        weak: Teacher, weak view; without a gradient, like the next.
        partner: Teacher, weak view of the CutMix partner.
        correlated_weak: Student, weak view.
        perturbed: Student, weak view with dropped feature channels.
        maps: Some rows of the weak view's correlation as maps, [regions, B, h, w].
    """

    labeled: Array
    correlated_labeled: Array
    strong: Array
    correlated_strong: Array
    weak: Array
    partner: Array
    correlated_weak: Array
    perturbed: Array
    maps: Array


@dataclasses.dataclass(frozen=True)
class CorrMatch(WithConsensus):
    """((L_x + L_xc) / 2 + (L_s + L_kl + L_fp + L_c) / 4 + lambda * L_consensus) / 2.

    A head on the deepest features, in training only, correlates the pixels:
    A = softmax_j(f_i . g_j / sqrt(K)). Pixel i sends its logits z_i (without a gradient) to all
    pixels: sum_i A_ij z_i is a second prediction. Terms, each over all valid pixels:
    - L_x, L_xc: cross-entropy of the labels for the network and for the second prediction;
    - L_s: cross-entropy of the strong view and the labels y that grew over regions;
    - L_kl: KL(weak || strong) where the confidence reaches t;
    - L_fp: UniMatch's, the weak view with dropped channels and labels from t on;
    - L_c: half of the cross-entropy of the strong view's second prediction and y, half of that of
      the weak view's and the labels from t on.

    Regions: 128 random rows of A, each as a map above the middle between its extremes, without the
    pasted box and the padding (`pseudo_regions`).

    The threshold t moves by t <- 0.999 t + 0.001 m, m the mean over the classes predicted in the
    valid weak views of the batch of the largest confidence among their pixels. A step uses the new
    t.

    Written from the equations. Unlike the authors' code, the weak probabilities of L_kl are pasted
    as the image is, and t is of the pixels that are valid in the weak view itself. The partner is
    another photograph unless `data.cutmix_partner` says otherwise. The paper trains a ResNet-101
    at output stride 8.
    """

    name: ClassVar[str] = "corrmatch"
    summary: ClassVar[str] = "pseudo labels grow over regions of correlated pixels"
    reference: ClassVar[str] = "Sun et al., CVPR 2024, arXiv 2306.04300"
    views: ClassVar[Views] = Views(strong=1)
    recipes: ClassVar = {"cityscapes": {"ohem_min_kept": 50_000}}
    recipe_threshold: ClassVar[bool] = False
    # A step reads the threshold of its own batch.
    accumulates: ClassVar[bool] = False

    confidence_threshold: float = threshold_option(
        0.85, "Confidence threshold t before the first step, from which it moves."
    )
    regions: int = option(
        128, "Number of regions of a step; 0 = labels do not grow.", at_least=0, short="regions"
    )

    @property
    def terms(self) -> tuple[str, ...]:
        names = ("labeled", "correlated_labeled", "strong1", "divergence", "perturbed")
        shares = ("kept_ratio", "grown_ratio", "threshold")
        named = (f"loss_{name}" for name in (*names, "correlated"))
        return (*named, *shares, *self.consensus_terms)

    def threshold(self, memory) -> float:
        return float(memory["threshold"])

    def network(self, make, rngs):
        return correlation.WithCorrelation(make(rngs), rngs)

    def memory(self, weights, num_classes: int, key) -> dict[str, Array]:
        return {"threshold": jnp.asarray(self.confidence_threshold, float)}

    def update(self, memory, observations, weights, clock) -> dict[str, Array]:
        old, (found, mean) = memory["threshold"], observations
        new = jnp.where(found, MOMENTUM * old + (1 - MOMENTUM) * mean, old)
        return {"threshold": new.astype(old.dtype)}

    def counts(self, batch):
        return passes.count_pixels(passes.targets(batch, 1))

    def loss(self, nets, batch, memory, *, counts, parts, clock, key) -> Result:
        outputs = self.outputs(nets, batch, key)
        targets = passes.targets(batch, 1)
        observed = observe(outputs.weak, targets.valid)
        threshold = self.update(memory, observed, None, clock)["threshold"]
        return Result(*self.sum_terms(outputs, targets, counts, threshold), observed)

    def outputs(self, nets: Networks, batch, key: Array) -> Outputs:
        """The forward passes of a step: labelled and weak images together, then strong views."""
        x, u = batch["labeled"]["image"], batch["unlabeled"]["weak"]
        size, keys = x.shape[1:3], jax.random.split(key, 4)
        student, module = nets.student, cast(Any, nets.student.module)
        head = module.head
        features = student.encode(passes.interleave(x, u))
        # Clean and dropped features in one batch, as in UniMatch.
        both = jax.tree.map(passes.interleave, features, drop_channels(features, keys[0]))
        clean, dropped = passes.separate(student.decode(both, size))
        first = head(correlation.deepest(features), clean, keys[1])
        (mixed,) = passes.mixed_views(batch, 1)
        strong_features = student.encode(mixed)
        strong = student.decode(strong_features, size)
        second = head(correlation.deepest(strong_features), strong, keys[2])

        (labeled, weak), (_, perturbed) = passes.separate(clean), passes.separate(dropped)
        spread_out = passes.separate(resize.resize_bilinear(first.logits, size))
        if any(teacher.labels for teacher in self.teachers):
            weak = nets.teacher(u)
        return Outputs(
            labeled=labeled,
            correlated_labeled=spread_out[0],
            strong=strong,
            correlated_strong=resize.resize_bilinear(second.logits, size),
            weak=jax.lax.stop_gradient(weak),
            partner=nets.teacher(batch["partner"]["weak"]),
            correlated_weak=spread_out[1],
            perturbed=perturbed,
            maps=self.maps(first, keys[3]),
        )

    def maps(self, correlated: Any, key: Array) -> Array:
        """Random rows of the weak views' correlation, [regions, B, h, w], the same of each image.

        Args:
            correlated: `correlation.Correlated` of labelled and weak images in turn.
            key: Key for the rows.
        """
        height, width = correlated.logits.shape[1:3]
        _, sender = passes.separate(correlated.sender)
        _, receiver = passes.separate(correlated.receiver)
        # As in the authors' code, the last row is never drawn.
        rows = jax.random.randint(key, (self.regions,), 0, max(height * width - 1, 1))
        found = correlation.attention(sender[:, rows], receiver)
        found = jnp.moveaxis(found, 1, 0).reshape(self.regions, len(sender), height, width)
        return jax.lax.stop_gradient(found)

    def sum_terms(
        self, outputs: Outputs, targets: Targets, counts: Counts, threshold: Array
    ) -> tuple[Array, dict[str, Array]]:
        """Loss and terms as a pure function of logits, labels and masks.

        Args:
            outputs: What the networks say.
            targets: Labels and masks of the same images.
            counts: `passes.count_pixels` of the batch.
            threshold: The threshold t of this step.
        """
        (pasted,), (valid,), (num_valid,) = targets.pasted, targets.strong_valid, counts.strong
        own = pseudo.hard(outputs.weak, threshold)
        mixed = pseudo.mixed(pasted, pseudo.hard(outputs.partner, threshold), own)
        confident, sure = mixed.kept & valid, own.kept & targets.valid
        label, kept = grow(
            mixed.target,
            confident,
            ~pasted & valid,
            outputs.maps,
            threshold,
            num_classes=outputs.weak.shape[-1],
        )

        def against(logits: Array, target: Array, where: Array, count: Array | None) -> Array:
            return losses.masked_sum(losses.cross_entropy(logits, target), where) / count

        teacher = cutmix.cutmix(pasted, outputs.partner, outputs.weak)
        divergence = losses.masked_sum(divergences(teacher, outputs.strong), confident) / num_valid
        both = (
            against(outputs.correlated_strong, label, kept, num_valid),
            against(outputs.correlated_weak, own.target, sure, counts.weak),
        )
        terms = {
            "loss_labeled": self.labeled_term(outputs.labeled, targets.labels, counts, 1),
            "loss_correlated_labeled": self.labeled_term(
                outputs.correlated_labeled, targets.labels, counts, 1
            ),
            "loss_strong1": against(outputs.strong, label, kept, num_valid),
            "loss_divergence": divergence,
            "loss_perturbed": against(outputs.perturbed, own.target, sure, counts.weak),
            "loss_correlated": sum(both) / 2,
            "kept_ratio": jnp.sum(sure) / counts.weak,
            "grown_ratio": jnp.sum(kept) / num_valid,
            "threshold": threshold,
        }
        supervised = terms["loss_labeled"] + terms["loss_correlated_labeled"]
        names = ("strong1", "divergence", "perturbed", "correlated")
        unlabeled = sum(terms[f"loss_{name}"] for name in names) / 4
        view = StrongView(teacher, outputs.strong, mixed.kept, valid, num_valid)
        unlabeled = self.add_consensus(unlabeled, [view], terms)
        return (supervised / 2 + unlabeled) / 2, terms


def divergences(teacher: Array, student: Array) -> Array:
    """KL(teacher || student) of every pixel, [B, H, W], from logits [B, H, W, K]."""
    wide = jnp.promote_types(student.dtype, jnp.float32)
    log_p, log_q = (jax.nn.log_softmax(x.astype(wide)) for x in (teacher, student))
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)


def observe(weak: Array, valid: Array) -> tuple[Array, Array]:
    """Whether any pixel is valid, and m: the mean over classes of their largest confidence.

    Args:
        weak: Logits [B, H, W, K] of the weak views of the whole batch.
        valid: bool [B, H, W], False on padding.
    """
    label, confidence = losses.pseudo_labels(weak)
    of_class = jax.nn.one_hot(label, weak.shape[-1], dtype=bool) & valid[..., None]
    # No confidence is 0, so this marks the classes that nothing is predicted as.
    largest = jnp.max(jnp.where(of_class, confidence[..., None], 0), axis=(0, 1, 2))
    number = jnp.sum(largest > 0)
    return number > 0, jnp.sum(largest) / jnp.maximum(number, 1)
