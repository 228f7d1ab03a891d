"""What `python -m build` makes: a source archive, and a wheel built from that archive."""

import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import pytest
import setuptools

from tests.commands import REPOSITORY

PACKAGES = ("rcc_jax", "input_pipeline", "configs")
FOLDERS = (*PACKAGES, "benchmarks", "docs", "launch", "tests")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The tree that was built, and the folder of the two archives."""
    folder = tmp_path_factory.mktemp("package")
    # A copy: a build leaves folders behind in the tree.
    leave_out = shutil.ignore_patterns(".*", "runs", "data", "build", "*.egg-info", "__pycache__")
    source = shutil.copytree(REPOSITORY, folder / "source", ignore=leave_out)
    command = [sys.executable, "-m", "build", f"--outdir={folder / 'dist'}", source]
    subprocess.run(command, check=True, timeout=300)
    return source, folder / "dist"


def files(source, folders, pattern):
    return {
        str(path.relative_to(source))
        for folder in folders
        for path in (source / folder).rglob(pattern)
        if path.is_file()
    }


def test_every_folder_of_modules_is_shipped():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    finder = project["tool"]["setuptools"]["packages"]["find"]
    # As setuptools reads that table, where folders without __init__.py count by default.
    assert finder.keys() <= {"include"}
    shipped = setuptools.find_namespace_packages(str(REPOSITORY), **finder)
    folders = {
        ".".join(path.parent.relative_to(REPOSITORY).parts)
        for package in PACKAGES
        for path in (REPOSITORY / package).rglob("*.py")
    }
    assert {"rcc_jax.models", "input_pipeline.prepare", "configs.sweeps"} <= folders
    assert folders <= set(shipped)
    assert {name.split(".")[0] for name in shipped} == set(PACKAGES)


@pytest.mark.slow  # fetches the build backend from the package index
def test_wheel_holds_the_packages_and_nothing_else(built):
    source, folder = built
    with zipfile.ZipFile(*folder.glob("rcc_jax-*.whl")) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        metadata = next(name for name in wheel.namelist() if name.endswith("/METADATA"))
        required = wheel.read(metadata).decode()
    assert names == files(source, PACKAGES, "*.py")
    assert {"configs/sweeps/components.py", "rcc_jax/models/resnet.py"} <= names
    assert "Requires-Dist: jax<0.13,>=0.10" in required


@pytest.mark.slow
def test_source_archive_holds_what_the_makefile_needs(built):
    source, folder = built
    with tarfile.open(*folder.glob("rcc_jax-*.tar.gz")) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    names = {name for name in names if ".egg-info/" not in name}
    generated = {"PKG-INFO", "setup.cfg"}
    root = {path.name for path in source.glob("*.*") if path.is_file()} | {"LICENSE", "Makefile"}
    # MANIFEST.in itself is in it; of the root nothing is left out.
    assert names - generated == files(source, FOLDERS, "*") | root
    assert {"main.py", "tests/commands.py", "docs/demo.png", "requirements-dev.txt"} <= names
