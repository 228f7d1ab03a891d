"""Initial kernels, all from one draw: compiling one draw per kernel takes ten times as long."""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
from flax import nnx

from rcc_jax.models.layers import Conv


def draw_he_normal(modules: Iterable[nnx.Module], key: jax.Array) -> None:
    """Draws the kernels of all convolutions in place, normal with variance 2 / fan out.

    Args:
        modules: Modules that contain the convolutions.
        key: Random key.

    References:
        He et al., "Delving Deep into Rectifiers", ICCV 2015, equation 14.
    """
    _draw(modules, key, jax.random.normal, lambda conv: math.sqrt(2 / _fan(conv, 3)))


def draw_uniform(modules: Iterable[nnx.Module], key: jax.Array) -> None:
    """Draws kernels and biases in place, uniform in +-1/sqrt(fan in), PyTorch's default."""
    sample = functools.partial(jax.random.uniform, minval=-1, maxval=1)
    _draw(modules, key, sample, lambda conv: 1 / math.sqrt(_fan(conv, 2)))


def _fan(conv: Conv, axis: int) -> int:
    height, width, *_ = conv.kernel.shape
    return height * width * conv.kernel.shape[axis]


def _draw(
    modules: Iterable[nnx.Module],
    key: jax.Array,
    sample: Callable[..., jax.Array],
    scale: Callable[[Conv], float],
) -> None:
    convs = [
        node for module in modules for _, node in nnx.iter_graph(module) if isinstance(node, Conv)
    ]
    fill([(v, scale(c)) for c in convs for v in (c.kernel, c.bias) if v is not None], key, sample)


def fill(
    variables: Sequence[tuple[nnx.Variable, float]],
    key: jax.Array,
    sample: Callable[..., jax.Array],
) -> None:
    """Draws the values of variables in place, from one draw.

    Args:
        variables: Variables of one type, each with the factor on its values.
        key: Random key.
        sample: From a key, a shape and a type to values.
    """
    count = sum(math.prod(variable.shape) for variable, _ in variables)
    values = sample(key, (count,), variables[0][0].dtype)
    start = 0
    for variable, factor in variables:
        variable.set_value(_cut(values, start, factor, variable.shape))
        start += math.prod(variable.shape)


@functools.partial(jax.jit, static_argnums=3)
def _cut(values: jax.Array, start: Any, factor: Any, shape: tuple[int, ...]) -> jax.Array:
    part = jax.lax.dynamic_slice_in_dim(values, start, math.prod(shape))
    return part.reshape(shape) * factor
