"""3x3 convolutions with a quarter of the multiplications, for CPUs.

Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray, CVPR 2016, section 4) computes a tile of
4 x 4 outputs from 6 x 6 inputs with 36 products for each pair of channels instead of 144:

    Y = A^T [(G g G^T) * (B^T d B)] A

with kernel g and inputs d. The three transforms act on the two axes of a tile, and the products of
all tiles at one of the 36 places are one matrix product over the channels. The kernel's gradient is
computed from the same transformed inputs (the transposed algorithm), and the gradient of the
features is itself such a convolution, with the kernel turned by 180 degrees.

The matrices follow from the points at which polynomials are evaluated. The usual points 0, 1, -1,
2, -2 lose two digits in float32; 0, 3/4, -3/4, 3/2, -3/2 lose one (3e-6 of the largest output with
304 channels, against 16e-6).
"""

import jax
import jax.numpy as jnp
import numpy as np

# Outputs and inputs of a tile along each axis.
_OUT, _IN = 4, 6
_POINTS = (0, 3 / 4, -3 / 4, 3 / 2, -3 / 2)
# Transformed inputs of one product; larger ones leave the cache.
_BYTES = 12 << 20


def _matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A^T, G and B^T of F(4, 3), each for both axes of a tile at once.

    A^T and G evaluate polynomials at the points and at infinity. B^T is the solution of the
    equations that make the algorithm exact: output i of the unit kernel j is input i + j.
    """
    points = np.array(_POINTS)
    others = points[:, None] - points + np.eye(len(points))
    outputs = np.vander(points, _OUT, increasing=True)
    kernels = np.vander(points, 3, increasing=True) / others.prod(1, keepdims=True)
    outputs = np.concatenate([outputs, np.eye(_OUT)[-1:]]).T
    kernels = np.concatenate([kernels, np.eye(3)[-1:]])
    products = np.einsum("ik,kj->ijk", outputs, kernels).reshape(-1, _IN)
    wanted = np.eye(_IN)[np.add.outer(np.arange(_OUT), np.arange(3)).reshape(-1)]
    inputs = np.linalg.lstsq(products, wanted)[0]
    inputs[abs(inputs) < 1e-12] = 0
    return np.kron(outputs, outputs), np.kron(kernels, kernels), np.kron(inputs, inputs)


_OUTPUTS, _KERNELS, _INPUTS = _matrices()


@jax.custom_vjp
def winograd(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """3x3 convolution at stride 1 that keeps the size.

    Args:
        x: Features [B, H, W, in], float32, float64 or bfloat16. bfloat16 is too coarse for
            transformed tiles, which are computed in float32.
        kernel: [3, 3, in, out] of the same type.

    Returns:
        Features [B, H, W, out], equal to those of a plain convolution up to rounding.
    """
    transformed = _apply(_KERNELS, _widened(kernel).reshape(9, *kernel.shape[2:]))

    def convolve(images):
        return _joined(_input_tiles(images) @ transformed, images.shape).astype(x.dtype)

    groups = _groups(x, max(kernel.shape[2:]))
    return jax.lax.map(convolve, groups).reshape(*x.shape[:3], -1)


def _forward(x, kernel):
    return winograd(x, kernel), (x, kernel)


def _backward(kept, dy):
    x, kernel = kept
    dx = winograd(dy, jnp.swapaxes(kernel[::-1, ::-1], 2, 3))

    def add(gradient, group):
        images, dy = group
        products = jnp.swapaxes(_input_tiles(images), 1, 2) @ _output_tiles(dy)
        return gradient + products, None

    start = _widened(jnp.zeros((_IN * _IN, *kernel.shape[2:]), kernel.dtype))
    groups = tuple(_groups(each, max(kernel.shape[2:])) for each in (x, dy))
    gradient, _ = jax.lax.scan(add, start, groups)
    return dx, _apply(_KERNELS.T, gradient).reshape(kernel.shape).astype(kernel.dtype)


winograd.defvjp(_forward, _backward)


def _groups(x: jax.Array, channels: int) -> jax.Array:
    """[B, H, W, C] as [groups, B / groups, H, W, C], so that one group fits the cache."""
    down, across = _tiles(x.shape)
    itemsize = jnp.promote_types(x.dtype, jnp.float32).itemsize
    image = _IN * _IN * down * across * channels * itemsize
    fitting = [n for n in range(1, len(x) + 1) if len(x) % n == 0 and n * image <= _BYTES]
    size = max(fitting, default=1)
    return x.reshape(-1, size, *x.shape[1:])


def _widened(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _tiles(shape: tuple[int, ...]) -> tuple[int, int]:
    """Number of tiles down and across an image."""
    return -(-shape[1] // _OUT), -(-shape[2] // _OUT)


def _apply(matrix: np.ndarray, places: jax.Array) -> jax.Array:
    """[P, M, C] to [Q, M, C] by a matrix [Q, P]."""
    found = jnp.asarray(matrix, places.dtype) @ places.reshape(len(places), -1)
    return found.reshape(-1, *places.shape[1:])


def _input_tiles(x: jax.Array) -> jax.Array:
    """Transformed 6 x 6 inputs of each tile: [B, H, W, C] to [36, tiles of all images, C]."""
    _, height, width, channels = x.shape
    down, across = _tiles(x.shape)
    below, right = down * _OUT + 1 - height, across * _OUT + 1 - width
    x = jnp.pad(_widened(x), ((0, 0), (1, below), (1, right), (0, 0)))
    rows = jnp.stack([x[:, i::_OUT][:, :down] for i in range(_IN)])
    places = jnp.stack([rows[:, :, :, j::_OUT][:, :, :, :across] for j in range(_IN)], 1)
    return _apply(_INPUTS, places.reshape(_IN * _IN, -1, channels))


def _output_tiles(dy: jax.Array) -> jax.Array:
    """Transformed gradients of the 4 x 4 outputs of each tile, arranged as `_input_tiles`."""
    images, height, width, channels = dy.shape
    down, across = _tiles(dy.shape)
    below, right = down * _OUT - height, across * _OUT - width
    tiles = jnp.pad(_widened(dy), ((0, 0), (0, below), (0, right), (0, 0)))
    tiles = tiles.reshape(images, down, _OUT, across, _OUT, channels).transpose(2, 4, 0, 1, 3, 5)
    return _apply(_OUTPUTS.T, tiles.reshape(_OUT * _OUT, -1, channels))


def _joined(products: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Outputs [B, H, W, C] of the products [36, tiles of all images, C]."""
    down, across = _tiles(shape)
    tiles = _apply(_OUTPUTS, products).reshape(_OUT, _OUT, shape[0], down, across, -1)
    joined = tiles.transpose(2, 3, 0, 4, 1, 5).reshape(shape[0], down * _OUT, across * _OUT, -1)
    return joined[:, : shape[1], : shape[2]]
