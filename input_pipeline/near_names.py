"""What a path that does not exist may have been meant to be."""

import difflib
import itertools
import os

# Names of a folder that are looked at; more would take long, and resemble one another anyway.
MOST_NAMES = 2000


def hint(path: str, root: str = "") -> str:
    """' Did you mean ...?' where a file or folder has a similar name, '' where none has.

    Args:
        path: What is not there, or a glob, absolute or relative to root.
        root: A folder; '' = the working directory. A relative path gets a relative answer.
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
    # One that is there after all is wrong for another reason.
    return "" if meant == os.path.normpath(path) else f" Did you mean {meant!r}?"


def _nearest(folder: str, name: str) -> str | None:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in itertools.islice(entries, MOST_NAMES)]
    except OSError:
        return None
    by_lower = {each.lower(): each for each in sorted(names) if not each.startswith(".")}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.7)
    return by_lower[close[0]] if close else None
