"""The environment of a measurement, for the records in results/."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from rcc_jax.workdir.environment import describe  # noqa: E402

__all__ = ["describe"]
