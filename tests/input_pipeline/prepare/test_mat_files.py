"""The reader of MATLAB files, on files that SciPy writes."""

import io
import struct
import zlib

import numpy as np
import pytest
import scipy.io

from input_pipeline.prepare.mat_files import read_field
from tests.input_pipeline.prepare.conftest import mat

IDS = np.arange(35, dtype=np.uint8).reshape(5, 7)


def saved(variables, **options):
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("ids", [IDS, IDS.T, IDS[:1, :3], np.zeros((0, 4), np.uint8)])
def test_reads_what_was_written(ids, compressed):
    """Also behind other variables and fields, and where four bytes fit into a tag."""
    variables = {"other": np.ones(3), "GTcls": {"A": {"B": "text"}, "E": [], "Segmentation": ids}}
    data = saved(variables, do_compression=compressed)
    np.testing.assert_array_equal(read_field(data, "GTcls", "Segmentation"), ids)


def test_reads_files_like_those_of_sbd():
    """Sparse boundaries in cells stand before the mask."""
    ids = np.where(IDS % 3 == 0, 255, IDS % 4).astype(np.uint8)
    np.testing.assert_array_equal(read_field(mat(ids), "GTcls", "Segmentation"), ids)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"other": IDS}, "no variable GTcls"),
        ({"GTcls": IDS}, "no 1x1 struct"),
        ({"GTcls": {"Other": IDS}}, "no field Segmentation"),
        ({"GTcls": {"Segmentation": IDS.astype(float)}}, "class 6, expected is uint8"),
        ({"GTcls": {"Segmentation": "text"}}, "class 4, expected is uint8"),
    ],
)
def test_other_contents_are_refused(variables, message):
    with pytest.raises(ValueError, match=message):
        read_field(saved(variables), "GTcls", "Segmentation")


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_may_end_anywhere(compressed):
    data = saved({"GTcls": {"Segmentation": IDS}}, do_compression=compressed)
    for length in range(len(data) - (0 if compressed else 8)):
        with pytest.raises(ValueError):
            read_field(data[:length], "GTcls", "Segmentation")


def test_little_that_becomes_much_is_refused():
    packed = zlib.compress(bytes(2**27))
    data = saved({"x": 1})[:128] + struct.pack("<II", 15, len(packed)) + packed
    with pytest.raises(ValueError, match="once decompressed"):
        read_field(data, "GTcls", "Segmentation")


def test_compression_inside_of_compression_is_refused():
    """One that unpacks to itself would never end."""
    data = saved({"GTcls": {"Segmentation": IDS}}, do_compression=True)
    packed = zlib.compress(data[128:])
    with pytest.raises(ValueError, match="type 15 where an array"):
        read_field(data[:128] + struct.pack("<II", 15, len(packed)) + packed, "GTcls", "x")


def test_sizes_whose_product_overflows_are_refused():
    data = bytearray(saved({"GTcls": {"Segmentation": IDS}}))
    shape = data.index(struct.pack("<II", 5, 7))
    for sizes in ((2**31 - 1, 2**31 - 1), (-5, -7), (0, 7)):
        data[shape : shape + 8] = struct.pack("<ii", *sizes)
        with pytest.raises(ValueError, match="shape"):
            read_field(bytes(data), "GTcls", "Segmentation")
