"""Import and export of weights: PyTorch state dicts of the backbone or the whole network.

`python -m rcc_jax.models.pretrained --source=FILE` says which network a file fits.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from rcc_jax.models import families, state_dict_files, torch_names
from rcc_jax.models.torch_matching import match


@dataclasses.dataclass(frozen=True)
class Summary:
    """What `load_torch` loaded.

    Attributes:
        path: The file.
        format: 'npz', 'safetensors' or 'torch'.
        sha256: Hash of the file, in hexadecimal.
        stem: 'v1' or 'deep' of a ResNet, '' of other networks.
        covers: 'backbone' or 'network'.
        loaded: Number of tensors taken from the file.
        missing: Names in the model that the file lacks, as `allow_missing` permits.
        unused: Names in the file that the model lacks, as `allow_unused` permits.
    """

    path: str
    format: str
    sha256: str
    stem: str
    covers: str
    loaded: int
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        stem = f" (stem {self.stem})" if self.stem else ""
        return (
            f"{self.loaded} tensors of the {self.covers}{stem} from {self.path},"
            f" {len(self.missing)} missing, {len(self.unused)} unused, sha256 {self.sha256[:12]}"
        )


def load_torch(
    model: Any,
    path: str | os.PathLike[str],
    *,
    allow_missing: Sequence[str] = (),
    allow_unused: Sequence[str] = ("fc",),
) -> Summary:
    """Loads a PyTorch state dict into a model, in place, and accounts for every name.

    The names are those of a library (a bare encoder) or of UniMatch (the whole network); each
    family of networks has its own. With a bare encoder the head does not change. After an error the
    model is unchanged.

    Args:
        model: Network to change.
        path: .npz, .safetensors, or .pth / .pt (which needs PyTorch; nothing else is unpickled).
        allow_missing: Names, or prefixes of names such as 'layer4', that the file may lack.
        allow_unused: Names or prefixes that only the file may have. A name in both lists may also
            have another shape; it then keeps its value in the model. So 'classifier' in both lists
            starts a network with other classes.

    Returns:
        What was loaded, what is missing and what is unused.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: A .pth or .pt file, and PyTorch is not installed.
        ValueError: A corrupt file; names that are missing, unused or of another shape; values that
            are not finite; an allow_missing that matches nothing in the model.
    """
    names = families.of_model(model).torch_names
    state = names.standard(state_dict_files.read(path))
    shapes = {name: value.shape for name, value in state.items()}
    variables, missing, unused = match(model, path, shapes, allow_missing, allow_unused)
    for name in variables:
        if not np.isfinite(state[name]).all():
            raise ValueError(
                f"{path}: {name} has values that are not finite; download the file again"
            )
    for name, variable in variables.items():
        value = torch_names.from_torch_layout(state[name])
        variable.set_value(jnp.asarray(value, variable.dtype))
    return Summary(
        path=os.fspath(path),
        format=state_dict_files.file_format(path),
        sha256=state_dict_files.sha256(path),
        stem=getattr(model.backbone, "stem_name", ""),
        covers="network" if names.is_network(shapes) else "backbone",
        loaded=len(variables),
        missing=missing,
        unused=unused,
    )


def save_torch(model: Any, path: str | os.PathLike[str]) -> None:
    """Writes a model as a state dict with UniMatch's names; PyTorch can load it strictly.

    Args:
        model: Network to save.
        path: .npz, .safetensors, or .pth / .pt (which needs PyTorch); written atomically.

    Raises:
        ImportError: A .pth or .pt file, and PyTorch is not installed.
        OSError: The folder is missing or cannot be written.
        ValueError: Another suffix.
    """
    state = {
        name: torch_names.to_torch_layout(np.asarray(variable[...]))
        for name, variable in torch_names.named_variables(model).items()
    }
    extras = families.of_model(model).torch_names.extras(model)
    state_dict_files.write(path, {**state, **extras})


def check(path: str | os.PathLike[str], backbone: str | None = None) -> str:
    """Checks that a file fits one of our networks, in every name and shape.

    Args:
        path: The file, as for `load_torch`.
        backbone: The expected backbone; None accepts any.

    Returns:
        Lines for a reader: hash, contents, and the fields of `config.model` that fit.

    Raises:
        FileNotFoundError, ImportError, ValueError: As in `load_torch`.
    """
    state = state_dict_files.read(path)
    names = families.of_file(state).torch_names
    state = names.standard(state)
    shapes = {name: value.shape for name, value in state.items()}
    contents = names.describe(shapes)
    try:
        model, fields, remark = names.fitting(contents, backbone)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None
    absent, surplus = (
        tuple(fields[field].split(",")) if field in fields else otherwise
        for field, otherwise in (("allow_missing", ()), ("allow_unused", ("fc",)))
    )
    variables, _, unused = match(model, path, shapes, absent, surplus)
    dtypes = sorted({state[k].dtype.name for k in variables})
    fields["pretrained"] = os.fspath(path)
    lines = [
        f"file     {path}",
        f"sha256   {state_dict_files.sha256(path)}",
        f"format   {state_dict_files.file_format(path)}, {' and '.join(dtypes)}",
        *([f"stem     {fields['stem']}"] if "stem" in fields else []),
        f"covers   {contents}: {len(variables)} tensors",
    ]
    if unused:
        lines.append(f"unused   {', '.join(unused)}")
    flags = []
    if families.BACKBONES[fields["backbone"]].multiple > 1:
        # As an argument it brings the optimizer and the crop of a transformer.
        flags.append(f"--config=FILE:backbone={fields.pop('backbone')}")
    flags += [f"--config.model.{name}={value}" for name, value in fields.items()]
    lines.append(f"fits     {' '.join(flags)}")
    if remark:
        lines.append(f"remark   {remark}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints what a file of weights fits; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m rcc_jax.models.pretrained",
        description="Checks a file of weights; prints hash, contents, fitting fields.",
    )
    parser.add_argument("--source", required=True, help=".npz, .safetensors, .pth or .pt")
    parser.add_argument(
        "--backbone", choices=tuple(families.BACKBONES), help="the expected backbone"
    )
    options = parser.parse_args(arguments)
    try:
        print(check(options.source, options.backbone))
    except (ImportError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
