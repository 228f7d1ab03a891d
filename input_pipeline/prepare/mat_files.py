"""Reads 8-bit matrices from MATLAB files of version 5, whatever their bytes.

SciPy's reader is compiled code that some broken files crash, together with the process. SBD needs a
matrix in a struct, which is little; a file that holds anything else is refused.

Reference: The MathWorks, "MAT-File Format", level 5.
"""

import struct
import zlib
from typing import NamedTuple

import numpy as np

_HEADER = 128
_UINT8, _MATRIX, _COMPRESSED = 2, 14, 15
_STRUCT_CLASS, _UINT8_CLASS = 2, 9
_COMPLEX = 0x800
# SBD's largest has less than one.
_MAX_BYTES = 64 * 2**20


class _Array(NamedTuple):
    """The parts that all arrays begin with, and the bytes of the elements behind them."""

    array_class: int
    is_complex: bool
    dimensions: tuple[int, ...]
    name: bytes
    rest: "_Elements"


class _Elements:
    """The elements in some bytes, one after another."""

    def __init__(self, data: bytes):
        self._data, self._at = data, 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def next(self) -> tuple[int, bytes]:
        """Type and bytes of the next element."""
        kind, size = struct.unpack("<II", self._take(8))
        if kind >> 16:  # Up to four bytes stand in the second half of the tag.
            self._at -= 4
            kind, size = kind & 0xFFFF, kind >> 16
            if size > 4:
                raise ValueError(f"a short element of {size} bytes")
            return kind, self._take(4)[:size]
        data = self._take(size)
        if kind != _COMPRESSED:
            self._at = min(self._at + -size % 8, len(self._data))
        return kind, data

    def array(self) -> _Array:
        """The next element, which must be an array."""
        kind, data = self.next()
        if kind == _COMPRESSED:
            kind, data = _Elements(_decompressed(data)).next()
        if kind != _MATRIX:
            raise ValueError(f"an element of type {kind} where an array should be")
        inside = _Elements(data)
        if not inside:
            return _Array(0, False, (0, 0), b"", inside)  # An empty field.
        flags = _integers(inside.next()[1])
        dimensions = tuple(_integers(inside.next()[1]))
        _, name = inside.next()
        if not flags or len(dimensions) < 2 or min(dimensions) < 0:
            raise ValueError(f"an array of shape {dimensions}")
        return _Array(flags[0] & 0xFF, bool(flags[0] & _COMPLEX), dimensions, name, inside)

    def fields(self) -> list[bytes]:
        """Names of the fields of a struct; its elements go on with their values."""
        (length,) = _integers(self.next()[1]) or (0,)
        _, names = self.next()
        if length < 1 or len(names) % length:
            raise ValueError(f"field names of {len(names)} bytes, each of {length}")
        return [names[i : i + length].split(b"\0")[0] for i in range(0, len(names), length)]

    def _take(self, size: int) -> bytes:
        data = self._data[self._at : self._at + size]
        if len(data) < size:
            raise ValueError(f"cut off: {size} bytes should follow, {len(data)} do")
        self._at += size
        return data


def read_field(data: bytes, variable: str, field: str) -> np.ndarray:
    """Reads an 8-bit matrix in a field of a 1x1 struct.

    Args:
        data: The bytes of a file of version 5 in little-endian order, compressed or not.
        variable: Name of the struct.
        field: Name of its field.

    Returns:
        uint8 array of the field's shape.

    Raises:
        ValueError: The bytes are no such file or hold no such matrix.
    """
    if data[126:_HEADER] != b"IM":
        raise ValueError("not a little-endian MATLAB file of version 5")
    elements = _Elements(data[_HEADER:])
    while elements:
        array = elements.array()
        if array.name != variable.encode():
            continue
        if array.array_class != _STRUCT_CLASS or set(array.dimensions) != {1}:
            raise ValueError(f"{variable} is no 1x1 struct")
        for name in array.rest.fields():
            value = array.rest.array()
            if name == field.encode():
                return _matrix(value)
        raise ValueError(f"{variable} has no field {field}")
    raise ValueError(f"no variable {variable}")


def _matrix(array: _Array) -> np.ndarray:
    if array.array_class != _UINT8_CLASS or array.is_complex:
        raise ValueError(f"an array of class {array.array_class}, expected is uint8")
    kind, data = array.rest.next()
    values = np.frombuffer(data, np.uint8)
    # Python's integers: a product of hostile sizes must not wrap around to the right one.
    count = 1
    for size in array.dimensions:
        count *= size
    if kind != _UINT8 or count != len(values):
        raise ValueError(f"{len(data)} bytes of type {kind} for the shape {array.dimensions}")
    return values.reshape(array.dimensions, order="F")


def _integers(data: bytes) -> list[int]:
    if len(data) % 4:
        raise ValueError(f"{len(data)} bytes of 32-bit numbers")
    return list(struct.unpack(f"<{len(data) // 4}i", data))


def _decompressed(data: bytes) -> bytes:
    decompressor = zlib.decompressobj()
    try:
        found = decompressor.decompress(data, _MAX_BYTES)
    except zlib.error as error:
        raise ValueError(f"damaged: {error}") from None
    if not decompressor.eof:
        raise ValueError(f"cut off, or more than {_MAX_BYTES} bytes once decompressed")
    return found
