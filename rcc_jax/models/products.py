"""Matrix products that are fast on CPUs, too, with their gradients.

In bfloat16: XLA widens products of bfloat16 matrices on a CPU to float32, unless their result is
asked for in float32 and the contracted axes lie where its library wants them. Then a CPU with
matrix units (AMX) computes them up to seven times faster than in float32. JAX's own gradients of
such a product mix both types and lose that, so the gradients are written here.

In float32: the gradient of a matrix contracts the rows of both arrays. XLA transposes one of them
inside the loop that makes it, which then reads memory in strides, and has no fast product for what
is left. Here the transposed array is made first, as an array of its own.
"""

import jax
import jax.numpy as jnp

# With fewer numbers a gradient takes no time, and its own form takes time to compile.
_LARGE = 2**16


def product(left: jax.Array, right: jax.Array) -> jax.Array:
    """The product of matrices [..., M, K] and [..., K, N], or [K, N] for all.

    Args:
        left: [..., M, K].
        right: [..., K, N] of the same type, or one matrix [K, N].

    Returns:
        [..., M, N] of the type of `left`, accumulated in at least float32.
    """
    narrow = left.dtype == jnp.bfloat16
    if right.ndim > 2:
        return _product(left, right) if narrow else left @ right
    if not narrow and not _is_large_on_cpu(left):
        return left @ right
    rows = left.reshape(-1, left.shape[-1])
    found = _product(rows, right) if narrow else _product_of_rows(rows, right)
    return found.reshape(*left.shape[:-1], right.shape[-1])


def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """Adds [N] to [..., N]; the gradient of the bias is accumulated in at least float32."""
    if x.dtype == jnp.bfloat16 or _is_large_on_cpu(x):
        return _add_bias(x, bias)
    return x + bias.reshape(_last(x.ndim))


def product_with_transposed(left: jax.Array, right: jax.Array) -> jax.Array:
    """The product of [..., M, K] and the transposed [..., N, K]: [..., M, N], as `product`."""
    if left.dtype != jnp.bfloat16:
        return left @ jnp.swapaxes(right, -1, -2)
    return _product_with_transposed(left, right)


@jax.custom_vjp
def _product(left, right):
    return _contract(left, right, -1, -2)


@jax.custom_vjp
def _product_of_rows(left, right):
    return left @ right


def _backward_of_rows(kept, gradient):
    left, right = kept
    return gradient @ right.T, _transposed(left) @ gradient


@jax.custom_vjp
def _product_with_transposed(left, right):
    return _contract(left, right, -1, -1)


def _backward(kept, gradient):
    left, right = kept
    return _contract(gradient, right, -1, -1), transposed_product(left, gradient)


def _backward_with_transposed(kept, gradient):
    left, right = kept
    return _contract(gradient, right, -1, -2), transposed_product(gradient, left)


@jax.custom_vjp
def _add_bias(x, bias):
    return x + bias.reshape(_last(x.ndim))


def _backward_of_bias(_, gradient):
    rows = gradient.reshape(-1, gradient.shape[-1])
    # As a product, since a CPU is slow at sums over rows.
    return gradient, product(jnp.ones((1, len(rows)), rows.dtype), rows)[0]


def _last(ndim: int) -> tuple[int, ...]:
    return (1,) * (ndim - 1) + (-1,)


_add_bias.defvjp(lambda x, bias: (_add_bias(x, bias), None), _backward_of_bias)
_product_of_rows.defvjp(
    lambda left, right: (_product_of_rows(left, right), (left, right)), _backward_of_rows
)
_product.defvjp(lambda left, right: (_product(left, right), (left, right)), _backward)
_product_with_transposed.defvjp(
    lambda left, right: (_product_with_transposed(left, right), (left, right)),
    _backward_with_transposed,
)


def transposed_product(left: jax.Array, right: jax.Array) -> jax.Array:
    """The product of the transposed [..., M, K] and [..., M, N]: [..., K, N], as `product`."""
    if left.dtype != jnp.bfloat16:
        return jnp.swapaxes(left, -1, -2) @ right
    # Whichever needs fewer numbers to be moved.
    if left.shape[-1] < right.shape[-1]:
        return _contract(_transposed(left), right, -1, -2)
    return _transposed(_contract(_transposed(right), left, -1, -2))


def _contract(left: jax.Array, right: jax.Array, left_axis: int, right_axis: int) -> jax.Array:
    batch = tuple(range(left.ndim - 2))
    contracted = ((left.ndim + left_axis,), (right.ndim + right_axis,))
    found = jax.lax.dot_general(
        left, right, (contracted, (batch, batch)), preferred_element_type=jnp.float32
    )
    return found.astype(left.dtype)


def _transposed(x: jax.Array) -> jax.Array:
    """The matrices [..., M, N] as [..., N, M], on a CPU in an array of its own.

    XLA would otherwise leave a matrix where it is and contract its first axis, for which its fast
    library has no product, or turn a gradient each time that the optimizer reads it; so there is a
    barrier. XLA would still fuse the transposition with the operation that makes `x` and read in
    strides; a loop over two halves prevents that too. In bfloat16 the loop saves no time.
    """
    turned = jnp.swapaxes(x, -1, -2)
    if jax.default_backend() != "cpu":
        return turned
    loops = x.dtype != jnp.bfloat16 and x.ndim == 2 and _is_large_on_cpu(x)
    if not loops or x.shape[1] % 2:
        return jax.lax.optimization_barrier(turned.reshape(-1)).reshape(turned.shape)
    width = x.shape[1] // 2

    def half(number):
        return jax.lax.dynamic_slice_in_dim(x, number * width, width, axis=1).T

    return jax.lax.map(half, jnp.arange(2)).reshape(turned.shape)


def _is_large_on_cpu(x: jax.Array) -> bool:
    if jax.default_backend() != "cpu" or not all(isinstance(size, int) for size in x.shape):
        return False
    return x.size >= _LARGE
