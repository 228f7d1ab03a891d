"""The pages and docstrings say what the code does."""

import doctest
import importlib

import jax.numpy as jnp
import pytest

from tests.support.commands import REPOSITORY


@pytest.mark.parametrize("page", ["method.md", "library.md", "extending.md"])
def test_sessions_of_the_pages(page):
    result = doctest.testfile(str(REPOSITORY / "docs" / page), module_relative=False)
    assert result.failed == 0
    assert result.attempted > 10


@pytest.mark.parametrize(
    "name",
    [
        "consensus.agreement",
        "consensus.losses",
        "consensus.values",
        "evaluation.scores",
        "evaluation.padded_views",
        "evaluation.tta",
        "losses",
        "models.conv",
        "models.resize",
        "views",
    ],
)
def test_examples_in_the_docstrings(name):
    module = importlib.import_module(f"rcc_jax.{name}")
    result = doctest.testmod(module, extraglobs={"jnp": jnp})
    assert result.failed == 0
    assert result.attempted > 0
