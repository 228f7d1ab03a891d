"""What tests of the methods share."""

import jax
import pytest


@pytest.fixture
def in_float64():
    """Numbers are float64, as those of numpy that they are compared with."""
    with jax.enable_x64(True):
        yield
