"""The DPT head: four levels of a transformer's features, fused from coarse to fine."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from rcc_jax.models.layers import Conv
from rcc_jax.models.products import add_bias
from rcc_jax.models.resize import resize_bilinear


class Enlarge(Conv):
    """Transposed convolution whose square kernel is its stride: each pixel becomes a patch.

    Its kernel is [side, side, out, in], so that its fan in is PyTorch's, and so its initial values.
    """

    def __init__(self, features: int, side: int, *, dtype: Any):
        super().__init__(features, features, side, bias=True, dtype=dtype)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features [B, H, W, C] to [B, side H, side W, C]."""
        kernel = self.kernel[...].astype(self.dtype)
        side, _, features, _ = kernel.shape
        y = jnp.einsum("bhwc,ijdc->bhiwjd", x.astype(self.dtype), kernel)
        batch, height, _, width, *_ = y.shape
        y = y.reshape(batch, height * side, width * side, features)
        assert self.bias is not None
        return add_bias(y, self.bias[...].astype(self.dtype))


class ResidualUnit(nnx.Module):
    """x + conv(relu(conv(relu(x)))) with 3x3 convolutions and no normalisation."""

    def __init__(self, features: int, *, dtype: Any):
        self.conv1 = Conv(features, features, 3, bias=True, dtype=dtype)
        self.conv2 = Conv(features, features, 3, bias=True, dtype=dtype)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features [B, H, W, C] to [B, H, W, C]."""
        return x + self.conv2(nnx.relu(self.conv1(nnx.relu(x))))


class Fusion(nnx.Module):
    """Adds a level to the coarser ones and enlarges the sum.

    Args:
        features: Channels C.
        deepest: Whether there is no coarser level; the unit for this level alone is then left out.
        dtype: Type of the computation.
    """

    def __init__(self, features: int, *, deepest: bool, dtype: Any):
        self.unit1 = None if deepest else ResidualUnit(features, dtype=dtype)
        self.unit2 = ResidualUnit(features, dtype=dtype)
        self.out_conv = Conv(features, features, 1, bias=True, dtype=dtype)

    def __call__(self, coarse: jax.Array | None, level: jax.Array, size: Sequence) -> jax.Array:
        """Fuses [B, H, W, C] of both into features of a size (height, width)."""
        if self.unit1 is not None:
            level = self.unit1(level) if coarse is None else coarse + self.unit1(level)
        # PyTorch's code resizes first. The order does not matter to a 1x1 convolution, since the
        # weights of the interpolation sum to 1, and this one costs a quarter.
        return resize_bilinear(self.out_conv(self.unit2(level)), tuple(size))


class DPT(nnx.Module):
    """Dense prediction from four maps of transformer features of one size.

    Args:
        in_features: Channels D of the maps.
        channels: Channels of the four levels before they are fused.
        features: Channels of the fusion.
        num_classes: Number K of classes.
        dtype: Type of the computation; the logits are at least float32.

    References:
        Ranftl et al., "Vision Transformers for Dense Prediction", ICCV 2021, without the class
        token, as in Yang et al., "UniMatch V2", TPAMI 2025.
    """

    def __init__(
        self,
        in_features: int,
        channels: Sequence[int],
        features: int,
        num_classes: int,
        *,
        dtype: Any,
    ):
        self.projects = nnx.List(
            [Conv(in_features, c, 1, bias=True, dtype=dtype) for c in channels]
        )
        self.enlarge = nnx.List(
            [Enlarge(c, side, dtype=dtype) for c, side in zip(channels, (4, 2), strict=False)]
        )
        self.shrink = Conv(channels[3], channels[3], 3, stride=2, bias=True, dtype=dtype)
        self.reduce = nnx.List([Conv(c, features, 3, dtype=dtype) for c in channels])
        self.fusions = nnx.List(
            [Fusion(features, deepest=level == 3, dtype=dtype) for level in range(4)]
        )
        self.conv = Conv(features, features, 3, bias=True, dtype=dtype)
        # In at least float32: a bfloat16 logit near 10 has steps of 1/16, too coarse to rank.
        logits_dtype = jnp.promote_types(dtype, jnp.float32)
        self.classifier = Conv(features, num_classes, 1, bias=True, dtype=logits_dtype)

    def __call__(self, maps: Sequence[jax.Array], size: Sequence) -> jax.Array:
        """Logits.

        Args:
            maps: Four arrays [B, p, q, D].
            size: Height and width of the logits in pixels.

        Returns:
            [B, *size, K], computed at eight times the size of the maps.
        """
        return self.classify(self.fuse(maps), size)

    def classify(self, fused: jax.Array, size: Sequence) -> jax.Array:
        """Logits [B, *size, K] of what `fuse` returns."""
        x = self.conv(fused)
        return resize_bilinear(self.classifier(nnx.relu(x)), tuple(size))

    def fuse(self, maps: Sequence[jax.Array]) -> jax.Array:
        """The fused levels, [B, 8 p, 8 q, features]."""
        first, second, third, fourth = (
            project(each) for project, each in zip(self.projects, maps, strict=True)
        )
        levels = [self.enlarge[0](first), self.enlarge[1](second), third, self.shrink(fourth)]
        levels = [conv(level) for conv, level in zip(self.reduce, levels, strict=True)]
        finest = [2 * length for length in levels[0].shape[1:3]]
        sizes = [finest, *(level.shape[1:3] for level in levels)]
        x = None
        for fusion, level, size in reversed(
            list(zip(self.fusions, levels, sizes[:4], strict=True))
        ):
            x = fusion(x, level, size)
        assert x is not None
        return x
