"""Images of every kind are read as RGB; errors name corrupt ones."""

import io
import zlib

import numpy as np
import PIL.Image
import pytest

from input_pipeline.errors import DataError
from input_pipeline.sources import images, orientation


@pytest.fixture
def pixels():
    rng = np.random.default_rng(1)
    return np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "jpg", "webp"])
def test_rgb_equals_pillow(tmp_path, pixels, suffix):
    path = tmp_path / f"x.{suffix}"
    PIL.Image.fromarray(pixels).save(path)
    with PIL.Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))
    result = images.read_image(str(path))
    assert result.dtype == np.uint8
    np.testing.assert_allclose(result.astype(int), expected, atol=1)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("L", "png"), ("RGBA", "png"), ("P", "png"), ("1", "png"), ("L", "jpg"), ("CMYK", "jpg")],
)
def test_other_modes_become_rgb(tmp_path, pixels, mode, suffix):
    path = tmp_path / f"x.{suffix}"
    stored = PIL.Image.fromarray(pixels).convert(mode)
    stored.save(path)
    result = images.read_image(str(path))
    assert result.shape == (48, 64, 3)
    with PIL.Image.open(path) as image:
        expected = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(result - expected).mean() < 2


def test_16_bit_png_keeps_the_high_byte(tmp_path, pixels):
    path = tmp_path / "x.png"
    PIL.Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(path)
    np.testing.assert_array_equal(images.read_image(str(path))[..., 1], pixels[..., 0])


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_exif_rotation_is_not_carried_out(tmp_path, pixels, suffix):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # Orientation: a quarter turn.
    path = tmp_path / f"x.{suffix}"
    PIL.Image.fromarray(pixels).save(path, exif=exif)
    assert images.read_image(str(path)).shape == (48, 64, 3)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.97])
def test_truncated_file(tmp_path, pixels, suffix, kept):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    PIL.Image.fromarray(noise).save(buffer, {"jpg": "JPEG", "png": "PNG"}[suffix])
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * kept)])
    with pytest.raises(DataError, match=rf"x\.{suffix}: not a readable image"):
        images.read_image(str(path))


def test_bytes_behind_the_end_of_a_jpeg_are_harmless(tmp_path, pixels):
    path = tmp_path / "x.jpg"
    PIL.Image.fromarray(pixels).save(path)
    expected = images.read_image(str(path))
    path.write_bytes(path.read_bytes() + b"\0\0junk")
    np.testing.assert_array_equal(images.read_image(str(path)), expected)


def test_missing_empty_and_foreign_files(tmp_path):
    with pytest.raises(DataError, match=r"none\.jpg: cannot be read: No such file"):
        images.read_image(str(tmp_path / "none.jpg"))
    (tmp_path / "x.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"x\.jpg: the file is empty \(0 bytes\)"):
        images.read_image(str(tmp_path / "x.jpg"))
    (tmp_path / "x.jpg").write_bytes(b"<html>404</html>")
    with pytest.raises(DataError, match=r"x\.jpg: not a readable image"):
        images.read_image(str(tmp_path / "x.jpg"))
    PIL.Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(DataError, match=r"x\.tif: image mode 'F'"):
        images.read_image(str(tmp_path / "x.tif"))


def test_a_header_that_claims_too_many_pixels_is_refused_before_memory_is_reserved(tmp_path):
    PIL.Image.new("L", (2, 2)).save(tmp_path / "x.png")
    data = bytearray((tmp_path / "x.png").read_bytes())
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(DataError, match="60000x60000 pixels, more than the limit"):
        orientation.read_header(str(tmp_path / "x.png"))
