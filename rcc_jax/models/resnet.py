"""ResNet-10, 18, 34, 50 (also as far as stage 3) and 101, dilated instead of strided at the end."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from rcc_jax.models.extent import WHOLE, Extent
from rcc_jax.models.initialization import draw_he_normal
from rcc_jax.models.layers import BatchNorm, Conv, ConvBN
from rcc_jax.models.pooling import max_pool


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions beside a shortcut (He et al. 2016, figure 5 left)."""

    expansion = 1

    def __init__(
        self,
        in_features: int,
        planes: int,
        *,
        stride: int,
        dilation: int,
        frozen: bool,
        dtype: Any,
    ):
        conv = functools.partial(Conv, dtype=dtype)
        norm = functools.partial(BatchNorm, planes, frozen=frozen, dtype=dtype)
        self.conv1 = conv(in_features, planes, 3, stride=stride, dilation=dilation)
        self.bn1 = norm()
        self.conv2 = conv(planes, planes, 3, dilation=dilation)
        self.bn2 = norm()
        self.downsample = _shortcut(in_features, planes, stride, frozen, dtype)

    def __call__(self, x: jax.Array, *, train: bool, extent: Extent = WHOLE) -> jax.Array:
        """Features [B, H, W, in] to [B, ceil(H / stride), ceil(W / stride), out]."""
        mode: dict[str, Any] = {"train": train, "extent": extent}
        y = nnx.relu(self.bn1(self.conv1(x), **mode))
        y = self.bn2(self.conv2(y), **mode)
        return nnx.relu(y + (x if self.downsample is None else self.downsample(x, **mode)))


class Bottleneck(nnx.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; the stride is on the 3x3 one (v1.5).

    The output has four times the channels of the 3x3 convolution.
    """

    expansion = 4

    def __init__(
        self,
        in_features: int,
        planes: int,
        *,
        stride: int,
        dilation: int,
        frozen: bool,
        dtype: Any,
    ):
        conv = functools.partial(Conv, dtype=dtype)
        norm = functools.partial(BatchNorm, frozen=frozen, dtype=dtype)
        out_features = planes * self.expansion
        self.conv1 = conv(in_features, planes, 1)
        self.bn1 = norm(planes)
        self.conv2 = conv(planes, planes, 3, stride=stride, dilation=dilation)
        self.bn2 = norm(planes)
        self.conv3 = conv(planes, out_features, 1)
        self.bn3 = norm(out_features)
        self.downsample = _shortcut(in_features, out_features, stride, frozen, dtype)

    def __call__(self, x: jax.Array, *, train: bool, extent: Extent = WHOLE) -> jax.Array:
        """Features [B, H, W, in] to [B, ceil(H / stride), ceil(W / stride), out]."""
        mode: dict[str, Any] = {"train": train, "extent": extent}
        y = nnx.relu(self.bn1(self.conv1(x), **mode))
        y = nnx.relu(self.bn2(self.conv2(y), **mode))
        y = self.bn3(self.conv3(y), **mode)
        return nnx.relu(y + (x if self.downsample is None else self.downsample(x, **mode)))


def _shortcut(
    in_features: int, out_features: int, stride: int, frozen: bool, dtype: Any
) -> ConvBN | None:
    if stride == 1 and in_features == out_features:
        return None
    return ConvBN(
        in_features,
        out_features,
        1,
        stride=stride,
        relu=False,
        frozen=frozen,
        dtype=dtype,
    )


# Block and number of blocks in each of the four stages (He et al. 2016, table 1).
ARCHITECTURES: dict[str, tuple[type[BasicBlock | Bottleneck], tuple[int, ...]]] = {
    # Not in the paper: half a ResNet-18, for trials.
    "resnet10": (BasicBlock, (1, 1, 1, 1)),
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    # Without the last stage, in object detection called C4: half the weights.
    "resnet50_c4": (Bottleneck, (3, 4, 6, 0)),
}

# Kernel, stride and width (in units of the base width) of the convolutions before the stages.
STEMS = {"v1": ((7, 2, 1),), "deep": ((3, 2, 1), (3, 1, 1), (3, 1, 2))}

# Dilation that replaces the stride of stages 3 and 4.
_DILATED = {16: (False, True), 8: (True, True)}


class ResNet(nnx.Module):
    """Residual network that returns the features of its four stages.

    Args:
        name: One of `ARCHITECTURES`.
        stem: 'v1' (one 7x7 convolution) or 'deep' (three 3x3 ones, the last twice as wide).
        output_stride: 16 (stage 4 dilated instead of strided) or 8 (stages 3 and 4).
        width: Channels of the first stage's inner convolutions; 64 is the standard network.
        dtype: Type of the computation.
        remat: Whether to recompute each residual block in the backward pass, to save memory.
        freeze_bn: Whether batch normalisation uses its running statistics in training too.
        rngs: Source of the initial values.

    Raises:
        ValueError: If name, stem or output stride is unknown, or the width is below 1.

    References:
        He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; the dilation follows
        Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017.
    """

    def __init__(
        self,
        name: str,
        stem: str,
        *,
        output_stride: int = 16,
        width: int = 64,
        dtype: Any = jnp.float32,
        remat: bool = False,
        freeze_bn: bool = False,
        rngs: nnx.Rngs,
    ):
        for what, value, known in (
            ("backbone", name, ARCHITECTURES),
            ("stem", stem, STEMS),
            ("output_stride", output_stride, _DILATED),
        ):
            if value not in known:
                raise ValueError(f"{what} is {value!r}; use one of {', '.join(map(str, known))}")
        if width < 1:
            raise ValueError(f"width is {width}; use at least 1 channel")
        self.name = name
        self.stem_name = stem
        self.remat = remat
        self.freeze_bn = freeze_bn
        norm: dict[str, Any] = {"frozen": freeze_bn, "dtype": dtype}
        features = 3
        self.stem: nnx.List[ConvBN] = nnx.List([])
        for kernel, stride, units in STEMS[stem]:
            out = units * width
            self.stem.append(ConvBN(features, out, kernel, stride=stride, **norm))
            features = out
        block, counts = ARCHITECTURES[name]
        dilation = 1
        for stage, count in enumerate(counts):
            stride = 1 if stage == 0 else 2
            first_dilation = dilation
            if stage >= 2 and _DILATED[output_stride][stage - 2]:
                dilation, stride = dilation * 2, 1
            planes = width * 2**stage
            blocks: nnx.List[BasicBlock | Bottleneck] = nnx.List([])
            for i in range(count):
                # The first block of a dilated stage keeps the previous dilation, as in PyTorch.
                blocks.append(
                    block(
                        features,
                        planes,
                        stride=stride if i == 0 else 1,
                        dilation=first_dilation if i == 0 else dilation,
                        **norm,
                    )
                )
                features = planes * block.expansion
            setattr(self, f"layer{stage + 1}", blocks)
        self.low_features = width * block.expansion
        self.high_features = features
        draw_he_normal([self], rngs.params())

    def __call__(
        self, x: jax.Array, *, train: bool, extent: Extent = WHOLE
    ) -> tuple[jax.Array, ...]:
        """Features after each stage of images [B, H, W, 3], at strides 4, 8, 8 or 16, 8 or 16."""
        for conv_bn in self.stem:
            x = conv_bn(x, train=train, extent=extent)
        # Features after ReLU are not negative, so zeros around them do not change the maxima.
        x = extent.clear(max_pool(x))
        stages = []
        moving = train and not self.freeze_bn
        for stage in range(1, 5):
            for block in getattr(self, f"layer{stage}"):
                x = _apply(block, x, train=moving, extent=extent, remat=self.remat)
            stages.append(x)
        return tuple(stages)


def _apply(
    block: BasicBlock | Bottleneck, x: jax.Array, *, train: bool, extent: Extent, remat: bool
) -> jax.Array:
    """Runs a block as a function that JAX traces once for all blocks of one shape.

    A ResNet-101 has 22 equal blocks in its third stage; traced one by one, they are most of the
    time before the compilation. With `remat` only the input is kept for the backward pass.
    """
    graphdef, params, stats = nnx.split(block, nnx.Param, nnx.BatchStat)  # type: ignore[misc]
    y, stats = _pure(graphdef, train, remat, params, stats, x, extent)
    if train:
        nnx.update(block, stats)
    return y


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _pure(graphdef, train, remat, params, stats, x, extent):
    def run(params, stats, x):
        block = nnx.merge(graphdef, params, stats)
        y = block(x, train=train, extent=extent)
        return y, nnx.state(block, nnx.BatchStat)

    return (jax.checkpoint(run) if remat else run)(params, stats, x)
