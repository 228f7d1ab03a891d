"""Scripts that import their neighbours, as they do when they run."""

import importlib
import pathlib

import pytest

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """Imports a script by its name."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module
