"""Convolution, batch normalisation and pooling with PyTorch's padding, momentum and defaults."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from rcc_jax.models.conv import convolve
from rcc_jax.models.extent import WHOLE, Extent


def param_dtype(dtype: Any) -> Any:
    """Type in which parameters and statistics live: float32, or float64 where that is computed."""
    return jnp.promote_types(dtype, jnp.float32)


class Conv(nnx.Module):
    """Square convolution with symmetric padding that keeps the size at stride 1.

    Kernel and bias are zeros until `initialization` draws them.

    Args:
        in_features: Channels of the input.
        out_features: Channels of the output.
        kernel: Side of the square kernel, odd.
        stride: Step of the kernel in pixels.
        dilation: Distance of neighbouring kernel taps in pixels.
        bias: Adds a learned bias.
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
        return y if self.bias is None else y + _last_axis(self.bias[...].astype(self.dtype))


class BatchNorm(nnx.Module):
    """Batch normalisation over batch and space, with everything inside in at least float32.

    The running statistics move by a tenth each step (PyTorch's momentum 0.1). As in PyTorch a batch
    is normalised by its biased variance, while the running one is unbiased, n / (n - 1) of it for n
    values a channel. One value has no unbiased variance and PyTorch refuses it: it stays biased.
    Over a batch sharded across devices n and the statistics are those of all of it.

    Args:
        features: Number of channels.
        frozen: Uses the running statistics while training, too, and leaves them as they are.
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
        """Normalises `x` [B, H, W, C]; in training (unless frozen) by its own statistics.

        Outside of the extent, which training does not know, the result is 0.
        """
        x = x.astype(self.scale.dtype)
        if train and not self.frozen:
            mean = jnp.mean(x, axis=(0, 1, 2))
            # Not E[x^2] - E[x]^2, which cancels where the mean is large.
            var = jnp.mean(jnp.square(x - _last_axis(mean)), axis=(0, 1, 2))
            count = math.prod(x.shape[:3])
            unbiased = var * (count / max(count - 1, 1))
            # `variable[...] = value` would put a scatter into the program, and trace slowly.
            self.mean.set_value(0.9 * self.mean[...] + 0.1 * mean)
            self.var.set_value(0.9 * self.var[...] + 0.1 * unbiased)
        else:
            mean, var = self.mean[...], self.var[...]
        factor = jax.lax.rsqrt(var + 1e-5) * self.scale[...]
        y = (x - _last_axis(mean)) * _last_axis(factor) + _last_axis(self.bias[...])
        return extent.clear(y.astype(self.dtype))


def _last_axis(channels: jax.Array) -> jax.Array:
    return channels.reshape(1, 1, 1, -1)


class ConvBN(nnx.Module):
    """A convolution without bias, then batch normalisation, then ReLU unless told otherwise."""

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
        x = self.bn(self.conv(x), train=train, extent=extent)
        return nnx.relu(x) if self.relu else x


def max_pool(x: jax.Array) -> jax.Array:
    """Maximum over 3x3 windows at stride 2, one pixel of -inf around: [B, H, W, C] -> half size."""
    return nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))


def dropout_channels(x: jax.Array, key: jax.Array, rate: float = 0.5) -> jax.Array:
    """Drops whole channels of single examples and scales the others up (PyTorch's Dropout2d).

    Args:
        x: Features, [B, H, W, C].
        key: Random key; each of the B * C channels is kept or dropped by its own draw.
        rate: Probability that a channel is dropped.

    Returns:
        Array like `x`, its kept channels divided by 1 - rate.

    References:
        Tompson et al., "Efficient Object Localization Using Convolutional Networks", CVPR 2015.
    """
    keep = jax.random.bernoulli(key, 1 - rate, (x.shape[0], 1, 1, x.shape[3]))
    return jnp.where(keep, x / (1 - rate), jnp.zeros((), x.dtype))
