"""The environment of a measurement, for the records in results/.

Importing this first gives a script huge pages, as main.py has them; PyTorch in the same process
has them, too.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from rcc_jax.commands import huge_pages  # noqa: E402

if pathlib.Path(sys.argv[0]).resolve().parent == pathlib.Path(__file__).resolve().parent:
    huge_pages.ask()  # Not for a test that imports a script.

from rcc_jax.workdir.environment import describe  # noqa: E402

__all__ = ["describe"]
