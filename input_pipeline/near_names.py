"""Suggests an existing path that is similar to one that does not exist."""

import difflib
import itertools
import os
from collections.abc import Iterable

# How many names of a folder are compared: more would take long, and many would be similar.
MOST_NAMES = 2000


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that a word may stand for; None if no choice is similar."""
    by_lower = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.7)
    return by_lower[close[0]] if close else None


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """' Did you mean ...?' with the nearest choice; '' if no choice is similar."""
    meant = nearest(word, choices)
    return "" if meant is None else f" Did you mean {meant!r}?"


def hint(path: str, root: str = "") -> str:
    """Returns ' Did you mean ...?' if a file or folder has a similar name, else ''.

    Args:
        path: A path that does not exist, or a glob, absolute or relative to root.
        root: A folder; '' for the working directory. The answer to a relative path is relative.
    """
    path = os.path.expanduser(path)
    start = os.sep if os.path.isabs(path) else os.path.abspath(root)
    place = start
    names = os.path.normpath(path).strip(os.sep).split(os.sep)
    for number, name in enumerate(names):
        if any(character in name for character in "*?["):  # A glob, in the folder found so far.
            place = os.path.join(place, *names[number:])
            break
        found = name if os.path.lexists(os.path.join(place, name)) else _nearest(place, name)
        if found is None:
            return ""
        place = os.path.join(place, found)
    meant = place if os.path.isabs(path) else os.path.relpath(place, start)
    # If the path exists after all, something else is wrong with it.
    return "" if meant == os.path.normpath(path) else f" Did you mean {meant!r}?"


def _nearest(folder: str, name: str) -> str | None:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in itertools.islice(entries, MOST_NAMES)]
    except OSError:
        return None
    return nearest(name, (each for each in sorted(names) if not each.startswith(".")))
