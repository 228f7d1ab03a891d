"""Matches the names of a PyTorch state dict with a model: found, missing, unused, wrong shape."""

import os
from collections.abc import Iterable, Mapping, Sequence

from flax import nnx

from rcc_jax.models import torch_names
from rcc_jax.models.deeplabv3plus import DeepLabV3Plus
from rcc_jax.models.resnet import BACKBONES, STEMS

# Names of each kind that an error shows.
_SHOWN = 3


def match(
    model: DeepLabV3Plus,
    path: str | os.PathLike[str],
    shapes: Mapping[str, tuple[int, ...]],
    allow_missing: Sequence[str],
    allow_unused: Sequence[str],
) -> tuple[dict[str, nnx.Variable], tuple[str, ...], tuple[str, ...]]:
    """Finds the variable of each name of a state dict, or says what does not fit.

    Args:
        model: Network to load into; an abstract one (`nnx.eval_shape`) suffices.
        path: The file, for error messages.
        shapes: Shape in PyTorch of every tensor of the file, by name.
        allow_missing: Names or prefixes of names that the file may lack.
        allow_unused: Names or prefixes that only the file may have.

    Returns:
        The model's variables by the file's names; the missing names; the unused names.

    Raises:
        ValueError: If names are missing, unused or of another shape, or an allow_missing matches
            nothing in the model.
    """
    variables = torch_names.named_variables(model)
    _check_allowed(allow_missing, allow_unused, variables)
    if not torch_names.is_network(shapes):
        prefix = torch_names.BACKBONE
        variables = {
            k.removeprefix(prefix): v for k, v in variables.items() if k.startswith(prefix)
        }
    contents = torch_names.describe(shapes)
    shapes = {k: v for k, v in shapes.items() if not k.endswith(torch_names.COUNTER)}
    missing = [k for k in variables if k not in shapes]
    unused = [k for k in shapes if k not in variables]
    problems = []
    for k in list(variables):
        if k not in shapes or shapes[k] == torch_names.torch_shape(variables[k]):
            continue
        if _allowed(k, allow_missing) and _allowed(k, allow_unused):
            missing.append(k)
            unused.append(k)
        else:
            wanted = torch_names.torch_shape(variables[k])
            problems.append(f"{k} {shapes[k]}, in the model {wanted}")
    reports = [
        ("missing", [k for k in missing if not _allowed(k, allow_missing)]),
        ("unused", [k for k in unused if not _allowed(k, allow_unused)]),
        ("of another shape", problems),
    ]
    if any(names for _, names in reports):
        raise ValueError(_mismatch(model, path, contents, reports))
    taken = {k: v for k, v in variables.items() if k not in missing}
    if not taken:
        raise ValueError(f"{path}: allow_missing leaves nothing to load")
    return taken, tuple(missing), tuple(unused)


def _mismatch(
    model: DeepLabV3Plus,
    path: str | os.PathLike[str],
    contents: torch_names.Contents,
    reports: Sequence[tuple[str, Sequence[str]]],
) -> str:
    details = []
    for what, names in reports:
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            details.append(f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{more}")
    return (
        f"the weights in {path} do not fit: the model is {model.backbone.name}, stem "
        f"{model.backbone.stem_name}; the file seems to be {contents}; "
        f"{_way_out(torch_names.describe_model(model), contents)} ({'; '.join(details)})"
    )


def _way_out(model: torch_names.Contents, contents: torch_names.Contents) -> str:
    if contents.stem in STEMS and contents.stem != model.stem:
        return f"use the stem {contents.stem!r}, or weights for the stem {model.stem!r}"
    if contents.backbone in BACKBONES and contents.backbone != model.backbone:
        return f"use the backbone {contents.backbone!r}, or weights for {model.backbone!r}"
    sizes = {
        name: getattr(contents, name)
        for name in ("width", "decoder_channels")
        if getattr(contents, name) not in (None, getattr(model, name))
    }
    if sizes:
        fields = " ".join(f"--config.model.{name}={value}" for name, value in sizes.items())
        return f"use {fields}, which fits the file, or other weights"
    if contents.num_classes not in (None, model.num_classes):
        return (
            f"the file has {contents.num_classes} classes, the model {model.num_classes}: name "
            "'classifier' in both allow_missing and allow_unused to start the classifier at random"
        )
    return "use other weights, or name what may differ in allow_missing and allow_unused"


def _check_allowed(
    allow_missing: Sequence[str], allow_unused: Sequence[str], names: Iterable[str]
) -> None:
    for argument, prefixes in (("allow_missing", allow_missing), ("allow_unused", allow_unused)):
        if isinstance(prefixes, str):
            raise ValueError(f"{argument} is the string {prefixes!r}; give a tuple of names")
    bare = [name.removeprefix(torch_names.BACKBONE) for name in names]
    for prefix in allow_missing:
        if not any(_allowed(name, [prefix]) for name in bare):
            raise ValueError(
                f"allow_missing names {prefix!r}, which matches nothing in the model;"
                " use prefixes of names such as 'layer4' or 'head.b4'"
            )


def _allowed(name: str, prefixes: Sequence[str]) -> bool:
    name = name.removeprefix(torch_names.BACKBONE)
    for prefix in prefixes:
        prefix = prefix.removeprefix(torch_names.BACKBONE)
        if name == prefix or name.startswith(prefix + "."):
            return True
    return False
