"""A compact read-only sequence of strings, and an index that finds strings in a sequence."""

import array
import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np


class StringTable(Sequence):
    """Strings stored end to end in one block of bytes, for lists of a million paths.

    A string costs its bytes and 8 more, in a list of `str` about 100 more. The table is pickled
    to a worker process as two objects.

    Args:
        strings: The strings, in order.
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

    def __iter__(self) -> Iterator[str]:
        start = 0
        for end in self._ends.tolist():
            yield self._bytes[start:end].decode("utf-8", "surrogateescape")
            start = end

    def digest(self) -> str:
        """A short fingerprint; only equal tables have the same one."""
        digest = hashlib.blake2b(self._bytes, digest_size=8)
        digest.update(np.ascontiguousarray(self._ends))
        return digest.hexdigest()


class StringIndex:
    """Finds strings among a million by their hashes, at 16 bytes per string.

    Args:
        strings: The strings that are searched. The index keeps a reference to them.
    """

    def __init__(self, strings: Sequence[str]):
        self._strings = strings
        hashes = _hash(strings)
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    def find(self, strings: Sequence[str]) -> np.ndarray:
        """Returns the first place of each string, int64 [len(strings)]; -1 if it is absent."""
        wanted = _hash(strings)
        places = np.searchsorted(self._hashes, wanted)
        found = np.full(len(wanted), -1, np.int64)
        inside = np.minimum(places, max(len(self._hashes) - 1, 0))
        hits = np.flatnonzero(self._hashes[inside] == wanted) if len(self._hashes) else ()
        for hit in hits:
            place = int(places[hit])
            # Different strings may have the same hash; they lie side by side.
            while place < len(self._hashes) and self._hashes[place] == wanted[hit]:
                if self._strings[int(self._order[place])] == strings[int(hit)]:
                    found[hit] = self._order[place]
                    break
                place += 1
        return found

    def repeats(self) -> np.ndarray:
        """Places of all strings that also occur earlier, int64 [n] in order."""
        later = np.flatnonzero(self._hashes[1:] == self._hashes[:-1]) + 1
        suspects = np.sort(self._order[later])
        firsts = self.find([self._strings[int(i)] for i in suspects])
        return suspects[firsts != suspects]

    def repeated(self) -> str | None:
        """The first string that occurs a second time; None if there is none."""
        again = self.repeats()
        return self._strings[int(again[0])] if again.size else None


def _hash(strings: Sequence[str]) -> np.ndarray:
    return np.fromiter(map(hash, strings), np.int64, len(strings))
