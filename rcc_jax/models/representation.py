"""A network with a second head: a vector per pixel that losses compare."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from rcc_jax.models.initialization import draw_uniform
from rcc_jax.models.layers import Conv, ConvBN
from rcc_jax.models.resize import resize_bilinear

FEATURES = 256


class RepresentationHead(nnx.Module):
    """3x3 and 3x3 with batch normalisation and ReLU, then 1x1, at a quarter of the image's size.

    Args:
        in_features: Channels of the merged features.
        dtype: Type of the computation; the vectors are at least float32.

    References:
        Wang et al., "Semi-Supervised Semantic Segmentation Using Unreliable Pseudo-Labels",
        CVPR 2022, here without dropout.
    """

    def __init__(self, in_features: int, *, dtype: Any):
        self.conv1 = ConvBN(in_features, FEATURES, 3, frozen=False, dtype=dtype)
        self.conv2 = ConvBN(FEATURES, FEATURES, 3, frozen=False, dtype=dtype)
        wide = jnp.promote_types(dtype, jnp.float32)
        self.project = Conv(FEATURES, FEATURES, 1, bias=True, dtype=wide)

    def __call__(self, merged: jax.Array, size: tuple[int, int], *, train: bool) -> jax.Array:
        """Vectors [B, h, w, FEATURES] of merged features, for images of a size (H, W) in pixels."""
        if merged.shape[1:3] != quarter(size):
            merged = resize_bilinear(merged, quarter(size))
        return self.project(self.conv2(self.conv1(merged, train=train), train=train))


class WithRepresentation(nnx.Module):
    """A network `main`, which predicts, and the head `head` beside its classifier."""

    def __init__(self, main: Any, rngs: nnx.Rngs):
        self.main = main
        self.head = RepresentationHead(main.merged_features, dtype=main.dtype)
        draw_uniform([self.head], rngs.params())

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        return self.main(images, train=train)

    def encode(self, images: jax.Array, *, train: bool) -> Any:
        """The features of the network."""
        return self.main.encode(images, train=train)

    def decode(self, features: Any, size: tuple[int, int], *, train: bool) -> jax.Array:
        """The logits of the network."""
        return self.main.decode(features, size, train=train)


def evaluated(module: WithRepresentation, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Logits [B, H, W, K] and vectors [B, h, w, FEATURES] of normalised images, in evaluation."""
    size = (images.shape[1], images.shape[2])
    merged = module.main.merge(module.main.encode(images, train=False), train=False)
    return module.main.classify(merged, size, train=False), module.head(merged, size, train=False)


def quarter(size: tuple[int, int]) -> tuple[int, int]:
    """A quarter of a height and width, rounded up.

    >>> quarter((513, 320))
    (129, 80)
    """
    height, width = size
    return (height + 3) // 4, (width + 3) // 4


def at_quarter(x: jax.Array) -> jax.Array:
    """The pixels [B, h, w, ...] of an array [B, H, W, ...] that lie where the vectors do.

    As in the bilinear resize of the logits, the corners are aligned; each is the nearest pixel.
    """
    size = (x.shape[1], x.shape[2])
    rows, columns = (
        (2 * jnp.arange(few) * (many - 1) + few - 1) // max(2 * (few - 1), 1)
        for few, many in zip(quarter(size), size, strict=True)
    )
    return x[:, rows][:, :, columns]
