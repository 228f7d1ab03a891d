"""The layers of a vision transformer: linear maps, layer normalisation, attention, blocks."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from rcc_jax.models.layers import param_dtype
from rcc_jax.models.products import add_bias, product, product_with_transposed


class Linear(nnx.Module):
    """A matrix and a bias; both are zero until they are drawn or loaded.

    Args:
        in_features: Channels of the input.
        out_features: Channels of the output.
        dtype: Type of the computation and of the result.
    """

    def __init__(self, in_features: int, out_features: int, *, dtype: Any):
        inner = param_dtype(dtype)
        self.kernel = nnx.Param(jnp.zeros((in_features, out_features), inner))
        self.bias = nnx.Param(jnp.zeros((out_features,), inner))
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [..., in] to [..., out]."""
        y = product(x.astype(self.dtype), self.kernel[...].astype(self.dtype))
        return add_bias(y, self.bias[...].astype(self.dtype))


class LayerNorm(nnx.Module):
    """Layer normalisation of the last axis, computed in at least float32.

    Args:
        features: Number of channels.
        epsilon: Added to the variance.
        dtype: Type of the result.

    References:
        Ba et al., "Layer Normalization", 2016.
    """

    def __init__(self, features: int, *, epsilon: float = 1e-6, dtype: Any):
        inner = param_dtype(dtype)
        self.scale = nnx.Param(jnp.ones((features,), inner))
        self.bias = nnx.Param(jnp.zeros((features,), inner))
        self.epsilon = epsilon
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises [..., C]."""
        x = x.astype(self.scale.dtype)
        x = x - jnp.mean(x, axis=-1, keepdims=True)
        x = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + self.epsilon)
        scale, bias = (_last_axis(each[...], x.ndim) for each in (self.scale, self.bias))
        return (x * scale + bias).astype(self.dtype)


class Attention(nnx.Module):
    """Multi-head self-attention; queries, keys and values come from one matrix, in this order.

    Args:
        features: Channels D of the tokens.
        heads: Number of heads, a divisor of D.
        dtype: Type of the computation.

    References:
        Vaswani et al., "Attention Is All You Need", NeurIPS 2017.
    """

    def __init__(self, features: int, heads: int, *, dtype: Any):
        self.qkv = Linear(features, 3 * features, dtype=dtype)
        self.proj = Linear(features, features, dtype=dtype)
        self.heads = heads

    def __call__(self, x: jax.Array) -> jax.Array:
        """Tokens [B, N, D] to [B, N, D]."""
        batch, tokens, features = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, features // self.heads)
        query, key, value = _parts(qkv)
        return self.proj(attend(query, key, value).reshape(x.shape))


@jax.custom_vjp
def _parts(qkv: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries, keys and values from [B, N, 3, heads, D / heads]."""
    return qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]


# JAX would add up three arrays that are padded to the size of all.
_parts.defvjp(lambda qkv: (_parts(qkv), None), lambda _, gradients: (jnp.stack(gradients, axis=2),))


def attend(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """Attention over arrays [B, N, heads, D / heads], with flash attention where a GPU has it."""
    if query.dtype == jnp.float64 or jax.default_backend() == "cpu":
        return _attend_by_products(query, key, value)
    plain = functools.partial(jax.nn.dot_product_attention, implementation="xla")
    if not _has_flash(query):
        return plain(query, key, value)
    flash = functools.partial(jax.nn.dot_product_attention, implementation="cudnn")
    # The program may be exported for other platforms, too.
    return jax.lax.platform_dependent(query, key, value, cuda=flash, default=plain)


def _attend_by_products(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """Attention whose softmax is computed in at least float32, and in float64 for float64."""
    query, key, value = (jnp.swapaxes(each, 1, 2) for each in (query, key, value))
    logits = product_with_transposed(query * query.shape[-1] ** -0.5, key)
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    weights = jnp.exp(logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True)))
    # The division of a softmax comes after the product, whose result is smaller than the weights.
    found = product(weights.astype(value.dtype), value)
    found = found.astype(weights.dtype) / jnp.sum(weights, axis=-1, keepdims=True)
    return jnp.swapaxes(found.astype(value.dtype), 1, 2)


def _has_flash(query: jax.Array) -> bool:
    """Whether cuDNN's flash attention takes this array; it cannot be traced without a GPU."""
    if query.dtype != jnp.bfloat16 or query.shape[-1] % 8 or query.shape[-1] > 128:
        return False
    if not all(isinstance(size, int) for size in query.shape):
        return False
    if jax.default_backend() != "gpu":
        return False
    capability = getattr(jax.local_devices(backend="gpu")[0], "compute_capability", "")
    # AMD's devices call it otherwise.
    return capability.replace(".", "").isdigit() and float(capability) >= 8


class MLP(nnx.Module):
    """Two linear maps with the exact GELU between, four times as wide as the tokens."""

    def __init__(self, features: int, *, dtype: Any):
        self.fc1 = Linear(features, 4 * features, dtype=dtype)
        self.fc2 = Linear(4 * features, features, dtype=dtype)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Tokens [B, N, D] to [B, N, D]."""
        x = self.fc1(x)
        # In float32, since a CPU rounds after every operation in bfloat16, which takes time.
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return self.fc2(gelu(wide).astype(x.dtype))


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """The exact GELU, x times the share of the normal distribution below x.

    As PyTorch computes it. JAX's own takes both branches of `erfc` for every number, which costs
    several times as much.

    References:
        Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.
    """
    return x * _normal_share(x)


def _gelu_gradient(x: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    density = jnp.exp(-0.5 * jnp.square(x)) / math.sqrt(2 * math.pi)
    return (gradient * (_normal_share(x) + x * density),)


gelu.defvjp(lambda x: (gelu(x), x), _gelu_gradient)


def _normal_share(x: jax.Array) -> jax.Array:
    return 0.5 * (1 + jax.lax.erf(x * math.sqrt(0.5)))


class Block(nnx.Module):
    """Attention and MLP, each after a LayerNorm, scaled by channel and added to its input.

    Args:
        features: Channels of the tokens.
        heads: Number of heads.
        dtype: Type of the matrix products; the sum of the blocks is kept in at least float32.

    References:
        Touvron et al., "Going deeper with Image Transformers", ICCV 2021 (LayerScale).
    """

    def __init__(self, features: int, heads: int, *, dtype: Any):
        inner = param_dtype(dtype)
        self.norm1 = LayerNorm(features, dtype=dtype)
        self.attn = Attention(features, heads, dtype=dtype)
        self.ls1 = nnx.Param(jnp.ones((features,), inner))
        self.norm2 = LayerNorm(features, dtype=dtype)
        self.mlp = MLP(features, dtype=dtype)
        self.ls2 = nnx.Param(jnp.ones((features,), inner))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Tokens [B, N, D] to [B, N, D]."""
        x = x + self.attn(self.norm1(x)).astype(x.dtype) * _last_axis(self.ls1[...], 3)
        return x + self.mlp(self.norm2(x)).astype(x.dtype) * _last_axis(self.ls2[...], 3)


def apply(block: Block, x: jax.Array, *, remat: bool) -> jax.Array:
    """Runs a block as a function that JAX traces once for all blocks.

    With `remat` only the input is kept for the backward pass.
    """
    graphdef, params = nnx.split(block)
    return _pure(graphdef, remat, params, x)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _pure(graphdef, remat, params, x):
    def run(params, x):
        return nnx.merge(graphdef, params)(x)

    return (jax.checkpoint(run) if remat else run)(params, x)


def _last_axis(channels: jax.Array, ndim: int) -> jax.Array:
    return channels.reshape((1,) * (ndim - 1) + (-1,))
