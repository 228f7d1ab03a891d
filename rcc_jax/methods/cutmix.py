"""CutMix on the device: masks of boxes, and pasting (Yun et al., ICCV 2019)."""

import jax
import jax.numpy as jnp


def box_masks(boxes: jax.Array, height: int, width: int) -> jax.Array:
    """Boxes as masks.

    Args:
        boxes: [B, 4] integers y0, x0, y1, x1 in pixels; the ends are excluded. Or [B, N, 4]: N
            boxes per mask, of which each toggles what is inside.
        height: Height of the masks in pixels.
        width: Width of the masks in pixels.

    Returns:
        bool [B, height, width], True inside.

    >>> box_masks(jnp.array([[0, 1, 2, 3]]), 2, 3).astype(int).tolist()
    [[[0, 1, 1], [0, 1, 1]]]
    >>> box_masks(jnp.array([[[0, 1, 2, 3], [0, 0, 1, 2]]]), 2, 3).astype(int).tolist()
    [[[1, 0, 1], [0, 1, 1]]]
    """
    if boxes.ndim == 3:
        each = box_masks(boxes.reshape(-1, 4), height, width)
        return each.reshape(*boxes.shape[:2], height, width).sum(axis=1) % 2 == 1
    y0, x0, y1, x1 = (boxes[:, i, None] for i in range(4))
    rows, columns = jnp.arange(height)[None], jnp.arange(width)[None]
    inside_y, inside_x = (rows >= y0) & (rows < y1), (columns >= x0) & (columns < x1)
    return inside_y[:, :, None] & inside_x[:, None, :]


def cutmix(mask: jax.Array, partner: jax.Array, own: jax.Array) -> jax.Array:
    """The partner's pixels where the mask is True, the image's own elsewhere.

    Args:
        mask: bool [B, H, W].
        partner: [B, H, W] or [B, H, W, C].
        own: Array of the same shape.

    >>> cutmix(jnp.array([[[True, False]]]), jnp.ones((1, 1, 2)), jnp.zeros((1, 1, 2))).tolist()
    [[[1.0, 0.0]]]
    """
    return jnp.where(mask if own.ndim == 3 else mask[..., None], partner, own)
