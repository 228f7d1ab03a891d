"""What `python -m build` makes: a source archive, and a wheel built from that archive."""

import json
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile

import pytest
import setuptools

from tests.support.commands import ENVIRONMENT, REPOSITORY, finish, free_port

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
    assert {
        "main.py",
        "tests/support/commands.py",
        "docs/demo.png",
        "requirements-dev.txt",
    } <= names


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """Starts `python -m rcc_jax` of the wheel in an environment that has its dependencies."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    (python,) = (folder / "venv" / "bin").glob("python")
    (packages,) = (folder / "venv").glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--quiet", f"--python={python}", "install", "--no-deps"]
    (wheel,) = built[1].glob("rcc_jax-*.whl")
    subprocess.run([*pip, "--no-index", wheel], check=True, timeout=300)
    (work := folder / "work").mkdir()

    def start(*arguments, program=("-m", "rcc_jax")):
        return subprocess.Popen(
            [python, *program, *arguments],
            cwd=work,
            env={name: value for name, value in ENVIRONMENT.items() if name != "PYTHONPATH"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start, work, packages


@pytest.mark.slow
def test_wheel_is_the_program(installed):
    start, work, packages = installed
    _, errors = finish(start(), 2)
    assert errors.count("  python -m rcc_jax --") == 3
    output, _ = finish(start("--help"))
    assert "python -m rcc_jax --mode=check --config=configs/folder.py" in output
    assert "--checkpoint: eval" in output
    _, errors = finish(start("--mode=check", "--config=folder", "--config.data.root=no"), 2)
    assert errors.startswith(f"error: data.root = 'no': there is no folder {work}/no.")

    # A sweep whose runs have worker processes, from a list of the user's own.
    (work / "configs").mkdir()
    (work / "configs" / "two.py").write_text(
        "from configs import common\n"
        "def get_config():\n"
        "    return common.sweep(['configs/demo.py:method=supervised', 'own:seed=1'])\n"
    )
    (work / "configs" / "own.py").write_text(
        "from configs import demo\n"
        "def get_config(arguments=None):\n"
        "    config = demo.get_config(f'{arguments},method=supervised')\n"
        "    config.data.name = 'own'\n"
        "    return config\n"
    )
    fields = (
        "model.backbone=resnet10", "model.width=4", "model.decoder_channels=8",
        "data.crop_size=17", "data.val=100000:100003", "data.num_workers=1",
        "train.batch_size=1", "train.num_steps=2", "eval.pictures=1",
        f"train.compilation_cache={work}/compiled",
    )  # fmt: skip
    flags = ["--mode=sweep", "--config=two", "--workdir=runs", *(f"--set={x}" for x in fields)]
    finish(start(*flags), timeout=900)
    run = work / "runs" / "own-seed=1"
    assert json.loads((run / "config.json").read_text())["data"]["name"] == "own"
    for folder in (run, work / "runs" / "demo-method=supervised"):
        assert json.loads((folder / "result.json").read_text())["step"] == 2
        assert (folder / "pictures" / "index.html").exists()
        # Not that of a repository around the environment.
        assert json.loads((folder / "environment.json").read_text())[0]["commit"] == "unknown"

    # Several processes.
    address = f"localhost:{free_port()}"
    flags = ["--mode=eval", f"--workdir={run}", "--distributed"]
    both = [start(*flags, f"{address},{index}/2") for index in (0, 1)]
    outputs = [finish(process)[0] for process in both]
    assert "student, step 2" in outputs[0]
    assert "student" not in outputs[1]  # Where a library may say that it is connected.

    # As a library, beside a package of the user's own that is called configs too.
    (work / "configs" / "__init__.py").write_text("raise ImportError('not that one')\n")
    code = (
        "import rcc_jax; print(rcc_jax.__file__); "
        f"print(rcc_jax.Segmenter.from_workdir({str(run)!r}).class_names[0])"
    )
    output, _ = finish(start(program=("-c", code)))
    assert output == f"{packages}/rcc_jax/__init__.py\nseabed\n"
