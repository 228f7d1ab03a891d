"""What happens to a batch of views on the device: normalisation and CutMix."""

import jax
import jax.numpy as jnp
import numpy as np

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406])
IMAGENET_STD = np.array([0.229, 0.224, 0.225])


def normalize(images: jax.Array, dtype=jnp.float32) -> jax.Array:
    """uint8 RGB [..., 3] to zero mean and unit variance by ImageNet's statistics.

    >>> [f"{value:.2f}" for value in normalize(jnp.array([0, 255, 255], jnp.uint8))]
    ['-2.12', '2.43', '2.64']
    """
    wide = jnp.promote_types(dtype, jnp.float32)
    scale = jnp.asarray(1 / (255 * IMAGENET_STD), wide)
    offset = jnp.asarray(IMAGENET_MEAN / IMAGENET_STD, wide)
    shape = (1,) * (images.ndim - 1) + (3,)
    return (images.astype(wide) * scale.reshape(shape) - offset.reshape(shape)).astype(dtype)


def box_masks(boxes: jax.Array, height: int, width: int) -> jax.Array:
    """[B, 4] boxes (y0, x0, y1, x1; ends excluded) to bool [B, height, width], True inside.

    >>> box_masks(jnp.array([[0, 1, 2, 3]]), 2, 3).astype(int).tolist()
    [[[0, 1, 1], [0, 1, 1]]]
    """
    y0, x0, y1, x1 = (boxes[:, i, None] for i in range(4))
    rows, columns = jnp.arange(height)[None], jnp.arange(width)[None]
    inside_y, inside_x = (rows >= y0) & (rows < y1), (columns >= x0) & (columns < x1)
    return inside_y[:, :, None] & inside_x[:, None, :]


def paste(mask: jax.Array, partner: jax.Array, own: jax.Array) -> jax.Array:
    """CutMix: the partner's pixels where the mask holds, one's own elsewhere.

    Args:
        mask: bool [B, H, W].
        partner: [B, H, W] or [B, H, W, C].
        own: The same shape.

    >>> paste(jnp.array([[[True, False]]]), jnp.ones((1, 1, 2)), jnp.zeros((1, 1, 2))).tolist()
    [[[1.0, 0.0]]]
    """
    return jnp.where(mask if own.ndim == 3 else mask[..., None], partner, own)
