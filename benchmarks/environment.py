"""The environment of a measurement, for the records in results/, and huge pages as main.py's."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from rcc_jax.commands.huge_pages import ask as ask_for_huge_pages  # noqa: E402
from rcc_jax.workdir.environment import describe  # noqa: E402

__all__ = ["ask_for_huge_pages", "describe"]
