"""Faults in a configuration file of the user's own: where they are, in one line."""

import pytest

from tests.support.commands import REPOSITORY, finish, start

FOLDER = "from configs import folder\ndef get_config(arguments=None):\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def get_config(a=None)\n  return 1\n", ["expected ':'", "own.py, line 1"]),
        ("x = 1\n", ["no function get_config"]),
        (f"{FOLDER}    return undefined\n", ["NameError: name 'undefined'", "own.py, line 3"]),
        ("import no_such\n", ["No module named 'no_such'", "own.py, line 1"]),
        (f"{FOLDER}    return {{}}\n", ["get_config returns dict"]),
        (
            f"{FOLDER}    c = folder.get_config()\n    c.train.num_step = 3\n    return c\n",
            ["sets config.train.num_step", "did you mean config.train.num_steps?"],
        ),
        (
            f"{FOLDER}    c = folder.get_config()\n    c.train.num_steps = 'x'\n    return c\n",
            ["TypeError", "own.py, line 4"],
        ),
        (
            f"{FOLDER}    c = folder.get_config()\n    c.trian.num_steps = 3\n    return c\n",
            ["AttributeError: 'trian' (", "own.py, line 4"],
        ),
        (f"{FOLDER}    return\n", ["get_config returns NoneType"]),
        ("def get_config(): return 1 / 0\n", ["ZeroDivisionError", "own.py, line 1"]),
        (f"{FOLDER}    raise OSError(2, 'gone', 'x')\n", ["gone: 'x'", "own.py, line 3"]),
        (
            f"{FOLDER}    c = folder.get_config()\n    del c.eval\n    return c\n",
            ["lacks config.eval."],
        ),
    ],
)
def test_fault_in_a_file(tmp_path, text, said):
    (tmp_path / "own.py").write_text(text)
    (tmp_path / "configs").symlink_to(REPOSITORY / "configs")
    output, errors = finish(start("--config=own.py", folder=tmp_path), 2)
    assert output == ""
    assert errors.startswith("error: --config=own.py: ")
    assert errors.count("\n") == 1
    assert all(each in errors for each in said), errors
