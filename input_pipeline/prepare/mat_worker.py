"""The worker program of mat_files.py: reads MATLAB files that arrive on standard input.

It is started by its path and imports SciPy alone, no module of this project: a worker starts in
half a second and holds neither JAX nor TensorFlow. mat_files.py imports this module for the formats
of messages.

A request is REQUEST, with the sizes of what follows: the name of a struct, the name of its field,
and the file. A reply is REPLY with its content after it: 1, height and width, then the matrix in
that field; or 0 and a number of bytes, then a text that says why there is no such matrix. One reply
comes before the first request, once SciPy is imported.
"""

import contextlib
import io
import resource
import signal
import struct
import sys
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

REQUEST, REPLY = struct.Struct("<3Q"), struct.Struct("<3Q")
# A file of SBD takes a millisecond and less than a megabyte; a corrupt one may claim any size.
MAX_SECONDS, MAX_BYTES = 60, 2 * 2**30


def import_reader() -> Callable[..., dict]:
    """Imports `scipy.io.loadmat` and changes SciPy for this process: the matrices are not checked.

    Each file of SBD also holds sparse matrices. Nobody reads them, and their checks take SciPy
    longer than all the rest. Its reader imports the name that is replaced; if a version of SciPy
    uses another one, reading is only slower.
    """
    import scipy.sparse

    scipy.sparse.csc_array = lambda *_, **__: None
    import scipy.io

    return scipy.io.loadmat


def read_field(loadmat: Callable[..., dict], data: bytes, variable: str, field: str) -> np.ndarray:
    """Reads an 8-bit matrix in a field of a 1x1 struct.

    Args:
        loadmat: SciPy's reader.
        data: The bytes of the file.
        variable: Name of the struct.
        field: Name of its field.

    Returns:
        uint8 array [height, width].

    Raises:
        ValueError: The file holds no such matrix. SciPy raises many other types, or crashes, where
            it cannot read a file.
    """
    found = loadmat(io.BytesIO(data), variable_names=[variable])
    if variable not in found:
        raise ValueError(f"no variable {variable}")
    value = found[variable]
    if not isinstance(value, np.ndarray) or value.dtype.names is None or value.size != 1:
        raise ValueError(f"{variable} is not a 1x1 struct")
    if field not in value.dtype.names:
        raise ValueError(f"{variable} has no field {field}")
    value = value[field].item()
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.ndim != 2:
        kind = getattr(value, "dtype", type(value).__name__)
        raise ValueError(f"{field} is {kind} of shape {np.shape(value)}, not an 8-bit matrix")
    return value


def _answer(loadmat: Callable[..., dict], requests: BinaryIO, replies: BinaryIO) -> bool:
    """Answers one request; returns False at the end of the requests."""
    header = requests.read(REQUEST.size)
    if len(header) < REQUEST.size:
        return False
    variable, field, data = (requests.read(size) for size in REQUEST.unpack(header))
    signal.alarm(MAX_SECONDS)  # Ends the process.
    try:
        value = np.ascontiguousarray(read_field(loadmat, data, variable.decode(), field.decode()))
        header = REPLY.pack(1, *value.shape)
    except Exception as error:
        value = f"{type(error).__name__}: {error}".encode(errors="replace")
        header = REPLY.pack(0, len(value), 0)
    signal.alarm(0)
    replies.write(header)
    replies.write(value)
    replies.flush()
    return True


def main() -> None:
    """Answers requests until standard input is closed, by the parent or by its death."""
    # A crash leaves no core file behind.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError, OSError):  # Not every system has this limit.
        resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    loadmat = import_reader()
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.buffer.write(REPLY.pack(0, 0, 0))
        sys.stdout.buffer.flush()
        while _answer(loadmat, sys.stdin.buffer, sys.stdout.buffer):
            pass


if __name__ == "__main__":
    main()
