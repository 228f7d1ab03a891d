"""Differences between the state in a checkpoint and the state that a configuration makes."""

from typing import Any

import jax
import numpy as np

PyTree = Any


def differences(saved: PyTree, wanted: PyTree, limit: int = 10) -> list[str]:
    """One line for each leaf that differs; orbax itself would cast a dtype silently."""
    if saved is None:
        raise ValueError("its list of arrays is lost")
    old, new = _leaves(saved), _leaves(wanted)
    lines = []
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            lines.append(f"{name}: only in the checkpoint")
        elif name not in old:
            lines.append(f"{name}: not in the checkpoint")
        elif old[name] != new[name]:
            lines.append(f"{name}: {_show(old[name])} in the checkpoint, {_show(new[name])} here")
    return [*lines[:limit], f"and {len(lines) - limit} more"] if len(lines) > limit else lines


def _leaves(tree: PyTree) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    leaves = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.eval_shape(jax.random.key_data, leaf)
        leaves[jax.tree_util.keystr(path, simple=True, separator=".")] = (
            tuple(leaf.shape),
            np.dtype(leaf.dtype),
        )
    return leaves


def _show(leaf: tuple[tuple[int, ...], np.dtype]) -> str:
    return f"{leaf[1]}{list(leaf[0])}"
