"""State dicts in files (.npz, .safetensors and PyTorch's .pth), as numpy arrays by name."""

import hashlib
import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

FORMATS = {".npz": "npz", ".safetensors": "safetensors", ".pth": "torch", ".pt": "torch"}
# Keys under which training scripts store the weights beside the optimizer. UniMatch V2 stores the
# EMA teacher too, which its tables show.
_WRAPPERS = ("model_ema", "model", "state_dict")


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads a state dict without unpickling any object.

    A wrapper `{'model': ...}` or `{'state_dict': ...}` and the prefix `module.` are removed. Of a
    student and its EMA teacher (`{'model': ..., 'model_ema': ...}`) the teacher is read.

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
    if kind == "torch":
        torch = _torch(path)
    # A rename, so that a reader sees the old file or the complete new one, also after a crash.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            if kind == "npz":
                np.savez(file, **state)  # type: ignore[arg-type]  # no name is allow_pickle
            elif kind == "safetensors":
                file.write(safetensors.numpy.save(dict(state)))
            else:
                torch.save({k: torch.from_numpy(np.array(v)) for k, v in state.items()}, file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


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
    # Scores in UniMatch's checkpoints are numbers of numpy, under its old or its new name.
    scalar = type(np.float64(0)).__reduce__(np.float64(0))[0]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    numbers = [np.dtype, *(type(np.dtype(kind)) for kind in "fdil"), *((scalar, n) for n in names)]
    try:
        with torch.serialization.safe_globals(numbers):
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
    return {k: v.numpy() for k, v in wide.items()}


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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
