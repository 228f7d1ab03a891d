"""The command line: one clear line for every mistake, and exit code 2."""

import os
import pathlib
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]


def run(*flags, folder=REPOSITORY):
    return subprocess.run(
        [sys.executable, REPOSITORY / "main.py", *flags],
        cwd=folder,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], ["--config is missing", "--config=configs/demo.py"]),
        (["--config=configs/dmo.py"], ["--config=configs/dmo.py", "no such file"]),
        (
            ["--config=configs/demo.py", "--config.train.batchsize=4"],
            ["--config.train.batchsize", "did you mean --config.train.batch_size?"],
        ),
        (
            ["--config=configs/demo.py", "--config.train.batch_size=x"],
            ["--config.train.batch_size=x", "int"],
        ),
    ],
)
def test_a_mistake_is_one_clear_line(flags, said):
    result = run(*flags)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert all(text in result.stderr for text in said)


def test_workdir_is_named_after_config_and_arguments(tmp_path):
    # Evaluation of a run that does not exist says where it looked.
    config = REPOSITORY / "configs" / "demo.py"
    result = run(f"--config={config}:method=unimatch,seed=2", "--mode=eval", folder=tmp_path)
    assert result.returncode == 2
    workdir = tmp_path / "runs" / "demo-method=unimatch,seed=2"
    assert result.stderr.startswith(f"error: --workdir={workdir}: there is no such folder")
    assert result.stdout == ""
    assert not list(tmp_path.iterdir())
