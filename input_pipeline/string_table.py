"""A read-only sequence of strings in one block of bytes."""

import array
from collections.abc import Iterable, Sequence

import numpy as np


class StringTable(Sequence):
    """Strings stored end to end, for lists of a million paths.

    Costs the bytes of the text and 8 more a string, against about 100 for a list of `str`, and
    is pickled to a worker process as two objects.

    Args:
        strings: the strings, in order.
    """

    def __init__(self, strings: Iterable[str] = ()):
        text, ends = bytearray(), array.array("q")
        for string in strings:
            text += string.encode("utf-8", "surrogateescape")
            ends.append(len(text))
        self._bytes = bytes(text)
        self._ends = np.frombuffer(ends, np.int64) if ends else np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} in a table of {len(self)} strings")
        index = int(index) % len(self)
        start = int(self._ends[index - 1]) if index else 0
        return self._bytes[start : int(self._ends[index])].decode("utf-8", "surrogateescape")
