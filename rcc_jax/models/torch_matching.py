"""Matches the names of a PyTorch state dict with a model: found, missing, unused, wrong shape."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flax import nnx

from rcc_jax.models import families
from rcc_jax.models.torch_names import ENCODER, torch_shape

# Names of each kind that an error shows.
_SHOWN = 3


def match(
    model: Any,
    path: str | os.PathLike[str],
    shapes: Mapping[str, tuple[int, ...]],
    allow_missing: Sequence[str],
    allow_unused: Sequence[str],
) -> tuple[dict[str, nnx.Variable], tuple[str, ...], tuple[str, ...]]:
    """Finds the variable of each name of a state dict, or says what does not fit.

    Args:
        model: Network to load into; an abstract one (`nnx.eval_shape`) suffices.
        path: The file, for error messages.
        shapes: Shape in PyTorch of every tensor of the file, by the family's standard name.
        allow_missing: Names or prefixes of names that the file may lack.
        allow_unused: Names or prefixes that only the file may have.

    Returns:
        The model's variables by the file's names; the missing names; the unused names.

    Raises:
        ValueError: If names are missing, unused or of another shape, or an allow_missing matches
            nothing in the model.
    """
    names = families.of_model(model).torch_names
    variables = names.named_variables(model)
    _check_allowed(allow_missing, allow_unused, variables)
    if not names.is_network(shapes):
        variables = {
            k.removeprefix(ENCODER): v for k, v in variables.items() if k.startswith(ENCODER)
        }
    missing = [k for k in variables if k not in shapes]
    unused = [k for k in shapes if k not in variables]
    problems = []
    for k in list(variables):
        if k not in shapes or shapes[k] == torch_shape(variables[k]):
            continue
        if _allowed(k, allow_missing) and _allowed(k, allow_unused):
            missing.append(k)
            unused.append(k)
        else:
            wanted = torch_shape(variables[k])
            problems.append(f"{k} {shapes[k]}, in the model {wanted}")
    reports = [
        ("missing", [k for k in missing if not _allowed(k, allow_missing)]),
        ("unused", [k for k in unused if not _allowed(k, allow_unused)]),
        ("of another shape", problems),
    ]
    if any(names for _, names in reports):
        raise ValueError(_mismatch(model, path, shapes, reports))
    taken = {k: v for k, v in variables.items() if k not in missing}
    if not taken:
        raise ValueError(f"{path}: allow_missing leaves nothing to load")
    return taken, tuple(missing), tuple(unused)


def _mismatch(
    model: Any,
    path: str | os.PathLike[str],
    shapes: Mapping[str, tuple[int, ...]],
    reports: Sequence[tuple[str, Sequence[str]]],
) -> str:
    family = families.of_model(model)
    names, other = family.torch_names, families.of_file(shapes, otherwise=family).torch_names
    ours, theirs = names.describe_model(model), other.describe(shapes)
    advice = names.way_out(ours, theirs) if names is other else None
    advice = (
        advice or "use other weights, or name what may differ in allow_missing and allow_unused"
    )
    details = []
    for what, found in reports:
        if found:
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            details.append(f"{len(found)} {what}: {', '.join(found[:_SHOWN])}{more}")
    return (
        f"the weights in {path} do not fit: the model is {ours.kind}; the file seems to be "
        f"{theirs}; {advice} ({'; '.join(details)})"
    )


def _check_allowed(
    allow_missing: Sequence[str], allow_unused: Sequence[str], names: Iterable[str]
) -> None:
    for argument, prefixes in (("allow_missing", allow_missing), ("allow_unused", allow_unused)):
        if isinstance(prefixes, str):
            raise ValueError(f"{argument} is the string {prefixes!r}; give a tuple of names")
    bare = [name.removeprefix(ENCODER) for name in names]
    for prefix in allow_missing:
        if not any(_allowed(name, [prefix]) for name in bare):
            raise ValueError(
                f"allow_missing names {prefix!r}, which matches nothing in the model;"
                " use prefixes of names such as 'layer4' or 'head.b4'"
            )


def _allowed(name: str, prefixes: Sequence[str]) -> bool:
    name = name.removeprefix(ENCODER)
    for prefix in prefixes:
        prefix = prefix.removeprefix(ENCODER)
        if name == prefix or name.startswith(prefix + "."):
            return True
    return False
