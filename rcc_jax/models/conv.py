"""The network's convolution, in the form that is fastest on the platform."""

import functools
import math
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rcc_jax.models.products import product
from rcc_jax.models.winograd import winograd

# For kernels with fewer weights per tap XLA's own convolution is as fast.
_MIN_WEIGHTS = 32 * 64
# Above this share of taps that see pixels XLA is faster than one product per tap.
_MAX_SHARE = 0.7


def convolve(x: jax.Array, kernel: jax.Array, *, stride: int = 1, dilation: int = 1) -> jax.Array:
    """Square convolution with symmetric padding that keeps the size at stride 1.

    The padding is explicit because XLA's 'SAME' pads one more row at the bottom than at the top at
    stride 2 and an even size, which would shift every feature against weights trained in PyTorch.

    On a CPU three kinds of convolution become matrix products, with the same result up to rounding:
    1x1 convolutions, which XLA computes slowly; 3x3 convolutions of many channels, where three
    quarters of the multiplications can be saved; and convolutions whose dilation is large for the
    map, where most of the input is padding, which XLA multiplies too.
    benchmarks/conv_forms.py and conv_layers.py measure the gain.

    Args:
        x: Features, [B, H, W, in].
        kernel: [k, k, in, out] of the type of `x`, k odd.
        stride: Step of the kernel in pixels.
        dilation: Distance between neighbouring kernel taps in pixels.

    Returns:
        Features [B, ceil(H / stride), ceil(W / stride), out].

    >>> convolve(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1)))[0, :, :, 0].tolist()
    [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
    """
    # With symbolic sizes (jax.export) it is unknown which taps lie outside the image.
    if jax.default_backend() != "cpu" or not all(isinstance(size, int) for size in x.shape):
        return xla_convolution(stride, dilation, x, kernel)
    # bfloat16 is too coarse for sums over taps.
    coarse = x.dtype == jnp.bfloat16
    wide = kernel.shape[2] * kernel.shape[3] >= _MIN_WEIGHTS
    sparse = dilation > 1 and _share_of_taps(stride, dilation, len(kernel), x.shape) < _MAX_SHARE
    if len(kernel) == 1 or (sparse and not coarse):
        return _products(stride, dilation, x, kernel)
    if len(kernel) == 3 and stride == dilation == 1 and wide:
        return winograd(x, kernel)
    return xla_convolution(stride, dilation, x, kernel)


def xla_convolution(stride: int, dilation: int, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`convolve` as a single XLA operation, on any platform."""
    padding = dilation * (len(kernel) // 2)
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((padding, padding), (padding, padding)),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _products(stride: int, dilation: int, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The convolution as one product per tap, with the pixels that the tap sees."""
    parts = []
    for i, j, rows, columns in _taps(stride, dilation, len(kernel), x.shape):
        part = product(x[:, rows.pixels, columns.pixels], kernel[i, j])
        parts.append(jnp.pad(part, ((0, 0), rows.around, columns.around, (0, 0))))
    return functools.reduce(jnp.add, parts)


class _Span(NamedTuple):
    """The pixels that a tap sees along one axis, and the number of outputs around that see none."""

    pixels: slice
    around: tuple[int, int]


def _taps(
    stride: int, dilation: int, size: int, shape: tuple[int, ...]
) -> Iterator[tuple[int, int, _Span, _Span]]:
    """Row, column and spans of every tap that sees pixels, not only padding."""
    rows, columns = (
        [_span(extent, stride, dilation * (tap - size // 2)) for tap in range(size)]
        for extent in shape[1:3]
    )
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            if row and column:
                yield i, j, row, column


def _share_of_taps(stride: int, dilation: int, size: int, shape: tuple[int, ...]) -> float:
    """Share of the products of taps and outputs in which the tap sees a pixel."""
    seen = [
        math.prod(
            -(-extent // stride) - sum(span.around)
            for extent, span in zip(shape[1:3], (rows, columns), strict=True)
        )
        for _, _, rows, columns in _taps(stride, dilation, size, shape)
    ]
    outputs = math.prod(-(-extent // stride) for extent in shape[1:3])
    return sum(seen) / (size * size * outputs)


def _span(extent: int, stride: int, offset: int) -> _Span | None:
    """Span of a tap that sees pixel o * stride + offset at output o; None if it sees no pixel."""
    count = -(-extent // stride)
    first = max(0, -(offset // stride))
    last = min(count - 1, (extent - 1 - offset) // stride)
    if last < first:
        return None
    pixels = slice(first * stride + offset, last * stride + offset + 1, stride)
    return _Span(pixels, (first, count - 1 - last))
