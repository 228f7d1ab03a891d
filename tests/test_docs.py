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


def with_examples():
    """The modules that show a session in a docstring."""
    files = sorted((REPOSITORY / "rcc_jax").rglob("*.py"))
    return [
        ".".join(file.relative_to(REPOSITORY).with_suffix("").parts)
        for file in files
        if ">>> " in file.read_text()
    ]


@pytest.mark.parametrize("name", with_examples())
def test_examples_in_the_docstrings(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"jnp": jnp})
    assert result.failed == 0
    assert result.attempted > 0
