"""CorrMatch's head: how alike the pixels of a feature map are, and logits spread by that."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from rcc_jax.models.initialization import draw_uniform
from rcc_jax.models.layers import BatchNorm, Conv, dropout_channels, param_dtype
from rcc_jax.models.resize import resize_bilinear

CHANNELS = 256
DROPPED = 0.1
# Rows of the correlation that are in memory at a time.
BLOCK = 1024
# A size that every family takes, to ask a network for the shapes of its features.
_SIZE = (28, 28)


class Correlated(NamedTuple):
    """What the head makes of the features of a batch; N = h * w pixels.

    Attributes:
        logits: The spread logits, [B, h, w, K].
        sender, receiver: The two vectors of each pixel, [B, N, K], from which the correlation
            follows.
    """

    logits: jax.Array
    sender: jax.Array
    receiver: jax.Array


class CorrelationHead(nnx.Module):
    """From the deepest features to the correlation of their pixels.

    Its BatchNorm is trained even where that of the network is frozen, since it starts at random.

    Args:
        features: Channels of the input.
        num_classes: Number of classes K.
        dtype: Type of the computation.
        rngs: Source of the initial values.
    """

    def __init__(self, features: int, num_classes: int, *, dtype: Any, rngs: nnx.Rngs):
        self.project = Conv(features, CHANNELS, 3, bias=True, dtype=dtype)
        self.norm = BatchNorm(CHANNELS, frozen=False, dtype=dtype)
        wide = param_dtype(dtype)
        self.sender = Conv(CHANNELS, num_classes, 1, bias=True, dtype=wide)
        self.receiver = Conv(CHANNELS, num_classes, 1, bias=True, dtype=wide)
        draw_uniform([self.project, self.sender, self.receiver], rngs.params())

    def __call__(self, x: jax.Array, logits: jax.Array, key: jax.Array) -> Correlated:
        """Spreads logits in training mode.

        Args:
            x: Features, [B, h, w, C].
            logits: The network's logits, [B, H, W, K]; they get no gradient.
            key: Key for the dropped channels.
        """
        x = nnx.relu(self.norm(self.project(x), train=True))
        x = dropout_channels(x, key, DROPPED)
        sender, receiver = (_pixels(conv(x)) for conv in (self.sender, self.receiver))
        small = resize_bilinear(jax.lax.stop_gradient(logits), x.shape[1:3])
        spread_out = spread(_pixels(small), sender, receiver)
        return Correlated(spread_out.reshape(small.shape), sender, receiver)


class WithCorrelation(nnx.Module):
    """A network, as the member `main`, with a `CorrelationHead` on its deepest features."""

    def __init__(self, main: nnx.Module, rngs: nnx.Rngs):
        self.main: Any = main
        features, logits = jax.eval_shape(self._shapes)
        self.head = CorrelationHead(
            features.shape[-1], logits.shape[-1], dtype=features.dtype, rngs=rngs
        )

    def _shapes(self) -> tuple[jax.Array, jax.Array]:
        features = self.main.encode(jnp.zeros((1, *_SIZE, 3)), train=False)
        return deepest(features), self.main.decode(features, _SIZE, train=False)

    def __call__(self, images: jax.Array, **mode: Any) -> jax.Array:
        """Logits of the network."""
        return self.main(images, **mode)

    def encode(self, images: jax.Array, **mode: Any) -> Any:
        """Features of the network."""
        return self.main.encode(images, **mode)

    def decode(self, features: Any, size: tuple[int, int], **mode: Any) -> jax.Array:
        """Logits of features."""
        return self.main.decode(features, size, **mode)


def deepest(features: Any) -> jax.Array:
    """The last feature map of a network, [B, h, w, C]."""
    return jax.tree.leaves(features)[-1]


def attention(sender: jax.Array, receiver: jax.Array) -> jax.Array:
    """The correlation A: each row is a distribution over the receiving pixels.

    Args:
        sender: [B, R, K] vectors of some pixels.
        receiver: [B, N, K] vectors of all pixels.

    Returns:
        [B, R, N], at least float32.
    """
    scores = jnp.einsum("brk,bnk->brn", sender, receiver) / sender.shape[-1] ** 0.5
    return jax.nn.softmax(scores, axis=-1)


def spread(values: jax.Array, sender: jax.Array, receiver: jax.Array) -> jax.Array:
    """Every pixel i sends its values to the pixels j in the shares A[i, j].

    A is computed in blocks of rows, and again in the backward pass: at 801 pixels and output stride
    8 it has 10^8 entries for an image.

    Args:
        values: [B, N, K].
        sender: [B, N, K] vectors of the sending pixels.
        receiver: [B, N, K] vectors of the receiving ones.

    Returns:
        [B, N, K]: sum_i A[i, j] values[i].
    """
    block = min(BLOCK, values.shape[1])

    def in_blocks(x: jax.Array) -> jax.Array:
        # Rows of padding send zeros.
        padded = jnp.pad(x, ((0, 0), (0, -x.shape[1] % block), (0, 0)))
        return jnp.moveaxis(padded.reshape(x.shape[0], -1, block, x.shape[2]), 1, 0)

    @jax.checkpoint
    def add(total: jax.Array, part: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        sent, rows = part
        return total + jnp.einsum("brk,brn->bnk", sent, attention(rows, receiver)), None

    start = jnp.zeros(values.shape, jnp.result_type(values, sender))
    total, _ = jax.lax.scan(add, start, (in_blocks(values), in_blocks(sender)))
    return total


def _pixels(x: jax.Array) -> jax.Array:
    return x.reshape(x.shape[0], -1, x.shape[-1])
