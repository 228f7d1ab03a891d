"""A small folder of images and masks that tests may damage."""

import pathlib

import numpy as np
import PIL.Image
import pytest

import input_pipeline


class Folder:
    """Nine images i/0.jpg .. i/8.jpg of 50x40 with masks m/0.png ..; ids 0, 1, 2 and 255."""

    def __init__(self, root: pathlib.Path):
        self.root = root
        (root / "i").mkdir()
        (root / "m").mkdir()
        rng = np.random.default_rng(0)
        for number in range(9):
            self.save(f"i/{number}.jpg", rng.integers(0, 256, (40, 50, 3)))
            mask = rng.integers(0, 3, (40, 50))
            mask[:4] = 255
            self.save(f"m/{number}.png", mask)
        self.write("labeled.txt", "".join(f"i/{n}.jpg m/{n}.png\n" for n in range(3)))
        self.write("val.txt", "".join(f"i/{n}.jpg m/{n}.png\n" for n in range(3, 5)))
        self.write("unlabeled.txt", "".join(f"i/{n}.jpg\n" for n in range(5, 9)))

    def save(self, name: str, pixels, mode: str | None = None) -> str:
        image = PIL.Image.fromarray(np.asarray(pixels, np.uint8))
        (image.convert(mode) if mode else image).save(self.root / name)
        return str(self.root / name)

    def write(self, name: str, text: str) -> str:
        (self.root / name).write_bytes(text.encode())
        return str(self.root / name)

    def open(self, **changes) -> input_pipeline.Partition:
        arguments = {
            "source": "folder",
            "root": str(self.root),
            "labeled": "labeled.txt",
            "unlabeled": "unlabeled.txt",
            "val": "val.txt",
            "num_classes": 3,
        }
        return input_pipeline.open_partition(**{**arguments, **changes})


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)
