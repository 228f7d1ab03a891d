"""A smaller copy of a folder: masks keep ids, photographs are averaged, lists stay."""

import numpy as np
import PIL.Image
import pytest

from input_pipeline.prepare.__main__ import main
from input_pipeline.sources import images, labels


def test_masks_keep_their_ids_and_photographs_are_averaged(tmp_path):
    source, output = tmp_path / "all", tmp_path / "half"
    (source / "x").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (7, 8, 3)).astype(np.uint8)
    ids = np.where(pixels[..., 0] < 128, 3, 255).astype(np.uint8)
    PIL.Image.fromarray(pixels).save(source / "x" / "photo.png")
    PIL.Image.fromarray(pixels).save(source / "x" / "photo.jpg")
    PIL.Image.fromarray(ids).save(source / "x" / "mask.png")
    palette = PIL.Image.fromarray(ids).convert("P")
    palette.putpalette([7] * 768)
    palette.save(source / "x" / "palette.png")
    (source / "val.txt").write_text("x/photo.jpg x/mask.png\n")

    assert main(["shrink", f"--source={source}", f"--output={output}"]) == 0
    assert (output / "val.txt").read_text() == "x/photo.jpg x/mask.png\n"
    assert images.read_image(str(output / "x" / "photo.jpg")).shape == (3, 4, 3)
    photo = images.read_image(str(output / "x" / "photo.png")).astype(float)
    # Seven rows become three, so only the columns are whole pairs.
    assert abs(photo.mean() - pixels.mean()) < 5
    assert photo.std() < 0.7 * pixels.std()
    for name in ("mask.png", "palette.png"):
        stored = labels.stored_mask((output / "x" / name).read_bytes(), name, as_colors=False)
        assert stored.size == (3, 4)
        assert set(np.flatnonzero(stored.values)) == {3, 255}


def test_masks_in_colours_and_of_few_bits_keep_their_classes(tmp_path):
    source, output = tmp_path / "all", tmp_path / "half"
    source.mkdir()
    ids = np.arange(256).reshape(16, 16) // 8 % 4
    colors = np.array([[0, 0, 0], [128, 0, 0], [0, 200, 0], [9, 9, 255]], np.uint8)
    PIL.Image.fromarray(colors[ids]).save(source / "colour.png")
    for bits, factor in ((2, 85), (4, 17)):
        PIL.Image.fromarray((ids * factor).astype(np.uint8)).save(source / f"{bits}.png", bits=bits)
    assert main(["shrink", f"--source={source}", f"--output={output}"]) == 0
    with PIL.Image.open(output / "colour.png") as image:
        assert {color for _, color in image.getcolors()} <= set(map(tuple, colors.tolist()))
    for name in ("2.png", "4.png"):
        whole = labels.LabelReader(4).read(str(source / name))
        np.testing.assert_array_equal(whole, ids)
        half = labels.LabelReader(4).read(str(output / name))
        np.testing.assert_array_equal(half, whole[1::2, 1::2])


def test_a_file_that_cannot_be_written_is_no_fault_of_the_source(tmp_path, capsys):
    source, output = tmp_path / "all", tmp_path / "half"
    source.mkdir()
    PIL.Image.new("RGB", (8, 6)).save(source / "photo.jpg")
    (output / "photo.jpg").mkdir(parents=True)
    assert main(["shrink", f"--source={source}", f"--output={output}"]) == 2
    said = capsys.readouterr().err
    assert said == f"error: {output}/photo.jpg: cannot be written (Is a directory).\n"
    assert list(output.iterdir()) == [output / "photo.jpg"]


def test_folders_behind_links_are_copied_too(tmp_path, capsys):
    source, output = tmp_path / "linked", tmp_path / "half"
    (tmp_path / "elsewhere").mkdir()
    PIL.Image.new("RGB", (8, 6)).save(tmp_path / "elsewhere" / "photo.jpg")
    source.mkdir()
    (source / "images").symlink_to(tmp_path / "elsewhere")
    (source / "again").symlink_to(source)
    assert main(["shrink", f"--source={source}", f"--output={output}"]) == 0
    assert capsys.readouterr().out == f"{output}: 1 images and masks, 0 lists\n"
    assert images.read_image(str(output / "images" / "photo.jpg")).shape == (3, 4, 3)


def test_a_folder_without_images_is_named(tmp_path, capsys):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "val.txt").write_text("")
    flags = [f"--source={tmp_path}/lists", f"--output={tmp_path}/half"]
    assert main(["shrink", *flags]) == 2
    assert f"--source={tmp_path}/lists: no image there." in capsys.readouterr().err
    assert not (tmp_path / "half").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--source={root}/no", "--output={root}/out"], "--source={root}/no: no such folder"),
        (["--source={root}", "--output={root}/out"], "lies in --source"),
        (["--source={root}", "--output={root}/../out", "--factor=1"], "must be at least 2"),
        (["--source={root}", "--output={root}/../out"], "broken.jpg: neither an image nor a list"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, flags, said):
    root = tmp_path / "data"
    root.mkdir()
    (root / "broken.jpg").write_bytes(b"no image")
    assert main(["shrink", *(flag.format(root=root) for flag in flags)]) == 2
    errors = capsys.readouterr().err
    assert said.format(root=root) in errors
    assert errors.count("\n") == 1
