"""Broken and hostile files: whatever the bytes, a reader gives a result or its one clean error.

`make fuzz` runs 100,000 inputs per reader ($FUZZ_INPUTS), the tests a few.
"""

import gzip
import io
import os
import pathlib
import tarfile
import zipfile

import hypothesis
import numpy as np
import PIL.Image
import pytest
import safetensors.numpy
import scipy.io
import scipy.sparse
from hypothesis import strategies as st

from input_pipeline.errors import DataError
from input_pipeline.partitions import lists
from input_pipeline.prepare import archives, masks, pascal
from input_pipeline.prepare.mat_files import MatReaders
from input_pipeline.sources.images import decode_image
from input_pipeline.sources.labels import LabelReader
from rcc_jax.models import state_dict_files

INPUTS = int(os.environ.get("FUZZ_INPUTS", "150"))
WANTED = archives.Wanted("a test", "x.zip", "*", "root", ("root",), "a")


def broken(*wholes: bytes) -> st.SearchStrategy[bytes]:
    """Bytes of any kind, and whole files with bytes changed, put in, left out or cut off."""
    return st.one_of(st.binary(max_size=64), *(_spoiled(whole) for whole in wholes))


def _spoiled(whole: bytes) -> st.SearchStrategy[bytes]:
    place = st.integers(0, len(whole))
    change = st.tuples(place, st.integers(0, 8), st.binary(max_size=8))

    def apply(changes, end):
        data = whole
        for start, length, new in changes:
            data = data[:start] + new + data[start + length :]
        return data[:end]

    return st.builds(apply, st.lists(change, max_size=3), st.one_of(st.none(), place))


def fuzz(function):
    """Runs a test on many inputs; a small number of inputs is the same each time."""
    return hypothesis.settings(
        max_examples=INPUTS,
        derandomize=INPUTS < 1000,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )(function)


def attempt(read, error_type, named: str):
    """The result of a reader; None if it refuses with its one error, which must name the file."""
    try:
        return read()
    except error_type as error:
        message = str(error)
    assert named in message
    return None


def encode(pixels, file_format, mode=None, **options) -> bytes:
    buffer = io.BytesIO()
    image = PIL.Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(buffer, file_format, **options)
    return buffer.getvalue()


GREY = np.arange(24, dtype=np.uint8).reshape(4, 6) % 3
COLOR = np.stack([GREY] * 3, -1) * 100
IMAGES = [encode(COLOR, name) for name in ("PNG", "JPEG", "BMP", "WEBP", "TIFF")]
MASKS = [encode(GREY, "PNG"), encode(GREY, "PNG", "P"), encode(GREY, "PNG", bits=2),
         encode(GREY, "TIFF"), encode(COLOR, "PNG")]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    made = tmp_path_factory.mktemp("fuzz") / "files"  # In a folder that holds nothing else.
    made.mkdir()
    return made


@fuzz
@hypothesis.given(broken(b"a.jpg b.png\nc.jpg\td e.png\r\n\n../x /etc/passwd\n", "é ü\n".encode()))
def test_lists(folder, data):
    path = folder / "list.txt"
    path.write_bytes(data)
    for read in (lists.read_pairs, lists.read_images):
        found = attempt(lambda r=read: list(r(str(path), field="x")), DataError, f"{path}")
        assert found is None or all(found)


@fuzz
@hypothesis.given(broken(*IMAGES))
def test_images(data):
    image = attempt(lambda: decode_image(data, "x.jpg"), DataError, "x.jpg: ")
    if image is not None:
        assert (image.ndim, image.shape[2], image.dtype) == (3, 3, np.uint8)


@fuzz
@hypothesis.given(broken(*MASKS))
def test_masks(data):
    for reader in (LabelReader(3), LabelReader(3, "", "#000000:0,#646464:1,*:255")):
        label = attempt(lambda r=reader: r.decode(data, "x.png"), DataError, "x.png: ")
        if label is not None:
            assert (label.ndim, label.dtype) == (2, np.uint8)
            assert ((label < 3) | (label == 255)).all()


def mat_file(compressed: bool) -> bytes:
    buffer = io.BytesIO()
    struct = {"Boundaries": scipy.sparse.csc_matrix(GREY), "Segmentation": GREY}
    scipy.io.savemat(buffer, {"GTcls": struct}, do_compression=compressed)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def readers():
    with MatReaders(1) as readers:
        yield readers


@fuzz
@hypothesis.given(broken(mat_file(compressed=False), mat_file(compressed=True)))
def test_mat_masks(readers, data):
    """Some of them crash SciPy's reader, and its worker with it."""
    label = attempt(lambda: pascal._decode_mat(readers, "x", data), DataError, "cls/x.mat")
    assert label is None or (label.ndim, label.dtype) == (2, np.uint8)


STATE = {"a.weight": np.ones((2, 3), np.float32), "b": np.arange(4)}


def npz_file() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **STATE)
    return buffer.getvalue()


@fuzz
@hypothesis.given(st.data())
@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pth"])
def test_weights(folder, weights, suffix, data):
    if suffix not in weights:
        pytest.skip("optional: no PyTorch")
    path = folder / f"weights{suffix}"
    path.write_bytes(data.draw(broken(weights[suffix])))
    state = attempt(lambda: state_dict_files.read(path), ValueError, str(path))
    assert state is None or all(isinstance(value, np.ndarray) for value in state.values())


@pytest.fixture(scope="module")
def weights() -> dict[str, bytes]:
    files = {".npz": npz_file(), ".safetensors": safetensors.numpy.save(STATE)}
    try:
        import torch
    except ImportError:
        return files
    buffer = io.BytesIO()
    torch.save({name: torch.from_numpy(value) for name, value in STATE.items()}, buffer)
    return files | {".pth": buffer.getvalue()}


MEMBERS = {"root/a.txt": b"one two", "root/b/c.png": MASKS[0], "other": b"x"}


def zip_file() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in MEMBERS.items():
            file.writestr(name, content)
    return buffer.getvalue()


def tar_file() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name, content in MEMBERS.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("root/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
    return buffer.getvalue()


ARCHIVES = {
    "x.zip": (archives.Zip, zip_file()),
    "x.tar": (archives.Tar, tar_file()),
    "x.tgz": (archives.CompressedTar, gzip.compress(tar_file(), mtime=0)),
}


@fuzz
@hypothesis.given(st.data())
@pytest.mark.parametrize("name", ARCHIVES)
def test_archives(folder, name, data):
    kind, whole = ARCHIVES[name]
    path = folder / name
    path.write_bytes(data.draw(broken(whole)))
    before = sorted(folder.parent.rglob("*"))
    found = attempt(lambda: _contents(kind, path), DataError, str(path))
    # A link leads to /etc/passwd.
    assert not any(b"root:x:0" in content for content in found or ())
    assert sorted(folder.parent.rglob("*")) == before


def _contents(kind, path) -> list[bytes]:
    with kind(str(path), WANTED) as archive:
        return [content for _, content in archive.stream(lambda _: True)]


@pytest.mark.parametrize("name", ["../x", "a/b", "/etc/x", "", ".", "..", ".x", "a\0b", "a" * 300])
def test_no_name_of_an_archive_leads_out_of_the_folder(tmp_path, name):
    folder = masks.MaskFolder(str(tmp_path / "m"), "origin")
    with pytest.raises(DataError, match="take the official archives"):
        folder.convert([(name, b"")], lambda *_: GREY, total=1, title="masks", num_threads=1)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["m", "origin.txt"]


def test_files_in_archives_have_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_FILE", 6)
    for name, (kind, whole) in ARCHIVES.items():
        (tmp_path / name).write_bytes(whole)
        with (
            pytest.raises(DataError, match="has 7 bytes, which no file of a test has"),
            kind(str(tmp_path / name), WANTED) as archive,
        ):
            archive.read("a.txt")


class Armed:
    """Unpickled, it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (pathlib.Path.touch, (self.path,))


@pytest.mark.parametrize("suffix", [".npz", ".pth"])
def test_weights_are_not_unpickled(tmp_path, suffix, weights):
    if suffix not in weights:
        pytest.skip("optional: no PyTorch")
    path, trace = tmp_path / f"weights{suffix}", tmp_path / "trace"
    armed = Armed(trace)
    if suffix == ".npz":
        np.savez(path, a=np.array([armed], object), allow_pickle=True)
    else:
        import torch

        torch.save({"a": armed}, path)
    with pytest.raises(ValueError, match="cannot read weights"):
        state_dict_files.read(path)
    assert not trace.exists()
