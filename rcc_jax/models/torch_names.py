"""Names and layouts of weights in PyTorch's files and in ours; each family has its own names."""

import numpy as np
from flax import nnx

from rcc_jax.models import families

# Prefix of the encoder's names in a whole network.
ENCODER = f"{families.ENCODER}."


def named_variables(model: nnx.Module) -> dict[str, nnx.Variable]:
    """All parameters and statistics of a network by PyTorch's names, the encoder's first.

    Args:
        model: The network; an abstract one (`nnx.eval_shape`) suffices.

    Returns:
        The network's variables by name; assigning to one changes the network.
    """
    return families.of_model(model).torch_names.named_variables(model)


def torch_shape(variable: nnx.Variable) -> tuple[int, ...]:
    """Shape of a variable in PyTorch; see `to_torch_layout`."""
    return tuple(variable.shape[axis] for axis in _AXES.get(variable.ndim, range(variable.ndim)))


def to_torch_layout(value: np.ndarray) -> np.ndarray:
    """An array of ours as PyTorch has it.

    Kernels of convolutions are [height, width, in, out] here and [out, in, height, width] there,
    those of transposed ones [height, width, out, in] and [in, out, height, width]; matrices are
    [in, out] and [out, in]. Other arrays are the same.
    """
    return (
        np.ascontiguousarray(value.transpose(_AXES[value.ndim])) if value.ndim in _AXES else value
    )


def from_torch_layout(value: np.ndarray) -> np.ndarray:
    """The inverse of `to_torch_layout`."""
    if value.ndim not in _AXES:
        return value
    return np.ascontiguousarray(value.transpose(np.argsort(_AXES[value.ndim])))


# For each number of axes, the axis of ours that each axis of PyTorch's is.
_AXES = {2: (1, 0), 4: (3, 2, 0, 1)}
