"""Huge pages: a process that starts again, and those that must not."""

import os
import platform
import subprocess
import sys

import pytest

from rcc_jax.commands import huge_pages
from tests.support.commands import ENVIRONMENT, REPOSITORY


@pytest.mark.parametrize(
    ("original", "arguments", "expected"),
    [
        (["python", "main.py", "--mode=check"], ["main.py", "--mode=check"], True),
        (["python", "-u", "-OO", "main.py"], ["main.py"], True),
        (["python", "-m", "rcc_jax", "--help"], ["/lib/rcc_jax/__main__.py", "--help"], True),
        (["python", "-m", "pdb", "main.py"], ["main.py"], False),
        (["python", "-m", "cProfile", "main.py"], ["main.py"], False),
        (["python", "-c", "...", "main.py"], ["-c", "main.py"], False),
        (["python", "-m", "ipykernel", "-f", "x"], ["main.py"], False),
        (["python", "-m"], ["main.py"], False),
        (["python"], [""], False),
    ],
)
def test_only_the_usual_starts_are_repeated(original, arguments, expected):
    assert huge_pages.is_started_by_python(original, arguments) is expected


PRINTED = """
import os, pathlib, sys
sys.path.insert(0, {repository!r})
from rcc_jax.commands import huge_pages
huge_pages._MODE = pathlib.Path({mode!r})
print(os.getpid(), flush=True)
huge_pages.ask()
print(os.environ.get("GLIBC_TUNABLES"), *sys.argv[1:])
"""


def printed(folder, mode, **variables):
    """The lines of a script that asks for huge pages on a system of this mode."""
    (folder / "mode").write_text(mode)
    script = folder / "script.py"
    script.write_text(PRINTED.format(repository=str(REPOSITORY), mode=str(folder / "mode")))
    environment = {k: v for k, v in ENVIRONMENT.items() if k != "GLIBC_TUNABLES"}
    done = subprocess.run(
        [sys.executable, script, "a b", "c"],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_the_same_process_starts_once_more(tmp_path):
    first, second, last = printed(tmp_path, "always [madvise] never\n")
    assert first == second
    assert last == "glibc.malloc.hugetlb=1 a b c"


def test_other_settings_stay(tmp_path):
    lines = printed(tmp_path, "always [madvise] never\n", GLIBC_TUNABLES="glibc.malloc.perturb=0")
    assert lines[-1] == "glibc.malloc.perturb=0:glibc.malloc.hugetlb=1 a b c"


@pytest.mark.parametrize("mode", ["[always] madvise never\n", "always madvise [never]\n"])
def test_nothing_happens_where_the_system_has_decided(tmp_path, mode):
    assert printed(tmp_path, mode)[1:] == ["None a b c"]


def test_a_user_who_has_set_it_is_obeyed(tmp_path):
    lines = printed(tmp_path, "always [madvise] never", GLIBC_TUNABLES="glibc.malloc.hugetlb=0")
    assert lines[1:] == ["glibc.malloc.hugetlb=0 a b c"]


@pytest.mark.skipif(not huge_pages._on_request(), reason="needs a Linux that asks for huge pages")
@pytest.mark.parametrize("start", [[REPOSITORY / "main.py"], ["-m", "rcc_jax"]])
def test_the_program_asks(tmp_path, start):
    """A configuration file, which is a program of Python, sees the variable."""
    config = tmp_path / "config.py"
    config.write_text("import os; raise ValueError(os.environ.get('GLIBC_TUNABLES'))\n")
    environment = {k: v for k, v in ENVIRONMENT.items() if k != "GLIBC_TUNABLES"}
    done = subprocess.run(
        [sys.executable, *start, f"--config={config}"],
        env={**environment, "PYTHONPATH": str(REPOSITORY)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ValueError: glibc.malloc.hugetlb=1" in done.stderr


FAULTS = """
import ctypes, resource
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
size = 64 << 20
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
ctypes.memset(ctypes.c_void_p(libc.malloc(ctypes.c_size_t(size))), 1, size)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_the_setting_saves_page_faults():
    libc, version = platform.libc_ver()
    if libc != "glibc" or tuple(map(int, version.split("."))) < (2, 35):
        pytest.skip("needs glibc 2.35")
    if not huge_pages._on_request():
        pytest.skip("needs a Linux that gives huge pages on request")
    faults = [
        int(
            subprocess.run(
                [sys.executable, "-c", FAULTS],
                env={**os.environ, "GLIBC_TUNABLES": f"glibc.malloc.hugetlb={on}"},
                capture_output=True,
                check=True,
            ).stdout
        )
        for on in (0, 1)
    ]
    assert faults[1] < faults[0] / 2
