"""DINOv2 with a DPT head: the network of UniMatch V2."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from rcc_jax.models.dinov2 import DinoV2, Size
from rcc_jax.models.dpt import DPT
from rcc_jax.models.initialization import draw_uniform
from rcc_jax.models.layers import checked_dtype


class DinoV2DPT(nnx.Module):
    """Semantic segmentation network: a vision transformer and a convolutional head.

    Its state is `nnx.Param`, nothing else. Training and evaluation are the same function.

    Args:
        num_classes: Number K of classes, at least 1.
        backbone: 'dinov2_small', 'dinov2_base' or 'dinov2_large'.
        dtype: Type of the computation: float32, bfloat16, or float64 (which needs jax_enable_x64).
            Parameters, the sum of the blocks, normalisation and logits are at least float32.
        remat: Recomputes each block of the encoder in the backward pass: less memory, more time.
        freeze_encoder: Whether the encoder has no gradient.
        size: Sizes other than those of the backbone, for tests.
        position_offset: See `positions.resize_positions`.
        rngs: Source of the initial values.

    Raises:
        ValueError: An argument that is none of the above.

    References:
        Yang et al., "UniMatch V2: Pushing the Limit of Semi-Supervised Semantic Segmentation",
        TPAMI 2025.
    """

    family: ClassVar[str] = "dinov2"

    def __init__(
        self,
        num_classes: int,
        backbone: str = "dinov2_small",
        *,
        dtype: Any = jnp.float32,
        remat: bool = False,
        freeze_encoder: bool = False,
        size: Size | None = None,
        position_offset: float = 0.1,
        rngs: nnx.Rngs,
    ):
        dtype = checked_dtype(dtype)
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}; use at least 1")
        self.num_classes = num_classes
        self.dtype = dtype
        self.freeze_encoder = freeze_encoder
        self.backbone = DinoV2(
            backbone,
            size=size,
            position_offset=position_offset,
            dtype=dtype,
            remat=remat,
            rngs=rngs,
        )
        size = self.backbone.size
        self.head = DPT(
            size.features, size.head_channels, size.head_features, num_classes, dtype=dtype
        )
        self.merged_features = size.head_features
        draw_uniform([self.head], rngs.params())

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Logits of every pixel.

        Args:
            images: Images normalised by mean and standard deviation, [B, H, W, 3]; H and W are
                multiples of 14.
            train: Changes nothing.

        Returns:
            Logits [B, H, W, K], at least float32.

        Raises:
            ValueError: If H or W is no multiple of 14.
        """
        height, width = images.shape[1:3]
        return self.decode(self.encode(images, train=train), (height, width), train=train)

    def encode(self, images: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Features of four blocks, each [B, H / 14, W / 14, D]."""
        features = self.backbone(images.astype(self.dtype))
        return jax.lax.stop_gradient(features) if self.freeze_encoder else features

    def decode(
        self, features: tuple[jax.Array, ...], size: tuple[int, int], *, train: bool
    ) -> jax.Array:
        """Logits [B, H, W, K] of features, at least float32, at a size (H, W) in pixels."""
        return self.head(features, size)

    def merge(self, features: tuple[jax.Array, ...], *, train: bool) -> jax.Array:
        """The four features fused, [B, h, w, merged_features] at stride 14 / 8."""
        return self.head.fuse(features)

    def classify(self, merged: jax.Array, size: tuple[int, int], *, train: bool) -> jax.Array:
        """Logits [B, H, W, K] of what `merge` returns."""
        return self.head.classify(merged, size)
