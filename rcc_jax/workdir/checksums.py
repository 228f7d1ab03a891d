"""SHA-256 of the files of a checkpoint: orbax does not detect a flipped bit in an array."""

import hashlib
import pathlib

from input_pipeline.files import write_atomically

# In the format of sha256sum, so that `sha256sum -c` checks it too.
NAME = "SHA256SUMS"


def write(folder: pathlib.Path) -> None:
    """Writes the checksums of all files in the subfolders of a folder to a file in the folder.

    Files directly in the folder are skipped, since orbax still writes some of them.
    """
    files = sorted(path for path in folder.glob("*/**/*") if path.is_file())
    lines = [f"{_sum(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    write_atomically(folder / NAME, "".join(lines))


def find_damage(folder: pathlib.Path) -> str | None:
    """Reads all files and compares them with their checksums.

    Args:
        folder: The folder of a checkpoint.

    Returns:
        What is wrong with the first file that differs; None if all are intact.
    """
    try:
        lines = (folder / NAME).read_bytes().decode("ascii").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError):
        return f"{NAME} cannot be read"
    if not lines:
        return f"{NAME} is empty"
    for line in lines:
        checksum, separator, name = line.partition("  ")
        path = folder / name.rstrip("\n")
        if not separator or not name.endswith("\n") or not path.is_relative_to(folder):
            return f"{NAME} is truncated or was changed"
        try:
            if _sum(path) != checksum:
                return f"{path.relative_to(folder)} has changed since it was written"
        except OSError as error:
            return f"{path.relative_to(folder)} cannot be read ({error.strerror})"
    return None


def _sum(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
