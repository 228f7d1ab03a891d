"""Memory in pages of 2 MiB instead of 4 KiB, which makes a training step on a CPU faster.

XLA allocates the arrays of a step anew in every step. With small pages Linux then answers hundreds
of thousands of page faults a step. glibc (from 2.35 on) asks for huge pages only if a variable says
so when the process starts.
"""

import os
import pathlib
import re
import sys
from collections.abc import Sequence

_SETTING = "glibc.malloc.hugetlb"
_VARIABLE = "GLIBC_TUNABLES"
_MODE = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


def ask() -> None:
    """Restarts this process with huge pages; it keeps its id, arguments and open files.

    Nothing happens where the system gives huge pages to all processes or to none, where the
    variable has the setting already, and where another program runs the script, such as a
    debugger or a notebook.
    """
    others = os.environ.get(_VARIABLE, "")
    if _SETTING in others or not _on_request() or not is_started_by_python(sys.orig_argv, sys.argv):
        return
    os.environ[_VARIABLE] = f"{others}:{_SETTING}=1".removeprefix(":")
    # Python finds its environment by the first word, which need not be a path as typed.
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def is_started_by_python(original: Sequence[str], arguments: Sequence[str]) -> bool:
    """Whether the script was started as `python FILE ...` or `python -m PACKAGE ...`.

    Args:
        original: `sys.orig_argv`; options of one letter may stand before the script.
        arguments: `sys.argv`.

    >>> is_started_by_python(["python", "-u", "main.py", "--help"], ["main.py", "--help"])
    True
    >>> is_started_by_python(["python", "-m", "pdb", "main.py"], ["main.py"])
    False
    """
    rest = list(original[1:])
    while rest and re.fullmatch("-[bBdEIOPqsSuvx]+", rest[0]):
        rest.pop(0)
    if rest[:1] == ["-m"] and len(rest) > 1:
        main = os.path.join(*rest[1].split("."), "__main__.py")
        return rest[2:] == list(arguments[1:]) and arguments[0].endswith(os.sep + main)
    return rest == list(arguments)


def _on_request() -> bool:
    try:
        return "[madvise]" in _MODE.read_text()
    except OSError:
        return False
