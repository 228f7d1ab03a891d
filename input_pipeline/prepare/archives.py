"""One view of an official archive, packed or unpacked."""

import abc
import contextlib
import dataclasses
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence

from input_pipeline.errors import DataError

# Bytes of a file in an archive; official ones have a few million.
MAX_FILE = 2**28


@dataclasses.dataclass(frozen=True)
class Wanted:
    """An archive to look for.

    Attributes:
        title: What it is, for messages.
        file: The official file name.
        pattern: Glob of file names that may be it.
        root: Folder in the archive; the names that `Archive` gives are relative to it.
        folders: Where the unpacked root may be, below the folder that was given.
        contents: A file or folder that the unpacked root has.
    """

    title: str
    file: str
    pattern: str
    root: str
    folders: tuple[str, ...]
    contents: str


class Archive(abc.ABC):
    """Files by their name below the root folder of the archive; use it in a `with` block.

    Every method raises DataError if the archive is truncated, corrupt or not the expected one.

    Args:
        path: The archive, or the unpacked root.
        wanted: What it should be.
    """

    def __init__(self, path: str, wanted: Wanted):
        self.path = path
        self._wanted = wanted
        self._elsewhere: set[str] = set()  # Folders seen outside the root.

    @abc.abstractmethod
    def names(self) -> Sequence[str]:
        """Every file, in stored order."""

    @abc.abstractmethod
    def read(self, name: str) -> bytes:
        """The bytes of a file."""

    def close(self) -> None:  # noqa: B027  Most have nothing to close.
        """Closes the archive."""

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stream(self, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
        """Name and bytes of every file that is wanted, in stored order."""
        for name in self.names():
            if wanted(name):
                yield name, self.read(name)

    def read_lines(self, name: str) -> list[str]:
        """The words of a text list, one per line."""
        return self.read(name).decode("utf-8", "replace").split()

    def identity(self) -> str:
        """Name and size, which distinguish this archive from others."""
        size = os.path.getsize(self.path) if os.path.isfile(self.path) else "folder"
        return f"{os.path.basename(self.path)} {size}"

    def _below_root(self, name: str) -> str | None:
        """The name relative to the root; None for files outside of it."""
        before, found, name = f"/{name}".partition(f"/{self._wanted.root}/")
        if found:
            return name
        self._elsewhere.add("/".join(before.split("/")[1:-1][:2]))
        return None

    def _absent(self, name: str) -> DataError:
        return DataError(
            f"{self.path}: {self._wanted.root}/{name} is not in it. {self._expected()}"
        )

    def _wrong(self) -> DataError:
        found = ", ".join(sorted(filter(None, self._elsewhere))[:4]) or "no folder"
        return DataError(
            f"{self.path}: holds no folder {self._wanted.root} (found: {found}). {self._expected()}"
        )

    def _check_size(self, name: str, size: int) -> None:
        if not 0 <= size <= MAX_FILE:
            raise DataError(
                f"{self.path}: {name} has {size} bytes, which no file of {self._wanted.title} has. "
                f"{self._expected()}"
            )

    def _expected(self) -> str:
        return f"Expected {self._wanted.file} of {self._wanted.title}, or its unpacked folder."

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except DataError:
            raise
        except Exception as error:  # tarfile and zipfile pass on a dozen types.
            raise DataError(
                f"{self.path}: cannot be read to its end ({error}); it is truncated or corrupt. "
                f"{self._expected()} Download it again."
            ) from None


class Folder(Archive):
    """An unpacked archive."""

    def names(self) -> Sequence[str]:
        found = []
        for folder, subfolders, files in os.walk(self.path):
            subfolders.sort()
            relative = os.path.relpath(folder, self.path)
            found += [os.path.normpath(os.path.join(relative, file)) for file in sorted(files)]
        return found

    def read(self, name: str) -> bytes:
        try:
            with open(os.path.join(self.path, name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            raise self._absent(name) from None
        except (OSError, ValueError) as error:  # ValueError: a null byte in the name.
            raise DataError(f"{self.path}/{name}: cannot be read: {error}.") from None


class _Indexed(Archive):
    """An archive with an index of its files.

    Args:
        path: The archive.
        wanted: What it should be.
    """

    def __init__(self, path: str, wanted: Wanted):
        super().__init__(path, wanted)
        self._members = {}
        with contextlib.ExitStack() as stack:
            with self._reading():
                self._file = stack.enter_context(self._open())
                for name, member in self._files():
                    below = self._below_root(name)
                    if below:
                        self._members[below] = member
            if not self._members:
                raise self._wrong()
            self._stack = stack.pop_all()

    @abc.abstractmethod
    def _open(self):
        """The opened archive."""

    @abc.abstractmethod
    def _files(self) -> Iterator[tuple[str, object]]:
        """Name and member of every file."""

    @abc.abstractmethod
    def _bytes(self, member) -> bytes: ...

    def close(self) -> None:
        self._stack.close()

    def names(self) -> Sequence[str]:
        return list(self._members)

    def read(self, name: str) -> bytes:
        if name not in self._members:
            raise self._absent(name)
        with self._reading():
            return self._bytes(self._members[name])


class Zip(_Indexed):
    """A .zip file."""

    def _open(self):
        return zipfile.ZipFile(self.path)

    def _files(self):
        return ((m.filename, m) for m in self._file.infolist() if not m.is_dir())

    def _bytes(self, member) -> bytes:
        self._check_size(member.filename, member.file_size)
        return self._file.read(member)


class Tar(_Indexed):
    """A tar that is not compressed."""

    def _open(self):
        return tarfile.open(self.path, "r:")

    def _files(self):
        for member in self._file:
            self._file.members.clear()  # Otherwise tarfile keeps a kilobyte for each member.
            if member.isfile():
                yield member.name, (member.offset_data, member.size)
        # A tar ends with blocks of zeros; tarfile does not notice if they are missing.
        self._file.fileobj.seek(-tarfile.BLOCKSIZE, os.SEEK_END)
        if any(self._file.fileobj.read()):
            raise tarfile.ReadError("the end of the archive is missing")

    def _bytes(self, member) -> bytes:
        offset, size = member
        self._check_size(f"the file at byte {offset}", size)
        self._file.fileobj.seek(offset)
        data = self._file.fileobj.read(size)
        if len(data) < size:
            raise tarfile.ReadError("the end of the archive is missing")
        return data


class CompressedTar(Archive):
    """A tar that can only be read from its beginning to its end."""

    def names(self) -> Sequence[str]:
        return [name for name, _ in self._members(lambda _: False)]

    def read(self, name: str) -> bytes:
        for _, data in self.stream(lambda found: found == name):
            return data
        raise self._absent(name)

    def stream(self, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
        return (found for found in self._members(wanted) if found[1] is not None)

    def _members(self, wanted) -> Iterator[tuple[str, bytes | None]]:
        empty = True
        with self._reading(), tarfile.open(self.path, "r|*") as file:
            for member in file:
                file.members.clear()
                below = self._below_root(member.name) if member.isfile() else None
                if below:
                    empty = False
                    self._check_size(member.name, member.size)
                    yield below, file.extractfile(member).read() if wanted(below) else None
        if empty:
            raise self._wrong()
