"""Test set-up: eight fake devices, strict ranks, and the optional folder of recorded numbers."""

import os
import pathlib

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest
from absl import flags

jax.config.update("jax_numpy_rank_promotion", "raise")
if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
SHARED = pathlib.Path(os.environ.get("RCC_SHARED", REPOSITORY.parent / "shared"))


@pytest.fixture(scope="session")
def oracles() -> pathlib.Path:
    """Folder of recorded results of independent implementations; a plain clone has none."""
    folder = SHARED / "oracles"
    if not folder.is_dir():
        pytest.skip(f"optional: no recorded numbers at {folder} (set RCC_SHARED to their parent)")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """Folder with CamVid and backbone weights; a plain clone has none."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"optional: no data at {folder} (set RCC_SHARED to its parent)")
    return folder
