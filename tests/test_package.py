"""What `pip install .` installs."""

import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.commands import REPOSITORY


@pytest.mark.slow  # fetches the build backend from the package index
def test_wheel_holds_the_packages_and_nothing_else(tmp_path):
    source, wheels = tmp_path / "source", tmp_path / "wheels"
    # A copy: a build leaves folders behind in the tree.
    leave_out = shutil.ignore_patterns(".*", "runs", "data", "build", "*.egg-info", "__pycache__")
    shutil.copytree(REPOSITORY, source, ignore=leave_out)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*command, f"--wheel-dir={wheels}", source], check=True, timeout=300)
    with zipfile.ZipFile(*wheels.glob("rcc_jax-*.whl")) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        metadata = next(name for name in wheel.namelist() if name.endswith("/METADATA"))
        required = wheel.read(metadata).decode()
    packages = ("rcc_jax", "input_pipeline", "configs")
    expected = {
        str(path.relative_to(source))
        for package in packages
        for path in (source / package).rglob("*.py")
    }
    assert names == expected
    assert {"configs/sweeps/components.py", "rcc_jax/models/resnet.py"} <= names
    assert "Requires-Dist: jax<0.13,>=0.10" in required
