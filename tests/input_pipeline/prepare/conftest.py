"""Miniature archives in the exact official layouts."""

import io
import pathlib
import tarfile
import zipfile

import cv2
import numpy as np
import PIL.Image
import pytest
import scipy.io
import scipy.sparse

SIZE = (30, 40)  # height, width


class Files(dict):
    """What an archive holds: name to bytes. Random pictures and masks are the same every time."""

    def __init__(self):
        super().__init__()
        self.rng = np.random.default_rng(0)

    def image(self, suffix: str) -> bytes:
        pixels = self.rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8)
        return cv2.imencode(suffix, pixels)[1].tobytes()

    def ids(self, values) -> np.ndarray:
        coarse = self.rng.choice(values, (3, 4))
        return np.kron(coarse, np.ones((10, 10))).astype(np.uint8)

    def tar(self, path: pathlib.Path, mode: str = "w") -> pathlib.Path:
        with tarfile.open(path, mode) as file:
            for name, data in self.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                file.addfile(member, io.BytesIO(data))
        return path

    def zip(self, path: pathlib.Path) -> pathlib.Path:
        with zipfile.ZipFile(path, "w") as file:
            for name, data in self.items():
                file.writestr(name, data)
        return path

    def unpack(self, folder: pathlib.Path) -> None:
        for name, data in self.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)


def png(ids: np.ndarray, mode: str = "L") -> bytes:
    """A mask as VOC ('P', with a palette) or Cityscapes ('L') stores it."""
    mask = PIL.Image.fromarray(ids)
    if mode == "P":
        mask.putpalette(np.random.default_rng(1).integers(0, 256, 768).astype(np.uint8).tobytes())
    else:
        mask = mask.convert(mode)
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return buffer.getvalue()


def mat(ids: np.ndarray) -> bytes:
    """A file of SBD: struct GTcls with Boundaries, Segmentation and CategoriesPresent."""
    boundaries = np.empty((20, 1), object)
    for number in range(20):
        boundaries[number, 0] = scipy.sparse.csc_matrix(ids == number + 1)
    present = np.setdiff1d(ids, [0, 255])[:, None]
    struct = {"Boundaries": boundaries, "Segmentation": ids, "CategoriesPresent": present}
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"GTcls": struct}, do_compression=True)
    return buffer.getvalue()


class Pascal:
    """VOC with 4 + 3 masks of 12 images; SBD with 7, of which 1 + 1 are VOC's too."""

    fine = ("2007_000032", "2007_000039", "2008_000008", "2009_000001")
    val = ("2007_000033", "2007_000042", "2008_000002")
    coarse = ("2008_000015", "2008_000019", "2009_000003", "2010_000002", "2011_000006")
    sbd_train = (*coarse[:3], fine[2], val[2])
    sbd_val = coarse[3:]

    def __init__(self):
        self.voc, self.sbd, self.masks = Files(), Files(), {}
        inside = "VOCdevkit/VOC2012"
        for name in ("2007_000027", *self.fine, *self.val, *self.coarse):
            self.voc[f"{inside}/Annotations/{name}.xml"] = b"<annotation/>"
            self.voc[f"{inside}/JPEGImages/{name}.jpg"] = self.voc.image(".jpg")
        for name in (*self.fine, *self.val):
            self.masks[name] = self.voc.ids([0, 1, 15, 20])
            self.masks[name][:2] = 255
            self.voc[f"{inside}/SegmentationClass/{name}.png"] = png(self.masks[name], "P")
            self.voc[f"{inside}/SegmentationObject/{name}.png"] = b"another mask"
        for part, names in (("train", self.fine), ("val", self.val)):
            self.voc[f"{inside}/ImageSets/Segmentation/{part}.txt"] = "".join(
                f"{name}\n" for name in names
            ).encode()
        inside = "benchmark_RELEASE/dataset"
        self.sbd["benchmark_RELEASE/README"] = b"text"
        for name in (*self.sbd_train, *self.sbd_val):
            ids = self.sbd.ids([0, 2, 7, 20])
            self.masks.setdefault(name, ids)
            self.sbd[f"{inside}/cls/{name}.mat"] = mat(ids)
            self.sbd[f"{inside}/inst/{name}.mat"] = b"instances"
            self.sbd[f"{inside}/img/{name}.jpg"] = b"the same image"
        for part, names in (("train", self.sbd_train), ("val", self.sbd_val)):
            self.sbd[f"{inside}/{part}.txt"] = "".join(f"{name}\n" for name in names).encode()

    def save(self, folder: pathlib.Path) -> pathlib.Path:
        folder.mkdir(exist_ok=True)
        self.voc.tar(folder / "VOCtrainval_11-May-2012.tar")
        self.sbd.tar(folder / "benchmark.tgz", "w:gz")
        return folder


class Cityscapes:
    """6 training and 3 validation images, and 2 test images whose masks are empty."""

    def __init__(self):
        self.images, self.labels, self.masks = Files(), Files(), {}
        self.images["license.txt"] = self.labels["license.txt"] = b"text"
        names = {
            "train": [f"aachen_{i:06}_000019" for i in range(4)] + ["bochum_000000_000313"],
            "val": ["frankfurt_000000_000294", "lindau_000001_000019"],
            "test": ["berlin_000000_000019"],
        }
        names["train"].append("bochum_000000_000600")
        self.names = names
        for split, found in names.items():
            for name in found:
                path = f"{split}/{name.partition('_')[0]}/{name}"
                ids = self.labels.ids(np.arange(34))
                ids[:2] = 255
                self.masks[name] = ids
                self.images[f"leftImg8bit/{path}_leftImg8bit.png"] = self.images.image(".png")
                self.labels[f"gtFine/{path}_gtFine_color.png"] = b"colours"
                self.labels[f"gtFine/{path}_gtFine_labelIds.png"] = png(ids)
                self.labels[f"gtFine/{path}_gtFine_polygons.json"] = b"{}"

    def save(self, folder: pathlib.Path) -> pathlib.Path:
        folder.mkdir(exist_ok=True)
        self.images.zip(folder / "leftImg8bit_trainvaltest.zip")
        self.labels.zip(folder / "gtFine_trainvaltest.zip")
        return folder


@pytest.fixture
def pascal() -> Pascal:
    return Pascal()


@pytest.fixture
def cityscapes() -> Cityscapes:
    return Cityscapes()


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> pathlib.Path:
    """A folder of datasets, made by the command line; not to be changed."""
    from input_pipeline.prepare import __main__ as command

    folder = tmp_path_factory.mktemp("prepared")
    for name, archives in (("pascal", Pascal()), ("cityscapes", Cityscapes())):
        source = archives.save(folder / f"{name}-archives")
        flags = [f"--source={source}", f"--data_dir={folder}", "--allow_counts", "--threads=2"]
        assert command.main([name, *flags]) == 0
    return folder
