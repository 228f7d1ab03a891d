"""A compact read-only sequence of strings, and an index that finds strings in a sequence."""

import array
import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

# Strings that are copied at once; 8 bytes of memory for each of their bytes.
_COPIED = 65_536
# Bytes of a text that are split at once, so that they stay in the processor's cache.
_SPLIT = 2**20
_TAB, _LINE_FEED = b"\t\n"
# For hashes: masks of the first 0 to 8 bytes of a word, and an odd factor with many bits set.
_FIRST_BYTES = np.array([2 ** (8 * count) - 1 for count in range(9)], np.uint64)
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


class StringTable(Sequence):
    """Strings stored end to end in one block of bytes, for lists of a million paths.

    A string takes 8 bytes besides its own; in a list of `str` it takes about 100 more. The table
    is pickled to a worker process as two objects.

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

    @classmethod
    def of(cls, strings: Iterable[str]) -> "StringTable":
        """The strings as a table; a table is not copied."""
        return strings if isinstance(strings, cls) else cls(strings)

    @classmethod
    def lines(cls, text: bytes) -> "StringTable":
        """The lines of a text; each ends in a line feed."""
        found, breaks = cls(), np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))
        found._bytes, found._ends = text.replace(b"\n", b""), breaks - np.arange(len(breaks))
        return found

    @classmethod
    def columns(cls, text: bytes, count: int) -> "tuple[StringTable, ...] | None":
        """The columns of a text whose lines have `count` columns, separated by tabs.

        Returns:
            A table for each column; None if a line has another number of columns.
        """
        if text and not text.endswith(b"\n"):
            text += b"\n"
        pieces, first = [[cls()] for _ in range(count)], 0
        while first < len(text):
            last = text.find(b"\n", first + _SPLIT) + 1 or len(text)
            codes = np.frombuffer(text, np.uint8, last - first, first)
            stops = np.flatnonzero((codes == _TAB) | (codes == _LINE_FEED))
            if not np.array_equal(codes[stops], _separators(len(stops), count)):
                return None
            lengths = np.diff(stops, prepend=-1) - 1
            # A separator belongs to no column, which is column -1.
            runs = np.stack([np.arange(len(stops)) % count, np.full(len(stops), -1)], axis=1)
            column_of = np.repeat(
                runs.astype(np.int8).ravel(), np.stack([lengths, np.ones_like(lengths)], 1).ravel()
            )
            for column, tables in enumerate(pieces):
                found = cls()
                found._bytes = codes[column_of == column].tobytes()
                found._ends = np.cumsum(lengths[column::count])
                tables.append(found)
            first = last
        return tuple(cls.joined(tables) for tables in pieces)

    @classmethod
    def _copied(cls, codes: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> "StringTable":
        """The strings between these places of a text."""
        lengths, found = ends - starts, cls()
        found._ends = np.cumsum(lengths, dtype=np.int64)
        parts = []
        for first in range(0, len(starts), _COPIED):
            length = lengths[first : first + _COPIED]
            # From the place of a byte in the copy to its place in the text.
            shift = starts[first : first + _COPIED] - (np.cumsum(length) - length)
            places = np.arange(length.sum(), dtype=np.int64) + np.repeat(shift, length)
            parts.append(codes[places].tobytes())
        found._bytes = b"".join(parts)
        return found

    @classmethod
    def joined(cls, tables: "Sequence[StringTable]") -> "StringTable":
        """The strings of all tables, one table after another."""
        found, length, ends = cls(), 0, [np.zeros(0, np.int64)]
        for table in tables:
            ends.append(table._ends + length)
            length += len(table._bytes)
        found._bytes, found._ends = b"".join(table._bytes for table in tables), np.concatenate(ends)
        return found

    def take(self, places: np.ndarray) -> "StringTable":
        """The strings of these places, int [n], not negative, as a table."""
        places = np.asarray(places, np.int64)
        starts = np.concatenate([[0], self._ends])[:-1]
        if len(places) and (np.diff(places) == 1).all():  # As of most slices and lists.
            first, found = int(starts[places[0]]), StringTable()
            found._ends = self._ends[places] - first
            found._bytes = self._bytes[first : first + int(found._ends[-1])]
            return found
        return self._copied(
            np.frombuffer(self._bytes, np.uint8), starts[places], self._ends[places]
        )

    def has(self, string: str) -> bool:
        """Whether a string is in the table."""
        encoded = StringTable([string])._bytes
        lengths = np.diff(self._ends, prepend=0)
        same = self.take(np.flatnonzero(lengths == len(encoded)))
        if not encoded:
            return len(same) > 0
        rows = np.frombuffer(same._bytes, np.uint8).reshape(-1, len(encoded))
        return bool((rows == np.frombuffer(encoded, np.uint8)).all(axis=1).any())

    def equals(self, other: "StringTable") -> bool:
        """Whether another table has the same strings in the same order."""
        return np.array_equal(self._ends, other._ends) and self._bytes == other._bytes

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

    def hashes(self) -> np.ndarray:
        """A hash of each string, uint64 [len(self)]."""
        lengths, found, start = np.diff(self._ends, prepend=0), [np.zeros(0, np.uint64)], 0
        for first in range(0, len(lengths), _COPIED):
            some = lengths[first : first + _COPIED]
            end = start + int(some.sum())
            found.append(_hash(self._bytes[start:end], some))
            start = end
        return np.concatenate(found)

    def digest(self) -> str:
        """A short fingerprint; only equal tables have the same one."""
        digest = hashlib.blake2b(self._bytes, digest_size=8)
        digest.update(np.ascontiguousarray(self._ends))
        return digest.hexdigest()


def _separators(count: int, columns: int) -> np.ndarray:
    """The separators of so many strings in lines of `columns` columns, uint8 [count]."""
    last = np.arange(1, count + 1) % columns == 0
    return np.where(last, _LINE_FEED, _TAB).astype(np.uint8)


def _hash(text: bytes, lengths: np.ndarray) -> np.ndarray:
    """Hashes strings that lie end to end in a text, eight bytes of all strings at a time."""
    # The word at each place of the text; the last string may end within one.
    words = np.ndarray(len(text) + 1, "<u8", text + bytes(8), strides=(1,))
    found, rows, rest = lengths.astype(np.uint64), np.arange(len(lengths)), lengths
    places = np.cumsum(lengths) - lengths
    while rows.size:
        longer = rest > 0
        rows, rest, places = rows[longer], rest[longer], places[longer]
        mixed = (found[rows] ^ (words[places] & _FIRST_BYTES[np.minimum(rest, 8)])) * _FACTOR
        found[rows] = mixed ^ (mixed >> np.uint64(32))
        rest, places = rest - 8, places + 8
    return found


class StringIndex:
    """Finds strings among a million by their hashes, at 16 bytes per string.

    Args:
        strings: The strings that are searched. The index keeps a reference to them.
    """

    def __init__(self, strings: Sequence[str]):
        self._strings = StringTable.of(strings)
        hashes = self._strings.hashes()
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    def find(self, strings: Sequence[str]) -> np.ndarray:
        """Returns the first place of each string, int64 [len(strings)]; -1 if it is absent."""
        strings = StringTable.of(strings)
        wanted = strings.hashes()
        order = np.argsort(wanted)  # In this order they are found in a third of the time.
        places = np.empty_like(order)
        places[order] = np.searchsorted(self._hashes, wanted[order])
        found = np.full(len(wanted), -1, np.int64)
        inside = np.minimum(places, max(len(self._hashes) - 1, 0))
        hits = np.flatnonzero(self._hashes[inside] == wanted) if len(self._hashes) else ()
        if len(hits):
            # Usually equal hashes mean equal strings; these are compared all at once.
            firsts = self._order[places[hits]]
            if self._strings.take(firsts).equals(strings.take(hits)):
                found[hits] = firsts
                return found
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
