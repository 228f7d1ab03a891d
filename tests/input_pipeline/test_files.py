"""Files that are whole or absent, and the first line of an error."""

import subprocess
import sys

import pytest

from input_pipeline.errors import first_line
from input_pipeline.files import write_atomically


def test_write_atomically_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    write_atomically(path, "früh, and longer than what follows")
    write_atomically(path, b"sp\xc3\xa4t", durable=False)
    assert path.read_text(encoding="utf-8") == "spät"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("name", ["a" * 251 + ".png", "語" * 83 + ".png"])
def test_write_atomically_takes_the_longest_names(tmp_path, name):
    write_atomically(tmp_path / name, "x")
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_write_atomically_by_several_processes_at_a_time(tmp_path):
    path = tmp_path / "file.txt"
    code = (
        "import sys; from input_pipeline.files import write_atomically\n"
        "for _ in range(300): write_atomically(sys.argv[1], sys.argv[2] * 1000)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, path, text]) for text in "ab"]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    assert path.read_text() in ("a" * 1000, "b" * 1000)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\none line\nand a page"), "ValueError: one line"),
        (KeyError(), "KeyError"),
        (KeyError("a\nb"), "KeyError: a"),
        (AttributeError(KeyError("a\nb")), "AttributeError: a"),
        (OSError("x" * 1000), f"OSError: {'x' * 191}"),
    ],
)
def test_first_line(error, line):
    assert first_line(error) == line
