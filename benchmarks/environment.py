"""The environment of a measurement, for the records in results/, and huge pages as main.py's."""

import copy
import os
import pathlib
import sys
from collections.abc import Mapping

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from rcc_jax.commands.huge_pages import ask as ask_for_huge_pages  # noqa: E402
from rcc_jax.workdir import environment  # noqa: E402

__all__ = ["ask_for_huge_pages", "describe", "without_paths"]
# Fields that say where something lies on a machine; of the weights the name of the file is kept.
_PLACES = (("data", "root"), ("train", "compilation_cache"))
_WEIGHTS = (("model", "pretrained"), ("method", "second_pretrained"))


def without_paths(config: Mapping) -> dict:
    """A recorded configuration without the places of a machine."""
    kept = copy.deepcopy(dict(config))
    for group, name in _PLACES:
        kept[group].pop(name, None)
    for group, name in _WEIGHTS:
        if kept[group].get(name, "").startswith(("/", ".", "~")):
            kept[group][name] = pathlib.Path(kept[group][name]).name
    return kept


def describe() -> dict:
    """The environment of a run, and what glibc was asked for: huge pages change a CPU's speed."""
    return {**environment.describe(), "glibc_tunables": os.environ.get("GLIBC_TUNABLES", "")}
