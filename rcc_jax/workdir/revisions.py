"""Revisions of the numerics: changes of what a training step computes or of its input.

Each start of a run records the revision of its code as 'numerics' in `environment.json`. A run that
is resumed with a newer revision mixes both; the user is told so once.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from rcc_jax.errors import ConfigError

# What changed with each revision. A run without a recorded revision has revision 0.
CHANGES = {
    1: "BatchNorm's running variance is unbiased, and method.ohem_min_kept=0 keeps all pixels",
    2: "views are shrunk with an antialiased bilinear filter, no longer by averaging areas",
    3: "the score of iMAS weighs each IoU with the confident pixels of the same network",
}
# The method that a revision is about; without an entry it is about all.
METHODS = {3: "imas"}
CURRENT = max(CHANGES)
# Name of the file in a run's folder, and the key of the revision in its entries.
FILE, KEY = "environment.json", "numerics"


def recorded(folder: str | os.PathLike) -> int:
    """The revision that the run in a folder was last trained with; 0 if none is recorded."""
    try:
        return int(json.loads((pathlib.Path(folder) / FILE).read_text())[-1][KEY])
    except (OSError, ValueError, LookupError, TypeError):
        return 0


def since(found: int, method: str) -> list[str]:
    """The changes after a revision that concern a method."""
    numbers = range(found + 1, CURRENT + 1)
    return [CHANGES[number] for number in numbers if METHODS.get(number, method) == method]


def check(folder: str | os.PathLike) -> None:
    """Refuses a run of a newer revision, whose changes this version does not know.

    Args:
        folder: Folder of the run.

    Raises:
        ConfigError: If its revision is newer.
    """
    found = recorded(folder)
    if found > CURRENT:
        raise ConfigError(
            f"--workdir={folder}: this run was last trained by a newer version of rcc-jax "
            f"(revision {found} of the numerics; this version has {CURRENT}). Resume it with that "
            "version, or use another --workdir."
        )


def warning(found: int, added: Mapping[str, Any], given: Mapping[str, Any]) -> str | None:
    """The warning for a user who resumes a run of an earlier version.

    Args:
        found: The revision that the run was last trained with.
        added: Fields that its config.json lacks, with the values that reproduce its behaviour.
        given: The values of all fields with which it is resumed.

    Returns:
        One line; None if nothing changed.
    """
    changes = since(found, given.get("method.name", ""))
    parts = []
    if changes:
        parts.append(
            f"From here on it is trained with these changes: {'; '.join(changes)}. For results of "
            "one version only, start a new run in another --workdir."
        )
    kept = [f"{field} = {value!r}" for field, value in added.items() if given[field] == value]
    if kept:
        parts.append(
            f"New fields have the values that reproduce the earlier behaviour: {', '.join(kept)}."
        )
    other = [
        f"{field} = {given[field]!r} (was {value!r})"
        for field, value in added.items()
        if given[field] != value
    ]
    if other:
        parts.append(f"New fields change the earlier behaviour: {', '.join(other)}.")
    if not parts:
        return None
    return " ".join(["warning: this run was started by an earlier version of rcc-jax.", *parts])
