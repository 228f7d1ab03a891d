"""The names of the program's own files."""

import sys

import pytest

from rcc_jax import shipped


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("configs/demo.py", "SHIPPED/demo.py"),
        ("./configs/demo.py:seed=1", "SHIPPED/demo.py:seed=1"),
        ("sweeps/camvid:part=main,size=cpu", "SHIPPED/sweeps/camvid.py:part=main,size=cpu"),
        ("sweeps/camvid.py", "SHIPPED/sweeps/camvid.py"),
        ("pascal_1_16", "SHIPPED/pascal_1_16.py"),
        ("common", "configs/common.py"),
        ("near.py:x", "near.py:x"),
        ("folder", "SHIPPED/folder.py"),
        *(
            (given, given)
            for given in ("", ".", ":x", "no", "configs", "/demo.py", "configs/no.py")
        ),
    ],
)
def test_names(given, found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()  # No file, so it is not meant.
    (tmp_path / "configs").mkdir()
    for name in ("configs/common.py", "near.py"):
        (tmp_path / name).write_text("")
    assert shipped.find(given) == found.replace("SHIPPED", str(shipped.CONFIGS))


def test_fields_are_those_that_ship_whatever_is_called_configs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "configs", None)  # Importing it fails.
    shipped.load.cache_clear()
    (tmp_path / "config.json").write_text('{"seed": 7}')
    assert shipped.load("recorded").get_config(tmp_path).seed == 7
