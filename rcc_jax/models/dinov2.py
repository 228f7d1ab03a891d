"""DINOv2's vision transformers: patches of 14 pixels, features of four blocks."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from rcc_jax.models.initialization import fill
from rcc_jax.models.layers import param_dtype
from rcc_jax.models.positions import resize_positions
from rcc_jax.models.transformer import Block, LayerNorm, Linear, apply

PATCH = 14


@dataclasses.dataclass(frozen=True)
class Size:
    """The sizes of an encoder and of the head that UniMatch V2 puts on it.

    Attributes:
        features: Channels D of the tokens.
        depth: Number of blocks.
        heads: Attention heads of a block.
        levels: The four blocks, counted from 0, whose outputs are the features.
        head_features: Channels of the head.
        head_channels: Channels of the head's four levels before they are fused.
        side: Rows and columns of the table of position embeddings.
    """

    features: int
    depth: int
    heads: int
    levels: tuple[int, int, int, int]
    head_features: int
    head_channels: tuple[int, int, int, int]
    side: int = 37


# Oquab et al. 2024, and UniMatch V2's code.
SIZES = {
    "dinov2_small": Size(384, 12, 6, (2, 5, 8, 11), 64, (48, 96, 192, 384)),
    "dinov2_base": Size(768, 12, 12, (2, 5, 8, 11), 128, (96, 192, 384, 768)),
    "dinov2_large": Size(1024, 24, 16, (4, 11, 17, 23), 256, (256, 512, 1024, 1024)),
}


class PatchEmbedding(nnx.Module):
    """Patches of 14 x 14 pixels as tokens: a convolution whose kernel is its stride."""

    def __init__(self, features: int, *, dtype: Any):
        inner = param_dtype(dtype)
        self.kernel = nnx.Param(jnp.zeros((PATCH, PATCH, 3, features), inner))
        self.bias = nnx.Param(jnp.zeros((features,), inner))
        self.dtype = dtype

    def __call__(self, images: jax.Array) -> jax.Array:
        """Images [B, 14 p, 14 q, 3] to [B, p, q, D]."""
        batch, height, width, colors = images.shape
        grid = (batch, height // PATCH, PATCH, width // PATCH, PATCH, colors)
        patches = images.astype(self.dtype).reshape(grid)
        kernel = self.kernel[...].astype(self.dtype)
        tokens = jnp.einsum("bpiqjc,ijcd->bpqd", patches, kernel)
        return tokens + self.bias[...].astype(self.dtype).reshape(1, 1, 1, -1)


class DinoV2(nnx.Module):
    """Vision transformer without register tokens, as DINOv2 was trained.

    Args:
        name: One of `SIZES`.
        size: Sizes other than those of the name, for tests.
        position_offset: See `resize_positions`.
        dtype: Type of the matrix products; float64 computes all in float64.
        remat: Whether to recompute each block in the backward pass, to save memory.
        rngs: Source of the initial values.

    Raises:
        ValueError: If the name is unknown.

    References:
        Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", TMLR 2024.
    """

    def __init__(
        self,
        name: str,
        *,
        size: Size | None = None,
        position_offset: float = 0.1,
        dtype: Any = jnp.float32,
        remat: bool = False,
        rngs: nnx.Rngs,
    ):
        if name not in SIZES:
            raise ValueError(f"backbone is {name!r}; use one of {', '.join(SIZES)}")
        size = size or SIZES[name]
        self.name = name
        self.size = size
        self.position_offset = position_offset
        self.remat = remat
        inner, features = param_dtype(dtype), size.features
        self.patch_embed = PatchEmbedding(features, dtype=dtype)
        self.cls_token = nnx.Param(jnp.zeros((1, 1, features), inner))
        self.pos_embed = nnx.Param(jnp.zeros((1, 1 + size.side**2, features), inner))
        self.blocks = nnx.List(
            [Block(features, size.heads, dtype=dtype) for _ in range(size.depth)]
        )
        self.norm = LayerNorm(features, dtype=dtype)
        linear = [node for _, node in nnx.iter_graph(self) if isinstance(node, Linear)]
        drawn = [self.patch_embed.kernel, *(each.kernel for each in linear), self.pos_embed]
        # DINOv2's own initialisation, for runs without pretrained weights.
        fill([(variable, 0.02) for variable in drawn], rngs.params(), _truncated)

    def __call__(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """Features of normalised images.

        Args:
            images: [B, H, W, 3]; H and W are multiples of 14.

        Returns:
            The outputs of four blocks after the last LayerNorm, without the class token: four
            arrays [B, H / 14, W / 14, D].

        Raises:
            ValueError: If H or W is no multiple of 14.
        """
        for length in images.shape[1:3]:
            if isinstance(length, int) and length % PATCH:
                raise ValueError(f"images of {images.shape[1:3]} pixels: use multiples of {PATCH}")
        patches = self.patch_embed(images)
        batch, rows, columns, features = patches.shape
        table = self.pos_embed[...]
        side = self.size.side
        places = resize_positions(
            table[0, 1:].reshape(side, side, features), (rows, columns), offset=self.position_offset
        )
        x = patches.astype(table.dtype) + places[None]
        first = jnp.broadcast_to(self.cls_token[...] + table[:, :1], (batch, 1, features))
        x = jnp.concatenate([first, x.reshape(batch, rows * columns, features)], axis=1)
        levels = []
        for number, block in enumerate(self.blocks):
            x = apply(block, x, remat=self.remat)
            if number in self.size.levels:
                levels.append(self.norm(x)[:, 1:].reshape(batch, rows, columns, features))
        return tuple(levels)


def _truncated(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    return jax.random.truncated_normal(key, -2, 2, shape, dtype)
