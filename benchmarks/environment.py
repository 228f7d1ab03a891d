"""The environment of a measurement, for the records in results/, and huge pages as main.py's."""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from rcc_jax.commands.huge_pages import ask as ask_for_huge_pages  # noqa: E402
from rcc_jax.workdir import environment  # noqa: E402

__all__ = ["ask_for_huge_pages", "describe"]


def describe() -> dict:
    """The environment of a run, and what glibc was asked for: huge pages change a CPU's speed."""
    return {**environment.describe(), "glibc_tunables": os.environ.get("GLIBC_TUNABLES", "")}
