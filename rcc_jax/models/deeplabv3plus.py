"""DeepLabv3+ with UniMatch's decoder: dilated pyramid, low-level features, two 3x3 convolutions."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from rcc_jax.models.extent import WHOLE, Extent
from rcc_jax.models.initialization import draw_uniform
from rcc_jax.models.layers import Conv, ConvBN, dropout_channels
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
        mode = {"train": train, "extent": extent}
        branches = [branch(x, **mode) for branch in (self.b0, self.b1, self.b2, self.b3)]
        pooled = self.b4(extent.mean(x), train=train)
        branches.append(jnp.broadcast_to(pooled, branches[0].shape))
        return self.project(jnp.concatenate(branches, axis=-1), **mode)


class DeepLabV3Plus(nnx.Module):
    """Semantic segmentation network: dilated ResNet, ASPP, and a decoder at a quarter of the size.

    Its state is `nnx.Param` and `nnx.BatchStat`, nothing else.

    Args:
        num_classes: Number K of classes, at least 1.
        backbone: 'resnet18', 'resnet34', 'resnet50' or 'resnet101'.
        stem: 'deep' (three 3x3 convolutions, UniMatch's weights) or 'v1' (one 7x7, torchvision's).
        output_stride: 16 or 8: size of the input over that of the last stage.
        width: Base width of the ResNet; 64 is the standard network.
        decoder_channels: Width of ASPP and decoder; the low-level features get 3/16 of it.
        aspp_rates: The three dilations of ASPP in pixels.
        dtype: Type of the computation: float32, bfloat16, or float64 (which needs jax_enable_x64).
            Parameters, statistics and logits are at least float32.
        remat: Recomputes each residual block in the backward pass: less memory, more time.
        freeze_bn: Batch normalisation uses its running statistics in training, too.
        rngs: Source of the initial values.

    Raises:
        ValueError: An argument that is none of the above.

    References:
        Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
        Segmentation", ECCV 2018; the decoder without separable convolutions as in Yang et al.,
        "Revisiting Weak-to-Strong Consistency in Semi-Supervised Semantic Segmentation", CVPR 2023.
    """

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
        rngs: nnx.Rngs,
    ):
        dtype = _checked_dtype(dtype)
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}; use at least 1")
        if decoder_channels < 6:
            raise ValueError(f"decoder_channels is {decoder_channels}; use at least 6")
        if len(aspp_rates) != 3 or min(aspp_rates) < 1:
            raise ValueError(f"aspp_rates is {aspp_rates!r}; give three dilations of at least 1")
        self.num_classes = num_classes
        self.dtype = dtype
        self.backbone = ResNet(
            backbone,
            stem,
            output_stride=output_stride,
            width=width,
            dtype=dtype,
            remat=remat,
            freeze_bn=freeze_bn,
            rngs=rngs,
        )
        norm = {"frozen": freeze_bn, "dtype": dtype}
        low_channels = 3 * decoder_channels // 16
        self.head = ASPP(self.backbone.high_features, decoder_channels, aspp_rates, **norm)
        self.reduce = ConvBN(self.backbone.low_features, low_channels, 1, **norm)
        self.fuse = nnx.List(
            [
                ConvBN(low_channels + decoder_channels, decoder_channels, 3, **norm),
                ConvBN(decoder_channels, decoder_channels, 3, **norm),
            ]
        )
        # In at least float32: a bfloat16 logit near 10 has steps of 1/16, too coarse to rank.
        logits_dtype = jnp.promote_types(dtype, jnp.float32)
        self.classifier = Conv(decoder_channels, num_classes, 1, bias=True, dtype=logits_dtype)
        draw_uniform([self.head, self.reduce, *self.fuse, self.classifier], rngs.params())

    def __call__(
        self,
        images: jax.Array,
        *,
        train: bool,
        perturb_rngs: nnx.Rngs | None = None,
        sizes: jax.Array | None = None,
    ) -> jax.Array | tuple[jax.Array, jax.Array]:
        """Logits of every pixel.

        Args:
            images: Images normalised by mean and standard deviation, [B, H, W, 3].
            train: Batch normalisation by the batch (whose running statistics move) or by the
                running statistics.
            perturb_rngs: If given, half of the channels of the low- and of the high-level features
                are dropped, in a copy. Clean and dropped features of all rows are one decoder
                batch, so its batch normalisation sees both. Uses the stream 'dropout'.
            sizes: Height and width of each image, int [B, 2], where it fills only the upper left
                corner of its row of the batch; for evaluation without `perturb_rngs`.

        Returns:
            Logits [B, H, W, K], at least float32; with `perturb_rngs` a pair of such arrays, of the
            clean and of the dropped features. With `sizes` those of an image equal those without
            padding, up to rounding; those outside of it mean nothing.

        Raises:
            ValueError: Sizes in training.

        References:
            Yang et al., CVPR 2023, section 3.2 (feature perturbation).
        """
        batch, height, width, _ = images.shape
        extent = WHOLE if sizes is None else Extent(sizes, (height, width))
        if sizes is not None and (train or perturb_rngs is not None):
            raise ValueError("sizes are for evaluation: statistics of a batch would count padding")
        x = extent.clear(images.astype(self.dtype))
        low, _, _, high = self.backbone(x, train=train, extent=extent)
        if perturb_rngs is not None:
            low = _with_dropped(low, perturb_rngs.dropout())
            high = _with_dropped(high, perturb_rngs.dropout())
        logits = self._decode(low, high, train=train, extent=extent)
        logits = extent.resize(logits, (height, width))
        if perturb_rngs is None:
            return logits
        pairs = logits.reshape(batch, 2, height, width, self.num_classes)
        return pairs[:, 0], pairs[:, 1]

    def _decode(
        self, low: jax.Array, high: jax.Array, *, train: bool, extent: Extent = WHOLE
    ) -> jax.Array:
        mode = {"train": train, "extent": extent}
        high = extent.resize(self.head(high, **mode), low.shape[1:3])
        x = jnp.concatenate([self.reduce(low, **mode), high], axis=-1)
        for conv_bn in self.fuse:
            x = conv_bn(x, **mode)
        return self.classifier(x)


def _with_dropped(features: jax.Array, key: jax.Array) -> jax.Array:
    """Each row followed by its copy with dropped channels: [B, ...] -> [2B, ...].

    Alternating rows leave a batch that is sharded over devices where it is; appending the copies
    at the end would move half of it.
    """
    pairs = jnp.stack([features, dropout_channels(features, key)], axis=1)
    return pairs.reshape(-1, *features.shape[1:])


def _checked_dtype(dtype: Any) -> Any:
    dtype = jnp.dtype(dtype)
    if dtype not in (jnp.float32, jnp.bfloat16, jnp.float64):
        raise ValueError(f"dtype is {dtype.name}; use float32, bfloat16 or float64")
    if dtype == jnp.float64 and not jax.config.jax_enable_x64:
        raise ValueError("dtype is float64, but jax_enable_x64 is off; switch it on or use float32")
    return dtype
