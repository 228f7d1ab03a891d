"""DeepLabv3+ with UniMatch's decoder: dilated pyramid, low-level features, two 3x3 convolutions."""

import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from rcc_jax.models.extent import WHOLE, Extent
from rcc_jax.models.initialization import draw_uniform
from rcc_jax.models.layers import Conv, ConvBN, checked_dtype
from rcc_jax.models.resnet import ResNet


class ASPP(nnx.Module):
    """Atrous spatial pyramid pooling: 1x1, three dilated 3x3, global mean, then a 1x1 over all.

    Args:
        in_features: Channels of the input.
        out_features: Channels of each branch and of the result.
        rates: The three dilations in pixels.
        frozen: Batch normalisation uses its running statistics in training, too.
        dtype: Type of the computation.

    References:
        Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        rates: Sequence[int],
        *,
        frozen: bool,
        dtype: Any,
    ):
        conv_bn = functools.partial(ConvBN, frozen=frozen, dtype=dtype)
        self.b0 = conv_bn(in_features, out_features, 1)
        self.b1 = conv_bn(in_features, out_features, 3, dilation=rates[0])
        self.b2 = conv_bn(in_features, out_features, 3, dilation=rates[1])
        self.b3 = conv_bn(in_features, out_features, 3, dilation=rates[2])
        self.b4 = conv_bn(in_features, out_features, 1)
        self.project = conv_bn(5 * out_features, out_features, 1)

    def __call__(self, x: jax.Array, *, train: bool, extent: Extent = WHOLE) -> jax.Array:
        mode: dict[str, Any] = {"train": train, "extent": extent}
        branches = [branch(x, **mode) for branch in (self.b0, self.b1, self.b2, self.b3)]
        pooled = self.b4(extent.mean(x), train=train)
        branches.append(jnp.broadcast_to(pooled, branches[0].shape))
        return self.project(jnp.concatenate(branches, axis=-1), **mode)


class DeepLabV3Plus(nnx.Module):
    """Semantic segmentation network: dilated ResNet, ASPP, and a decoder at a quarter of the size.

    Its state is `nnx.Param` and `nnx.BatchStat`, nothing else.

    Args:
        num_classes: Number K of classes, at least 1.
        backbone: One of `resnet.ARCHITECTURES`.
        stem: 'deep' (three 3x3 convolutions, UniMatch's weights) or 'v1' (one 7x7, torchvision's).
        output_stride: 16 or 8: size of the input over that of the last stage.
        width: Base width of the ResNet; 64 is the standard network.
        decoder_channels: Width of ASPP and decoder; the low-level features get 3/16 of it.
        aspp_rates: The three dilations of ASPP in pixels.
        dtype: Type of the computation: float32, bfloat16, or float64 (which needs jax_enable_x64).
            Parameters, statistics and logits are at least float32.
        remat: Recomputes each residual block in the backward pass: less memory, more time.
        freeze_bn: Batch normalisation uses its running statistics in training, too.
        freeze_encoder: Whether the encoder has no gradient; its batch normalisation is frozen, too.
        rngs: Source of the initial values.

    Raises:
        ValueError: An argument that is none of the above.

    References:
        Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
        Segmentation", ECCV 2018; the decoder without separable convolutions as in Yang et al.,
        "Revisiting Weak-to-Strong Consistency in Semi-Supervised Semantic Segmentation", CVPR 2023.
    """

    family: ClassVar[str] = "resnet"

    def __init__(
        self,
        num_classes: int,
        backbone: str = "resnet50",
        stem: str = "deep",
        *,
        output_stride: int = 16,
        width: int = 64,
        decoder_channels: int = 256,
        aspp_rates: Sequence[int] = (6, 12, 18),
        dtype: Any = jnp.float32,
        remat: bool = False,
        freeze_bn: bool = False,
        freeze_encoder: bool = False,
        rngs: nnx.Rngs,
    ):
        dtype = checked_dtype(dtype)
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}; use at least 1")
        if decoder_channels < 6:
            raise ValueError(f"decoder_channels is {decoder_channels}; use at least 6")
        if len(aspp_rates) != 3 or min(aspp_rates) < 1:
            raise ValueError(f"aspp_rates is {aspp_rates!r}; give three dilations of at least 1")
        self.num_classes = num_classes
        self.freeze_encoder = freeze_encoder
        self.dtype = dtype
        self.backbone = ResNet(
            backbone,
            stem,
            output_stride=output_stride,
            width=width,
            dtype=dtype,
            remat=remat,
            freeze_bn=freeze_bn or freeze_encoder,
            rngs=rngs,
        )
        norm = {"frozen": freeze_bn, "dtype": dtype}
        low_channels = 3 * decoder_channels // 16
        self.merged_features = low_channels + decoder_channels
        self.head = ASPP(self.backbone.high_features, decoder_channels, aspp_rates, **norm)
        self.reduce = ConvBN(self.backbone.low_features, low_channels, 1, **norm)
        self.fuse = nnx.List(
            [
                ConvBN(self.merged_features, decoder_channels, 3, **norm),
                ConvBN(decoder_channels, decoder_channels, 3, **norm),
            ]
        )
        # In at least float32: a bfloat16 logit near 10 has steps of 1/16, too coarse to rank.
        logits_dtype = jnp.promote_types(dtype, jnp.float32)
        self.classifier = Conv(decoder_channels, num_classes, 1, bias=True, dtype=logits_dtype)
        draw_uniform([self.head, self.reduce, *self.fuse, self.classifier], rngs.params())

    def __call__(
        self, images: jax.Array, *, train: bool, sizes: jax.Array | None = None
    ) -> jax.Array:
        """Logits of every pixel.

        Args:
            images: Images normalised by mean and standard deviation, [B, H, W, 3].
            train: Batch normalisation by the batch (whose running statistics move) or by the
                running statistics.
            sizes: Height and width of each image, int [B, 2], where it fills only the upper left
                corner of its row of the batch; for evaluation.

        Returns:
            Logits [B, H, W, K], at least float32. With `sizes` those of an image equal those
            without padding, up to rounding; those outside of it mean nothing.

        Raises:
            ValueError: Sizes in training.
        """
        height, width = images.shape[1:3]
        size = (height, width)
        extent = WHOLE if sizes is None else Extent(sizes, size)
        if sizes is not None and train:
            raise ValueError("sizes are for evaluation: statistics of a batch would count padding")
        features = self.encode(images, train=train, extent=extent)
        return self.decode(features, size, train=train, extent=extent)

    def encode(
        self, images: jax.Array, *, train: bool, extent: Extent = WHOLE
    ) -> tuple[jax.Array, jax.Array]:
        """Features [B, h, w, C] of the first stage (stride 4) and the last (the output stride)."""
        x = extent.clear(images.astype(self.dtype))
        low, _, _, high = self.backbone(x, train=train, extent=extent)
        return jax.lax.stop_gradient((low, high)) if self.freeze_encoder else (low, high)

    def decode(
        self,
        features: tuple[jax.Array, jax.Array],
        size: tuple[int, int],
        *,
        train: bool,
        extent: Extent = WHOLE,
    ) -> jax.Array:
        """Logits [B, H, W, K] of features, at least float32, at a size (H, W) in pixels."""
        merged = self.merge(features, train=train, extent=extent)
        return self.classify(merged, size, train=train, extent=extent)

    def merge(
        self, features: tuple[jax.Array, jax.Array], *, train: bool, extent: Extent = WHOLE
    ) -> jax.Array:
        """Both features side by side, [B, h, w, merged_features] at stride 4."""
        low, high = features
        mode: dict[str, Any] = {"train": train, "extent": extent}
        high = extent.resize(self.head(high, **mode), low.shape[1:3])
        return jnp.concatenate([self.reduce(low, **mode), high], axis=-1)

    def classify(
        self,
        merged: jax.Array,
        size: tuple[int, int],
        *,
        train: bool,
        extent: Extent = WHOLE,
    ) -> jax.Array:
        """Logits [B, H, W, K] of what `merge` returns."""
        x = merged
        for conv_bn in self.fuse:
            x = conv_bn(x, train=train, extent=extent)
        return extent.resize(self.classifier(x), size)
