"""A network as pure functions of its weights, and what happens to images before it."""

from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rcc_jax.models.parts import inside_encoder, joined, outside_encoder
from rcc_jax.models.resize import resize_bilinear, resize_each

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406])
IMAGENET_STD = np.array([0.229, 0.224, 0.225])


@flax.struct.dataclass
class Weights:
    """Parameters and BatchNorm running statistics of one network, as plain nested dicts."""

    params: dict[str, Any]
    stats: dict[str, Any]

    @classmethod
    def of(cls, module: nnx.Module) -> "Weights":
        """The weights of a module; raises ValueError if it hides any other state."""
        _, params, stats = nnx.split(module, nnx.Param, nnx.BatchStat)  # type: ignore[misc]
        return cls(nnx.to_pure_dict(params), nnx.to_pure_dict(stats))

    def member(self, name: str) -> "Weights":
        """The weights of a member of the module."""
        return Weights(self.params[name], self.stats.get(name, {}))

    def as_member(self, name: str) -> "Weights":
        """The weights under the name of a member, to complete those of the module with."""
        return Weights({name: self.params}, {name: self.stats} if self.stats else {})

    @property
    def main(self) -> "Weights":
        """The weights of the network that predicts."""
        return self.member("main") if "main" in self.params else self

    def outside_encoder(self) -> "Weights":
        """The weights without those of the encoder."""
        return Weights(outside_encoder(self.params), outside_encoder(self.stats))

    def inside_encoder(self) -> "Weights":
        """The weights of the encoder alone."""
        return Weights(inside_encoder(self.params), inside_encoder(self.stats))

    def completed(self, whole: "Weights") -> "Weights":
        """The weights, with those of another network where these have none."""
        return Weights(joined(self.params, whole.params), joined(self.stats, whole.stats))


def member_of(module: nnx.Module, name: str = "main") -> Any:
    """A network of the module that is trained.

    Args:
        module: A network, or a module that a method has made of networks and heads.
        name: 'main' for the network that predicts, or another member.
    """
    return getattr(module, name, module) if name == "main" else getattr(module, name)


def normalize(images: jax.Array, dtype: Any = jnp.float32) -> jax.Array:
    """Images to zero mean and unit variance by ImageNet's statistics.

    Args:
        images: uint8 RGB [..., 3].
        dtype: Type of the result; the arithmetic is at least float32.

    >>> [f"{value:.2f}" for value in normalize(jnp.array([0, 255, 255], jnp.uint8))]
    ['-2.12', '2.43', '2.64']
    """
    wide = jnp.promote_types(dtype, jnp.float32)
    scale = jnp.asarray(1 / (255 * IMAGENET_STD), wide)
    offset = jnp.asarray(IMAGENET_MEAN / IMAGENET_STD, wide)
    shape = (1,) * (images.ndim - 1) + (3,)
    return (images.astype(wide) * scale.reshape(shape) - offset.reshape(shape)).astype(dtype)


class Student:
    """A network in training mode. Its BatchNorm statistics move with every call, in that order."""

    def __init__(self, module: Any, dtype: Any):
        self.module = module
        self._dtype = dtype

    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits [B, H, W, K] of uint8 images [B, H, W, 3]."""
        return self.module(normalize(images, self._dtype), train=True)

    def member(self, name: str) -> "Student":
        """A member of the module, whose statistics are those of the whole."""
        return Student(member_of(self.module, name), self._dtype)

    def encode(self, images: jax.Array) -> Any:
        """Features of uint8 images [B, H, W, 3]: a pytree of arrays [B, ..., C]."""
        return self.module.encode(normalize(images, self._dtype), train=True)

    def decode(self, features: Any, size: tuple[int, int]) -> jax.Array:
        """Logits [B, H, W, K] of features, at a size (H, W) in pixels."""
        return self.module.decode(features, size, train=True)

    def stats(self) -> dict[str, Any]:
        """The statistics as the calls have left them."""
        return nnx.to_pure_dict(nnx.state(self.module, nnx.BatchStat))


class Network:
    """A split NNX network as pure functions of its weights and uint8 images [B, H, W, 3].

    Args:
        graphdef: The network without its weights.
        dtype: Type of the computation.
        freeze_encoder: Whether the weights of the encoder are not trained.
        multiple: Height and width of the network's images are multiples of this.
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        dtype: Any = jnp.float32,
        *,
        freeze_encoder: bool = False,
        multiple: int = 1,
    ):
        self.graphdef = graphdef
        self.dtype = dtype
        self.freeze_encoder = freeze_encoder
        self.multiple = multiple

    def trained(self, weights: Weights) -> Weights:
        """The weights that training moves: all, or those outside a frozen encoder."""
        return weights.outside_encoder() if self.freeze_encoder else weights

    def module(self, weights: Weights) -> nnx.Module:
        """The network with these weights."""
        return nnx.merge(self.graphdef, weights.params, weights.stats)

    def student(self, weights: Weights) -> Student:
        """The network in training mode."""
        return Student(self.module(weights), self.dtype)

    def read(
        self, weights: Weights, images: jax.Array, function: Callable[[Any, jax.Array], Any]
    ) -> Any:
        """A function of the network and of its normalised images; these are not resized."""
        return function(self.module(weights), normalize(images, self.dtype))

    def predict(
        self,
        weights: Weights,
        images: jax.Array,
        sizes: jax.Array | None = None,
        *,
        member: str = "main",
    ) -> jax.Array:
        """Logits [B, H, W, K] in evaluation mode, of the member `main` if there are several.

        If the network needs multiples of a number, images of other sizes are resized to the nearest
        multiples after their normalisation, and the logits back, as in UniMatch V2. It never sees
        padding, so the images of a padded batch must all be resized to one size.

        Args:
            weights: Weights of the network.
            images: uint8 [B, H, W, 3].
            sizes: Height and width of each image in a padded batch, int [B, 2]; may be traced. The
                nearest multiples must be those of (H, W), unless nobody reads the row.
            member: Another network of the module; sizes must be those that it takes.
        """
        module, size = member_of(self.module(weights), member), images.shape[1:3]
        if self.multiple == 1:
            # A network that takes no `sizes` works too, as long as nothing is padded.
            padding = {} if sizes is None else {"sizes": sizes}
            return module(normalize(images, self.dtype), train=False, **padding)
        seen = tuple(nearest_multiple(length, self.multiple) for length in size)
        if sizes is None and seen == size:
            return module(normalize(images, self.dtype), train=False)
        # At least float32 until the image has its final size.
        whole = normalize(images, jnp.promote_types(self.dtype, jnp.float32))
        if sizes is None:
            resized = resize_bilinear(whole, seen).astype(self.dtype)
            return resize_bilinear(module(resized, train=False), size)
        all_seen = jnp.broadcast_to(jnp.array(seen, jnp.int32), sizes.shape)
        resized = resize_each(whole, sizes, all_seen, seen).astype(self.dtype)
        return resize_each(module(resized, train=False), all_seen, sizes, size)


def nearest_multiple(length: Any, multiple: int) -> Any:
    """The multiple that is nearest to a length; the larger of two, and never 0.

    Args:
        length: A whole number, or a symbolic dimension of `jax.export`.
        multiple: At least 1.

    >>> [nearest_multiple(length, 14) for length in (375, 500, 518, 3)]
    [378, 504, 518, 14]
    """
    if multiple == 1:
        return length
    # The larger count and not the larger product, which is known to be a multiple.
    count = (length + multiple // 2) // multiple
    return multiple * (max(count, 1) if isinstance(length, int) else jax.core.max_dim(count, 1))
