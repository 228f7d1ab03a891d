"""Convolution, batch normalisation and dropout of channels, with PyTorch's padding and defaults."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from rcc_jax.models.conv import convolve
from rcc_jax.models.extent import WHOLE, Extent
from rcc_jax.models.products import add_bias
from rcc_jax.models.standardize import EPSILON, last_axis, standardize


def param_dtype(dtype: Any) -> Any:
    """Type of parameters and statistics: float32, or float64 if the computation has it."""
    return jnp.promote_types(dtype, jnp.float32)


def checked_dtype(dtype: Any) -> Any:
    """The type of a computation; raises ValueError if it is not supported."""
    dtype = jnp.dtype(dtype)
    if dtype not in (jnp.float32, jnp.bfloat16, jnp.float64):
        raise ValueError(f"dtype is {dtype.name}; use float32, bfloat16 or float64")
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise ValueError("dtype is float64, but jax_enable_x64 is off; switch it on or use float32")
    return dtype


class Conv(nnx.Module):
    """Square convolution with symmetric padding that keeps the size at stride 1.

    Kernel and bias are zero until `initialization` draws them.

    Args:
        in_features: Channels of the input.
        out_features: Channels of the output.
        kernel: Side of the square kernel, odd.
        stride: Step of the kernel in pixels.
        dilation: Distance between neighbouring kernel taps in pixels.
        bias: Whether to add a learned bias.
        dtype: Type of the computation and of the result.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        bias: bool = False,
        dtype: Any,
    ):
        inner = param_dtype(dtype)
        self.kernel = nnx.Param(jnp.zeros((kernel, kernel, in_features, out_features), inner))
        self.bias = nnx.Param(jnp.zeros((out_features,), inner)) if bias else None
        self.stride = stride
        self.dilation = dilation
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolves [B, H, W, in] to [B, ceil(H / stride), ceil(W / stride), out]."""
        kernel = self.kernel[...].astype(self.dtype)
        y = convolve(x.astype(self.dtype), kernel, stride=self.stride, dilation=self.dilation)
        return y if self.bias is None else add_bias(y, self.bias[...].astype(self.dtype))


class BatchNorm(nnx.Module):
    """Batch normalisation over batch and space, computed in at least float32.

    The running statistics move by a tenth each step (PyTorch's momentum 0.1). As in PyTorch, the
    biased variance normalises a batch, and the running variance is unbiased: n / (n - 1) times the
    biased one for n values per channel. A single value, which PyTorch refuses, keeps the biased
    variance. If a batch is sharded over devices, n and the statistics are those of the whole batch.

    Args:
        features: Number of channels.
        frozen: Whether to use the running statistics in training too, and keep them unchanged.
        dtype: Type of the result.

    References:
        Ioffe and Szegedy, "Batch Normalization", ICML 2015.
    """

    def __init__(self, features: int, *, frozen: bool, dtype: Any):
        inner = param_dtype(dtype)
        self.scale = nnx.Param(jnp.ones((features,), inner))
        self.bias = nnx.Param(jnp.zeros((features,), inner))
        self.mean = nnx.BatchStat(jnp.zeros((features,), inner))
        self.var = nnx.BatchStat(jnp.ones((features,), inner))
        self.frozen = frozen
        self.dtype = dtype

    def __call__(self, x: jax.Array, *, train: bool, extent: Extent = WHOLE) -> jax.Array:
        """Normalises `x` [B, H, W, C], in training by its own statistics unless frozen.

        The result is 0 outside the extent, which training does not use.
        """
        if train and not self.frozen:
            y, mean, var = standardize(x, self.scale[...], self.bias[...])
            count = math.prod(x.shape[:3])
            unbiased = var * (count / max(count - 1, 1))
            # `variable[...] = value` would add a scatter to the program and trace slowly.
            self.mean.set_value(0.9 * self.mean[...] + 0.1 * mean)
            self.var.set_value(0.9 * self.var[...] + 0.1 * unbiased)
        else:
            factor = jax.lax.rsqrt(self.var[...] + EPSILON) * self.scale[...]
            y = x.astype(self.scale.dtype) - last_axis(self.mean[...])
            y = y * last_axis(factor) + last_axis(self.bias[...])
        return extent.clear(y.astype(self.dtype))


class ConvBN(nnx.Module):
    """A convolution without bias, batch normalisation, and by default a ReLU."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        relu: bool = True,
        frozen: bool,
        dtype: Any,
    ):
        self.relu = relu
        self.conv = Conv(
            in_features, out_features, kernel, stride=stride, dilation=dilation, dtype=dtype
        )
        self.bn = BatchNorm(out_features, frozen=frozen, dtype=dtype)

    def __call__(self, x: jax.Array, *, train: bool, extent: Extent = WHOLE) -> jax.Array:
        """Features [B, H, W, in] to [B, ceil(H / stride), ceil(W / stride), out]."""
        x = self.bn(self.conv(x), train=train, extent=extent)
        return nnx.relu(x) if self.relu else x


def dropout_channels(x: jax.Array, key: jax.Array, rate: float = 0.5) -> jax.Array:
    """Drops whole channels of each example and scales up the others (PyTorch's Dropout2d).

    Args:
        x: Features, [B, H, W, C].
        key: Random key; each of the B * C channels has an independent draw.
        rate: Probability that a channel is dropped.

    Returns:
        Array like `x` whose kept channels are divided by 1 - rate.

    References:
        Tompson et al., "Efficient Object Localization Using Convolutional Networks", CVPR 2015.
    """
    keep = jax.random.bernoulli(key, 1 - rate, (x.shape[0], 1, 1, x.shape[3]))
    return jnp.where(keep, x / (1 - rate), jnp.zeros((), x.dtype))
