"""Reads list files, globs and folders, which name the images of a part of the data."""

import glob
import os
from collections.abc import Callable, Iterable, Iterator

from input_pipeline import near_names
from input_pipeline.errors import DataError
from input_pipeline.sources.string_table import StringTable

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# The kind of each byte of a list: 2 for blanks and bytes beyond ASCII; 1 for bytes that, side by
# side, make an empty line or a path that is not normal ('a//b', './a', 'a/../b'); 0 for the rest.
_KINDS = bytes(
    1 if code in b"/.\n" else 2 if code > 127 or chr(code).isspace() else 0 for code in range(256)
)


def read_pairs(
    path: str, *, field: str, note: Callable[[str], object] | None = None
) -> tuple[list[str], list[str]]:
    """Reads a list with one `image label` pair per line.

    Args:
        path: The list file.
        field: The setting that named it, for messages.
        note: Called with a message for each line that is not a pair; the line is then skipped.

    Returns:
        The image paths and the label paths, as written.

    Raises:
        DataError: The list is unreadable or empty; or a line is not a pair, and there is no
            `note` or no other line.
    """
    images, labels, bad = [], [], []
    for number, columns in numbered_lines(path, field=field):
        if len(columns) != 2:
            bad.append((number, columns))
            continue
        images.append(columns[0])
        labels.append(columns[1])
    messages = [
        f"{path}:{number}: expected one `image label` pair, found {len(columns)} "
        f"{'column' if len(columns) == 1 else 'columns'}: {' '.join(columns)!r}. "
        f"Columns are separated by blanks; use a tab if a path contains a blank ({field})."
        for number, columns in bad
    ]
    _refuse_or_note(messages, bad, note if images else None)
    return images, labels


def read_images(
    path: str, *, field: str, note: Callable[[str], object] | None = None
) -> Iterator[str]:
    """Reads a list with one image path per line; a second column is ignored.

    Args:
        path: The list file.
        field: The setting that named it, for messages.
        note: Called with a message for each line of more than two columns; the line is then
            skipped.

    Yields:
        The image paths, as written.

    Raises:
        DataError: The list is unreadable or empty; or a line has more than two columns, and
            there is no `note` or no other line.
    """
    bad, empty = [], True
    for number, columns in numbered_lines(path, field=field):
        if len(columns) > 2:
            bad.append((number, columns))
        else:
            empty = False
            yield columns[0]
    messages = [
        f"{path}:{number}: expected one image path, or `image label`, found "
        f"{len(columns)} columns: {' '.join(columns)!r}. Columns are separated by blanks; "
        f"end a path that contains a blank with a tab ({field})."
        for number, columns in bad
    ]
    _refuse_or_note(messages, bad, None if empty else note)


def plain_paths(path: str) -> StringTable | None:
    """Reads a list of plain paths at once, which is much faster for a long list.

    Args:
        path: The list file.

    Returns:
        The paths; None if the list is empty or unreadable, or a line has a blank, a character
        beyond ASCII or a path that `os.path.normpath` would change. Read such a list by lines.
    """
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError:
        return None
    if not text.endswith(b"\n"):
        text += b"\n"
    kinds = text.translate(_KINDS)
    if kinds[0] or b"\1\1" in kinds or b"\2" in kinds:
        return None
    del kinds  # It is as long as the text.
    return StringTable.lines(text)


def numbered_lines(path: str, *, field: str) -> Iterator[tuple[int, list[str]]]:
    """Reads the lines that are not blank; accepts CRLF and a byte order mark.

    Args:
        path: The list file.
        field: The setting that named it, for messages.

    Yields:
        The line number, from 1, and the columns of the line.

    Raises:
        DataError: The list is unreadable or empty.
    """
    empty = True
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                columns = _split(line)
                if columns:
                    empty = False
                    yield number, columns
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read as a text list: {error}. Save it as UTF-8 text with one "
            f"entry per line ({field})."
        ) from None
    if empty:
        raise DataError(f"{path}:1: the list is empty ({field}). Write one entry per line.")


def write_list(path: str | os.PathLike, *columns: Iterable[str]) -> None:
    """Writes a list of images, or of images and labels, that the functions above can read.

    Args:
        path: The list file.
        *columns: The image paths and, optionally, the label paths.

    Raises:
        DataError: A path cannot be written in a list.
    """
    with open(path, "w", encoding="utf-8") as file:
        for entry in zip(*columns, strict=True):
            if fault := fault_of_entry(*entry):
                raise DataError(fault)
            file.write(_line(entry) + "\n")
        file.flush()
        os.fsync(file.fileno())


def fault_of_entry(*entry: str) -> str | None:
    """Why the paths of an image, or of an image and its label, cannot be written in a list."""
    line = _line(entry)
    if _split(line) == list(entry) and len(line.splitlines()) == 1 and _is_text(line):
        return None
    return (
        f"{' '.join(entry)!r}: the path cannot be written in a list, which is UTF-8 text with one "
        "entry per line and tabs between columns. Rename the file."
    )


def _line(entry: Iterable[str]) -> str:
    # With a tab, paths may contain blanks.
    return "\t".join([*entry, ""])


def find_images(pattern: str, *, root: str, field: str) -> list[str]:
    """Lists the images of a folder (with its subfolders) or of a glob, sorted by path.

    Args:
        pattern: A folder or a glob (`**` matches any depth), absolute or relative to root.
        root: The root folder of the data.
        field: The setting that holds the pattern, for messages.

    Returns:
        The paths of the image files, without hidden files.

    Raises:
        DataError: There is no image.
    """
    place = os.path.join(root, os.path.expanduser(pattern))
    if os.path.isdir(place):
        full = os.path.join(glob.escape(place), "**", "*")
    else:
        full = os.path.join(glob.escape(root), os.path.expanduser(pattern))
    found = glob.glob(full, recursive=True)
    images = _once(path for path in found if path.lower().endswith(IMAGE_SUFFIXES))
    if not images:
        raise DataError(
            f"{field} = {pattern!r}: no image found (looked for {place}; images end in "
            f"{', '.join(IMAGE_SUFFIXES)}). Name a list file, a folder with images or a glob."
            f"{near_names.hint(pattern, root)}"
        )
    return images


def _once(paths: Iterable[str]) -> list[str]:
    """The paths, sorted, without folders and without what a link shows a second time.

    It asks the disk for folders alone, which are few.
    """
    paths = sorted(paths)
    folders = sorted(set(map(os.path.dirname, paths)), key=lambda x: (x.count(os.sep), x))
    first: dict[str, str] = {}
    for folder in folders:
        first.setdefault(os.path.realpath(folder), folder)
    shown, named = set(first.values()), set(folders)
    return [path for path in paths if os.path.dirname(path) in shown and path not in named]


def resolve_list(name: str, *, root: str, field: str) -> str:
    """Finds a list file: absolute, else relative to root, else to the working directory.

    Raises:
        DataError: There is no such file.
    """
    name = os.path.expanduser(name)
    candidates = dict.fromkeys((os.path.join(root, name), os.path.abspath(name)))
    for candidate in candidates:
        if os.path.isfile(candidate):
            return candidate
        if os.path.isdir(candidate):
            raise DataError(
                f"{field} = {name!r}: {candidate} is a folder. Name a list file, or a folder by "
                f"its path from data.root, which is {root}."
            )
    raise DataError(
        f"{field} = {name!r}: no such file or folder (looked for {' and '.join(candidates)}). "
        f"Put it there, or give its path.{near_names.hint(name, root)}"
    )


def _refuse_or_note(messages: list[str], bad: list, note: Callable[[str], object] | None) -> None:
    if messages and note is None:
        raise DataError(f"{messages[0]}{_others(bad)}")
    for message in messages:
        note(message)


def _others(bad: list[tuple[int, list[str]]], limit: int = 8) -> str:
    """A sentence that names the wrong lines besides the first."""
    numbers = [str(number) for number, _ in bad[1:]]
    if not numbers:
        return ""
    shown = ", ".join(numbers[:limit]) + (", ..." if len(numbers) > limit else "")
    return f" {len(bad)} lines are wrong in all; the others are {shown}."


def _is_text(line: str) -> bool:
    try:
        line.encode()
    except UnicodeEncodeError:  # The bytes of a name that is not UTF-8.
        return False
    return True


def _split(line: str) -> list[str]:
    if "\t" in line:
        return [part.strip() for part in line.split("\t") if part.strip()]
    return line.split()
