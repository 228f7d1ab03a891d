"""The paper's equations: games over the classes of a pixel, as functions of arrays."""

from rcc_jax.consensus.agreement import rank_agreement
from rcc_jax.consensus.losses import (
    CC_KINDS,
    cc_loss,
    pixel_cc_loss,
    pixel_rcc_loss,
    pixel_soft_loss,
    rcc_loss,
)
from rcc_jax.consensus.values import (
    class_consensus,
    rank_loss,
    soft_ranks,
    subset_entropies,
    top_class_consensus,
)

__all__ = [
    "CC_KINDS",
    "cc_loss",
    "class_consensus",
    "pixel_cc_loss",
    "pixel_rcc_loss",
    "pixel_soft_loss",
    "rank_agreement",
    "rank_loss",
    "rcc_loss",
    "soft_ranks",
    "subset_entropies",
    "top_class_consensus",
]
