"""State dicts in files (.npz, .safetensors and PyTorch's .pth), as numpy arrays by name."""

import _codecs
import hashlib
import io
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from input_pipeline.files import write_atomically

FORMATS = {".npz": "npz", ".safetensors": "safetensors", ".pth": "torch", ".pt": "torch"}
# Keys under which training scripts store the weights beside the optimizer; an EMA teacher predicts
# better than its student, so it comes first.
_WRAPPERS = ("model_ema", "model", "state_dict")


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads a state dict without unpickling any object.

    A wrapper `{'model_ema': ...}`, `{'model': ...}` or `{'state_dict': ...}` (the first that is
    there) and the prefix `module.` are removed.

    Args:
        path: File whose suffix is one of `FORMATS`.

    Returns:
        Arrays by name, in the order of the file.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: A .pth or .pt file, and PyTorch is not installed.
        ValueError: Another suffix, a corrupt file, or one with anything except tensors.
    """
    path = pathlib.Path(path)
    kind = file_format(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}: give the path of a file")
    state = {"npz": _read_npz, "safetensors": _read_safetensors, "torch": _read_torch}[kind](path)
    if not state:
        raise ValueError(f"{path} holds no weights: is it the right file?")
    for name, value in state.items():
        if value.dtype.kind not in "fiu" and value.dtype.name != "bfloat16":
            raise ValueError(f"{path} holds {value.dtype} values under {name!r}, not numbers")
    return {name.removeprefix("module."): value for name, value in state.items()}


def write(path: str | os.PathLike[str], state: Mapping[str, np.ndarray]) -> None:
    """Writes a state dict atomically, in the format of the suffix.

    Args:
        path: The file.
        state: Arrays by name.

    Raises:
        ImportError: A .pth or .pt file, and PyTorch is not installed.
        OSError: The folder is missing or cannot be written.
        ValueError: Another suffix.
    """
    path = pathlib.Path(path)
    kind = file_format(path)
    if kind == "safetensors":
        write_atomically(path, safetensors.numpy.save(dict(state)))
        return
    file = io.BytesIO()
    if kind == "npz":
        np.savez(file, **state)  # type: ignore[arg-type]  # no name is allow_pickle
    else:
        torch = _torch(path)
        torch.save({k: torch.from_numpy(np.array(v)) for k, v in state.items()}, file)
    write_atomically(path, file.getbuffer())


def file_format(path: str | os.PathLike[str]) -> str:
    """The format of a suffix: 'npz', 'safetensors' or 'torch'."""
    suffix = pathlib.Path(path).suffix
    if suffix not in FORMATS:
        raise ValueError(f"{path} has suffix {suffix!r}; weights are one of {', '.join(FORMATS)}")
    return FORMATS[suffix]


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        # Opened here, because numpy leaves a file open if it is not an archive.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # A wrong header makes numpy and zipfile raise many types.
        raise _unreadable(path, error) from error


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load_file(path)
    except KeyError as error:
        raise ValueError(f"{path} has values of type {error}; save them as float32") from error
    except (OSError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise _unreadable(path, error) from error


def _read_torch(path: pathlib.Path) -> dict[str, np.ndarray]:
    torch = _torch(path)
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # PyTorch raises many types.
        raise _unreadable(path, error) from error
    wrappers = list(_WRAPPERS)
    while wrappers and isinstance(state, dict):
        key = wrappers.pop(0)
        if isinstance(state.get(key), dict):
            state, wrappers = state[key], list(_WRAPPERS)
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds a {type(state).__name__}; save a state dict instead")
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise ValueError(
                f"{path} holds a {type(value).__name__} under {name!r} where a tensor belongs;"
                " save model.state_dict(), bare or as {'model': ...}"
            )
    # numpy has no bfloat16; the conversion to float32 is exact.
    wide = {k: v.float() if v.dtype == torch.bfloat16 else v for k, v in state.items()}
    return {k: v.detach().numpy() for k, v in wide.items()}


def _numpy_scalars() -> list[Any]:
    """What a pickled number of numpy is made of, under the names of numpy 1 and 2.

    UniMatch's checkpoints hold their best score as one. Nothing of this can run code of the file.
    """
    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]  # private, but pickled
    types = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.bool_)]
    names = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [np.dtype, *types, *names, _codecs.encode]


def _torch(path: pathlib.Path) -> Any:
    try:
        import torch  # Optional, and slow to import.
    except ImportError as error:
        raise ImportError(
            f"{path} needs PyTorch: pip install 'rcc_jax[torch]', or use .safetensors or .npz"
        ) from error
    return torch


def _unreadable(path: pathlib.Path, error: Exception) -> ValueError:
    reason = str(error).strip().split("\n")[0] or type(error).__name__
    return ValueError(f"cannot read weights from {path}: corrupt, or another format ({reason})")
