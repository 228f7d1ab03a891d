"""List files, globs and folders: which images a part of the data set consists of."""

import glob
import os
from collections.abc import Callable, Iterable, Iterator

from input_pipeline import near_names
from input_pipeline.errors import DataError

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def read_pairs(
    path: str, *, field: str, note: Callable[[str], object] | None = None
) -> tuple[list[str], list[str]]:
    """Reads a list with one `image label` pair a line.

    Args:
        path: The list file.
        field: The setting that named it, for messages.
        note: Takes a message for each line that is not a pair, which is then passed over.

    Returns:
        The image paths and the label paths, as written.

    Raises:
        DataError: Unreadable or empty list; without `note`, or where no line is left, a line
            that is not a pair.
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
        f"Columns are split at blanks; separate them by a tab if a path has a blank ({field})."
        for number, columns in bad
    ]
    _refuse_or_note(messages, bad, note if images else None)
    return images, labels


def read_images(
    path: str, *, field: str, note: Callable[[str], object] | None = None
) -> Iterator[str]:
    """Reads a list with an image path a line; a second column is ignored, whatever it names.

    Args:
        path: The list file.
        field: The setting that named it, for messages.
        note: Takes a message for each line of more columns, which is then passed over.

    Yields:
        The image paths, as written.

    Raises:
        DataError: Unreadable or empty list; without `note`, or where no line is left, a line
            of more than two columns.
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
        f"{len(columns)} columns: {' '.join(columns)!r}. Columns are split at blanks; "
        f"write a tab behind a path that has a blank ({field})."
        for number, columns in bad
    ]
    _refuse_or_note(messages, bad, None if empty else note)


def numbered_lines(path: str, *, field: str) -> Iterator[tuple[int, list[str]]]:
    """Reads the lines that are not blank; CRLF and a byte order mark do not matter.

    Args:
        path: The list file.
        field: The setting that named it, for messages.

    Yields:
        The number of the line, from 1, and its columns.

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
            f"entry a line ({field})."
        ) from None
    if empty:
        raise DataError(f"{path}:1: the list is empty ({field}). Write one entry a line.")


def write_list(path: str | os.PathLike, *columns: Iterable[str]) -> None:
    """Writes a list of images, or of images and labels, for the readers above.

    Args:
        path: The list file.
        *columns: The image paths; the label paths.

    Raises:
        DataError: A path that no list can hold.
    """
    with open(path, "w", encoding="utf-8") as file:
        for entry in zip(*columns, strict=True):
            # With a tab, paths may have blanks.
            line = "\t".join([*entry, ""])
            if _split(line) != list(entry) or len(line.splitlines()) != 1 or not _is_text(line):
                raise DataError(
                    f"{' '.join(entry)!r}: a list is of UTF-8 text, one entry a line, columns "
                    "separated by tabs; rename files whose names do not go with that."
                )
            file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())


def find_images(pattern: str, *, root: str, field: str) -> list[str]:
    """Lists the images of a folder (with its subfolders) or of a glob, sorted by path.

    Args:
        pattern: A folder or a glob (`**` = any depth), absolute or relative to root.
        root: The root folder of the data.
        field: The setting that holds the pattern, for messages.

    Returns:
        The paths of the image files; hidden files are left out.

    Raises:
        DataError: No image there.
    """
    full = os.path.join(root, os.path.expanduser(pattern))
    if os.path.isdir(full):
        full = os.path.join(glob.escape(full), "**", "*")
    found = glob.glob(full, recursive=True)
    images = sorted(path for path in found if path.lower().endswith(IMAGE_SUFFIXES))
    if not images:
        raise DataError(
            f"{field} = {pattern!r}: no image there (looked for {full}; images end in "
            f"{', '.join(IMAGE_SUFFIXES)}). Name a list file, a folder with images or a glob."
            f"{near_names.hint(pattern, root)}"
        )
    return images


def resolve_list(name: str, *, root: str, field: str) -> str:
    """Finds a list file: absolute, else relative to root, else to the working directory.

    Raises:
        DataError: No such file.
    """
    name = os.path.expanduser(name)
    candidates = dict.fromkeys((os.path.join(root, name), os.path.abspath(name)))
    for candidate in candidates:
        if os.path.isfile(candidate):
            return candidate
        if os.path.isdir(candidate):
            raise DataError(
                f"{field} = {name!r}: {candidate} is a folder, and folders are named from "
                f"data.root on, which is {root}; or name a list file."
            )
    raise DataError(
        f"{field} = {name!r}: no such file or folder (looked for {' and '.join(candidates)}). "
        f"Put it there, or set the field to its path.{near_names.hint(name, root)}"
    )


def _refuse_or_note(messages: list[str], bad: list, note: Callable[[str], object] | None) -> None:
    if messages and note is None:
        raise DataError(f"{messages[0]}{_others(bad)}")
    for message in messages:
        note(message)


def _others(bad: list[tuple[int, list[str]]], limit: int = 8) -> str:
    """Which lines besides the first are wrong too."""
    numbers = [str(number) for number, _ in bad[1:]]
    if not numbers:
        return ""
    shown = ", ".join(numbers[:limit]) + (", ..." if len(numbers) > limit else "")
    return f" In all {len(bad)} lines are wrong, also {shown}."


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
