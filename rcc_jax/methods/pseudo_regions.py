"""Pseudo labels that grow over regions in which one class prevails (CorrMatch)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcc_jax.methods.lazy import jax, jnp, resize

if TYPE_CHECKING:
    from jax import Array


def grow(
    label: Array,
    confident: Array,
    allowed: Array,
    maps: Array,
    threshold: Array,
    *,
    num_classes: int,
) -> tuple[Array, Array]:
    """Grows pseudo labels over regions, one region after the other.

    A region R gets the commonest label of its confident pixels S, and counts as a whole, if
    |S| / |R| reaches the threshold and the label's share of S is above it. Later regions see the
    labels that earlier ones wrote.

    Args:
        label: int32 [B, H, W] pseudo labels.
        confident: bool [B, H, W], where they count.
        allowed: bool [B, H, W], where regions may lie.
        maps: [regions, B, h, w]: the region of each image is where the map, at the size (H, W), is
            above the middle between its extremes.
        threshold: Confidence threshold t.
        num_classes: Number of classes K.

    Returns:
        The labels, and where they count.

    References:
        Sun et al., CVPR 2024 (CorrMatch), section 3.3.
    """
    size = label.shape[1:]

    def visit(carry: tuple[Array, Array], region_map: Array) -> tuple[tuple[Array, Array], None]:
        label, kept = carry
        region = above_the_middle(resize.resize_bilinear(region_map[..., None], size)[..., 0])
        region = region & allowed
        sure = region & confident
        of_class = jax.nn.one_hot(label, num_classes, dtype=bool) & sure[..., None]
        votes = jnp.sum(of_class, axis=(1, 2))
        number, winner = jnp.sum(sure, (1, 2)), jnp.argmax(votes, -1)
        enough = number >= threshold * jnp.maximum(jnp.sum(region, (1, 2)), 1)
        prevails = jnp.max(votes, -1) > threshold * number
        grown = region & (enough & prevails & (number > 0))[:, None, None]
        label = jnp.where(grown, winner[:, None, None].astype(label.dtype), label)
        return (label, kept | grown), None

    (label, kept), _ = jax.lax.scan(visit, (label, confident), maps)
    return label, kept


def above_the_middle(x: Array) -> Array:
    """Where each map [B, H, W] is above the mean of its smallest and largest value."""
    low, high = (f(x, axis=(1, 2), keepdims=True) for f in (jnp.min, jnp.max))
    return x - low > (high - low) / 2
