"""Reading MATLAB files in worker processes: what is read and refused, and how the workers end."""

import io
import os
import pathlib
import signal
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
import scipy.io

from input_pipeline.errors import WorkerError
from input_pipeline.prepare import mat_files
from tests.input_pipeline.prepare.conftest import mat
from tests.support.commands import REPOSITORY

IDS = np.arange(35, dtype=np.uint8).reshape(5, 7)


@pytest.fixture(scope="module")
def readers():
    with mat_files.MatReaders(1) as readers:
        yield readers


def saved(variables, **options):
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables, **options)
    return buffer.getvalue()


def workers(parent):
    """The worker processes of a process."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            of = int(path.read_text().rpartition(") ")[2].split()[1])
            command = (path.parent / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if of == parent and "mat_worker.py" in command:
            found.append(int(path.parent.name))
    return found


def wait(condition):
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("ids", [IDS, IDS.T, IDS[:1, :3], np.zeros((0, 4), np.uint8)])
def test_reads_what_was_written(readers, ids, compressed):
    """Also behind other variables and fields, and where four bytes fit into a tag."""
    variables = {"other": np.ones(3), "GTcls": {"A": {"B": "text"}, "E": [], "Segmentation": ids}}
    data = saved(variables, do_compression=compressed)
    np.testing.assert_array_equal(readers.read_field(data, "GTcls", "Segmentation"), ids)


def test_reads_files_like_those_of_sbd(readers):
    """Sparse boundaries in cells come before the mask."""
    ids = np.where(IDS % 3 == 0, 255, IDS % 4).astype(np.uint8)
    np.testing.assert_array_equal(readers.read_field(mat(ids), "GTcls", "Segmentation"), ids)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"other": IDS}, "no variable GTcls"),
        ({"GTcls": IDS}, "not a 1x1 struct"),
        ({"GTcls": {"Other": IDS}}, "no field Segmentation"),
        (
            {"GTcls": {"Segmentation": IDS.astype(float)}},
            r"float64 of shape \(5, 7\)",
        ),
        ({"GTcls": {"Segmentation": "text"}}, "not an 8-bit matrix"),
        (
            {"GTcls": {"Segmentation": IDS[None]}},
            r"uint8 of shape \(1, 5, 7\)",
        ),
        ({"GTcls": {"Segmentation": {"A": IDS}}}, "not an 8-bit matrix"),
    ],
)
def test_other_contents_are_refused(readers, variables, message):
    with pytest.raises(ValueError, match=message):
        readers.read_field(saved(variables), "GTcls", "Segmentation")


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_may_end_anywhere(readers, compressed):
    data = saved({"GTcls": {"Segmentation": IDS}}, do_compression=compressed)
    for length in range(len(data) - (0 if compressed else 8)):
        with pytest.raises(ValueError):
            readers.read_field(data[:length], "GTcls", "Segmentation")


def test_sizes_that_no_mask_has_are_refused(readers):
    packed = zlib.compress(bytes(2**27))
    bomb = saved({"x": 1})[:128] + struct.pack("<II", 15, len(packed)) + packed
    data = bytearray(saved({"GTcls": {"Segmentation": IDS}}))
    shape = data.index(struct.pack("<II", 5, 7))
    hostile = [bomb]
    for sizes in ((2**31 - 1, 2**31 - 1), (-5, -7), (0, 7)):
        data[shape : shape + 8] = struct.pack("<ii", *sizes)
        hostile.append(bytes(data))
    for each in hostile:
        with pytest.raises(ValueError):
            readers.read_field(each, "GTcls", "Segmentation")


def test_a_file_that_ends_its_worker_is_refused_and_the_next_one_read():
    others = workers(os.getpid())
    with mat_files.MatReaders(1) as readers:
        readers.read_field(mat(IDS), "GTcls", "Segmentation")
        (first,) = set(workers(os.getpid())).difference(others)
        os.kill(first, signal.SIGSEGV)
        with pytest.raises(ValueError, match=r"SciPy's reader was ended by SIGSEGV"):
            readers.read_field(mat(IDS), "GTcls", "Segmentation")
        found = readers.read_field(mat(IDS), "GTcls", "Segmentation")
        np.testing.assert_array_equal(found, IDS)
        (second,) = set(workers(os.getpid())).difference(others)
        assert second != first
    assert workers(os.getpid()) == others


def test_workers_that_cannot_start_are_no_fault_of_the_file(tmp_path, monkeypatch):
    program = tmp_path / "worker.py"
    program.write_text("import no_such_package\n")
    monkeypatch.setattr(mat_files, "_PROGRAM", program)
    with (
        mat_files.MatReaders(1) as readers,
        pytest.raises(WorkerError, match=r"ended with code 1 while it started\. Does .*scipy\.io"),
    ):
        readers.read_field(mat(IDS), "GTcls", "Segmentation")


def test_a_worker_loads_nothing_of_this_project():
    code = "import runpy, sys; runpy.run_path(sys.argv[1])['import_reader'](); print(*sys.modules)"
    command = [sys.executable, "-P", "-c", code, mat_files._PROGRAM]
    modules = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert "scipy.io" in modules
    packages = {name.partition(".")[0] for name in modules}
    assert not packages & {"jax", "tensorflow", "tensorflow_datasets", "input_pipeline", "rcc_jax"}


def start_preparation(folder, archives, last):
    """A preparation that waits in the mask `last`, with a worker that has read others."""
    for files in (archives.voc, archives.sbd):
        files.unpack(folder)
    path = folder / f"benchmark_RELEASE/dataset/cls/{last}.mat"
    path.unlink()
    os.mkfifo(path)
    flags = [f"--source={folder}", f"--data_dir={folder / 'data'}", "--allow_counts"]
    process = subprocess.Popen(
        [sys.executable, "-m", "input_pipeline.prepare", "pascal", *flags],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    masks = folder / "data/pascal/masks.partial"
    wait(lambda: (masks / f"{archives.coarse[0]}.png").exists() or process.poll() is not None)
    (worker,) = workers(process.pid)
    return process, worker


def test_workers_die_with_their_parent(pascal, tmp_path):
    process, worker = start_preparation(tmp_path, pascal, pascal.coarse[-1])
    process.kill()
    process.communicate()
    wait(lambda: not os.path.exists(f"/proc/{worker}"))


def test_ctrl_c_is_one_line(pascal, tmp_path):
    process, worker = start_preparation(tmp_path, pascal, pascal.coarse[-1])
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "interrupted; the same command resumes.\n"
    assert not os.path.exists(f"/proc/{worker}")
