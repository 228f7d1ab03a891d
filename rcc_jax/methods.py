"""Training methods: which views go through the network and which loss terms are summed.

There is one UniMatch step; supervised training and FixMatch leave parts of it out, CC and RCC add
one term to it. A method sees logits, labels and masks, never the network.
"""

import dataclasses

import jax
import jax.numpy as jnp

from rcc_jax import consensus, losses, views

CONSENSUS_KINDS = ("none", *consensus.CC_KINDS, "rank")
CONSENSUS_INPUTS = ("logits", "probabilities")
CONSENSUS_PIXELS = ("valid", "confident")
LABELED_LOSSES = ("ce", "ohem")


@dataclasses.dataclass(frozen=True)
class Method:
    """A training method as plain numbers.

    Attributes:
        strong_views: Strong views of an unlabelled image: 0 (supervised only), 1 or 2.
        feature_perturbation: Whether the decoder also sees channel-dropped features.
        consensus: The added term: 'none', 'l2', 'ce', 'kl' (CC) or 'rank' (RCC).
        consensus_weight: lambda of eq. 12.
        top_n: Number of players N.
        temperature: tau of the soft ranks.
        consensus_input: What the players bring into the game: 'logits' or 'probabilities'.
        consensus_pixels: Pixels of the strong views that the term counts: all 'valid' ones, or the
            'confident' ones among them, by whose number it is not divided either.
        confidence_threshold: Gamma of eq. 2, in [0, 1].
        labeled_loss: 'ce' or 'ohem'.
        ohem_threshold, ohem_min_kept: See `losses.ohem_mask`; min_kept is per labelled image.
        ema_decay: Decay of an EMA teacher; 0 = teacher and student share weights.
    """

    strong_views: int
    feature_perturbation: bool
    consensus: str = "none"
    consensus_weight: float = 0.2
    top_n: int = 4
    temperature: float = 1.0
    consensus_input: str = "logits"
    consensus_pixels: str = "valid"
    confidence_threshold: float = 0.95
    labeled_loss: str = "ce"
    ohem_threshold: float = 0.7
    ohem_min_kept: int = 100_000
    ema_decay: float = 0.0

    @property
    def labeled_per_unlabeled(self) -> int:
        """Labelled images a step for each unlabelled one; alone they are twice as many."""
        return 1 if self.strong_views else 2


@dataclasses.dataclass(frozen=True)
class Logits:
    """Logits [B, H, W, K] of one step; those of the teacher carry no gradient.

    Attributes:
        labeled: Student, labelled images.
        strong: Student, one array per strong view, CutMix-ed.
        perturbed: Student, weak view with dropped feature channels, or None.
        weak: Teacher, weak view; None without unlabelled images, like `partner`.
        partner: Teacher, weak view of the CutMix partner.
    """

    labeled: jax.Array
    strong: tuple[jax.Array, ...] = ()
    perturbed: jax.Array | None = None
    weak: jax.Array | None = None
    partner: jax.Array | None = None


@dataclasses.dataclass(frozen=True)
class Targets:
    """Labels and masks of one step, without padding and partner mixed in yet.

    Attributes:
        labels: [B, H, W] class ids of the labelled images, 255 = ignored.
        valid, partner_valid: bool [B, H, W], False on padding; None without unlabelled images.
        pasted: One bool [B, H, W] per strong view: where the partner was pasted.
    """

    labels: jax.Array
    valid: jax.Array | None = None
    partner_valid: jax.Array | None = None
    pasted: tuple[jax.Array, ...] = ()

    @property
    def strong_valid(self) -> tuple[jax.Array, ...]:
        """Validity of each strong view, CutMix-ed like its image."""
        return tuple(views.paste(m, self.partner_valid, self.valid) for m in self.pasted)


@dataclasses.dataclass(frozen=True)
class Denominators:
    """Pixel counts by which sums of losses are divided, over the whole global batch.

    They are known before the forward pass, so a batch may be split for accumulation, and the parts
    add up to exactly the loss of the whole.
    """

    labeled: jax.Array
    weak: jax.Array | None = None
    strong: tuple[jax.Array, ...] = ()


for _pytree in (Logits, Targets, Denominators):
    jax.tree_util.register_dataclass(_pytree)


def count_pixels(targets: Targets) -> Denominators:
    """The denominators of a (whole) batch; at least 1, so that an empty term is 0."""

    def count(mask):
        return jnp.maximum(jnp.sum(mask), 1).astype(float)

    return Denominators(
        labeled=count(targets.labels != losses.IGNORED),
        weak=None if targets.valid is None else count(targets.valid),
        strong=tuple(count(valid) for valid in targets.strong_valid),
    )


def _labeled_loss(method, logits, labels, denominator, parts):
    pixel_losses = losses.cross_entropy(logits, labels)
    if method.labeled_loss == "ce":
        return jnp.sum(pixel_losses) / denominator
    hard = losses.ohem_mask(
        logits,
        labels,
        threshold=method.ohem_threshold,
        min_kept=method.ohem_min_kept * labels.shape[0],
    )
    # Which pixels are hard is only known here, so each part of a split batch has its own mean.
    return losses.masked_sum(pixel_losses, hard) / jnp.maximum(jnp.sum(hard), 1) / parts


def _consensus_loss(method, teacher, student, counted, denominator):
    if method.consensus_input == "probabilities":
        wide = jnp.promote_types(student.dtype, jnp.float32)
        teacher, student = (jax.nn.softmax(x.astype(wide)) for x in (teacher, student))
    if method.consensus == "rank":
        pixel_losses = consensus.pixel_rcc_loss(
            teacher, student, top_n=method.top_n, temperature=method.temperature
        )
    else:
        pixel_losses = consensus.pixel_cc_loss(
            teacher, student, top_n=method.top_n, kind=method.consensus
        )
    return losses.masked_sum(pixel_losses, counted) / denominator


def loss_terms(
    method: Method,
    logits: Logits,
    targets: Targets,
    denominators: Denominators,
    *,
    parts: int = 1,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Total loss of a step and its terms (eq. 12 with UniMatch's L_reg).

    UniMatch: (L_x + L_s1 / 4 + L_s2 / 4 + L_fp / 2) / 2, FixMatch: (L_x + L_s1) / 2; a consensus
    adds lambda * (its mean over the strong views) inside the bracket.

    Args:
        method: The method.
        logits: Logits of the batch, or of one part of it.
        targets: Labels and masks of the same images.
        denominators: `count_pixels` of the WHOLE batch.
        parts: Number of parts that the batch is split into; the terms of the parts add up.

    Returns:
        Scalar loss, and scalars by name: 'loss_labeled', 'loss_strong1', 'loss_strong2',
        'loss_perturbed', 'loss_consensus' as far as the method has them, and 'kept_ratio', the
        share of valid weak-view pixels that reach the confidence threshold.
    """
    terms = {
        "loss_labeled": _labeled_loss(
            method, logits.labeled, targets.labels, denominators.labeled, parts
        )
    }
    if not method.strong_views:
        return terms["loss_labeled"], terms

    threshold = method.confidence_threshold
    weak_logits = jax.lax.stop_gradient(logits.weak)
    partner_logits = jax.lax.stop_gradient(logits.partner)
    weak_label, weak_confidence = losses.pseudo_labels(weak_logits)
    partner_label, partner_confidence = losses.pseudo_labels(partner_logits)
    kept = (weak_confidence >= threshold) & targets.valid
    terms["kept_ratio"] = jnp.sum(kept) / denominators.weak

    consistency, agreement = [], []
    for index, (student, pasted, valid) in enumerate(
        zip(logits.strong, targets.pasted, targets.strong_valid, strict=True)
    ):
        label = views.paste(pasted, partner_label, weak_label)
        confident = views.paste(pasted, partner_confidence, weak_confidence) >= threshold
        denominator = denominators.strong[index]
        loss = losses.masked_sum(losses.cross_entropy(student, label), confident & valid)
        consistency.append(loss / denominator)
        terms[f"loss_strong{index + 1}"] = consistency[-1]
        if method.consensus != "none":
            teacher = views.paste(pasted, partner_logits, weak_logits)
            counted = valid & confident if method.consensus_pixels == "confident" else valid
            agreement.append(_consensus_loss(method, teacher, student, counted, denominator))

    regularization = sum(consistency) / len(consistency)
    if method.feature_perturbation:
        loss = losses.masked_sum(losses.cross_entropy(logits.perturbed, weak_label), kept)
        terms["loss_perturbed"] = loss / denominators.weak
        regularization = (regularization + terms["loss_perturbed"]) / 2
    total = terms["loss_labeled"] + regularization
    if agreement:
        terms["loss_consensus"] = sum(agreement) / len(agreement)
        total = total + method.consensus_weight * terms["loss_consensus"]
    return total / 2, terms
