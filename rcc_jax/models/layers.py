"""Convolution, batch normalisation and pooling with PyTorch's padding, momentum and defaults."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

# He et al. 2015, counted over the outgoing connections: the usual start of a ResNet.
HE_NORMAL_FAN_OUT = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")
# Uniform in +-1/sqrt(fan in), what a PyTorch convolution starts from when nothing else is said.
UNIFORM_FAN_IN = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def param_dtype(dtype: Any) -> Any:
    """Type in which parameters and statistics live: float32, or float64 where that is computed."""
    return jnp.promote_types(dtype, jnp.float32)


class Conv(nnx.Conv):
    """Square convolution with symmetric padding that keeps the size at stride 1.

    XLA's 'SAME' pads one more row at the bottom than at the top when stride 2 meets an even size,
    which shifts every feature against weights trained in PyTorch; hence the explicit padding.

    Args:
      in_features: channels of the input.
      out_features: channels of the output.
      kernel: side of the square kernel, odd.
      stride: step of the kernel in pixels.
      dilation: distance of neighbouring kernel taps in pixels.
      bias: adds a learned bias, which starts uniform in +-1/sqrt(fan in).
      init: initialiser of the kernel.
      dtype: type of the computation.
      rngs: source of the initial values.
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
        init: Any = UNIFORM_FAN_IN,
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        padding = dilation * (kernel // 2)
        super().__init__(
            in_features,
            out_features,
            (kernel, kernel),
            strides=stride,
            padding=((padding, padding), (padding, padding)),
            kernel_dilation=dilation,
            use_bias=bias,
            kernel_init=init,
            dtype=dtype,
            param_dtype=param_dtype(dtype),
            rngs=rngs,
        )
        if bias:
            bound = (in_features * kernel * kernel) ** -0.5
            shape, dtype = (out_features,), param_dtype(dtype)
            self.bias = nnx.Param(jax.random.uniform(rngs.params(), shape, dtype, -bound, bound))


class BatchNorm(nnx.BatchNorm):
    """Batch normalisation over batch and space, with everything inside in at least float32.

    The running statistics move by a tenth each step (PyTorch's momentum 0.1); the running variance
    is the biased one. Over a batch sharded across devices the statistics are those of all of it.

    Args:
      features: number of channels.
      frozen: uses the running statistics while training, too, and leaves them as they are.
      dtype: type of the result.
      rngs: source of the initial values.
    """

    def __init__(self, features: int, *, frozen: bool, dtype: Any, rngs: nnx.Rngs):
        inner = param_dtype(dtype)
        super().__init__(
            features,
            momentum=0.9,
            epsilon=1e-5,
            use_fast_variance=False,
            dtype=inner,
            param_dtype=inner,
            rngs=rngs,
        )
        # Flax keeps float32 statistics for a float64 layer, so their type would change on update.
        self.mean = nnx.BatchStat(jnp.zeros((features,), inner))
        self.var = nnx.BatchStat(jnp.ones((features,), inner))
        self.frozen = frozen
        self.result_dtype = dtype

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Normalises `x` [..., C]; in training (unless frozen) by its own statistics."""
        running = self.frozen or not train
        return super().__call__(x, use_running_average=running).astype(self.result_dtype)


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
        init: Any = UNIFORM_FAN_IN,
        frozen: bool,
        dtype: Any,
        rngs: nnx.Rngs,
    ):
        self.relu = relu
        self.conv = Conv(
            in_features,
            out_features,
            kernel,
            stride=stride,
            dilation=dilation,
            init=init,
            dtype=dtype,
            rngs=rngs,
        )
        self.bn = BatchNorm(out_features, frozen=frozen, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = self.bn(self.conv(x), train=train)
        return nnx.relu(x) if self.relu else x


def max_pool(x: jax.Array) -> jax.Array:
    """Maximum over 3x3 windows at stride 2, one pixel of -inf around: [B, H, W, C] -> half size."""
    return nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))


def dropout_channels(x: jax.Array, key: jax.Array, rate: float = 0.5) -> jax.Array:
    """Drops whole channels of single examples and scales the others up (PyTorch's Dropout2d).

    Args:
      x: features, [B, H, W, C].
      key: random key; each of the B * C channels is kept or dropped by its own draw.
      rate: probability that a channel is dropped.

    Returns:
      Array like `x`, its kept channels divided by 1 - rate.

    References:
      Tompson et al., "Efficient Object Localization Using Convolutional Networks", CVPR 2015.
    """
    keep = jax.random.bernoulli(key, 1 - rate, (x.shape[0], 1, 1, x.shape[3]))
    return jnp.where(keep, x / (1 - rate), jnp.zeros((), x.dtype))
