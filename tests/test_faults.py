"""Whole runs that meet a fault: the messages, what is kept, and that the rest is the same."""

import json
import pathlib

import numpy as np
import PIL.Image
import pytest

from tests.support.commands import finish, free_port, start


@pytest.fixture(scope="session")
def flags(tmp_path_factory):
    """The flags of a tiny run on image files; all runs share the compiled programs."""
    root = tmp_path_factory.mktemp("data")
    make_images(root)
    fields = {
        "data.root": root,
        "data.num_classes": 4,
        "data.labeled": "labeled.txt",
        "data.val": "val.txt",
        "data.crop_size": 17,
        "train.batch_size": 2,
        "train.num_steps": 6,
        "train.log_every": 1,
        "model.backbone": "resnet10",
        "model.stem": "v1",
        "model.width": 8,
        "model.decoder_channels": 16,
        "model.pretrained": "",
        "method.name": "supervised",
        "checkpoint.every_steps": 1,
        "eval.every_steps": 3,
        "eval.pictures": 0,
    }

    def build(workdir, *more, **changed):
        changed = {name.replace("__", "."): value for name, value in changed.items()}
        values = [f"--config.{name}={value}" for name, value in {**fields, **changed}.items()]
        return ["--config=configs/folder.py", f"--workdir={workdir}", *values, *more]

    build.root = root
    return build


def make_images(root: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(8):
        pixels = rng.integers(0, 256, (24, 24, 3)).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(root / f"{number}.jpg")
        PIL.Image.fromarray(pixels[..., 0] // 64).save(root / f"{number}.png")
    for name, numbers in (("labeled", range(6)), ("val", (6, 7))):
        (root / f"{name}.txt").write_text("".join(f"{n}.jpg {n}.png\n" for n in numbers))


def lines_of(path: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_a_run_goes_on_without_a_bad_image_and_lists_it(flags, tmp_path):
    image = flags.root / "3.jpg"
    whole = image.read_bytes()
    image.write_bytes(whole[:500])
    try:
        _, errors = finish(start(*flags(tmp_path / "a")), 2)
        assert errors.startswith(f"error: {image}: not a readable image")
        assert not (tmp_path / "a").exists()
        skip = {"data__on_error": "skip"}
        output, _ = finish(start(*flags(tmp_path / "a", **skip)))
        assert output.count(f"left out: {image}: not a readable image") == 1
        bad = lines_of(tmp_path / "a" / "bad_files.jsonl")
        assert [(line["part"], line["image"]) for line in bad] == [("labeled", "3.jpg")]
        changed = flags(tmp_path / "b", **skip, data__num_workers=1, data__max_bad=0)
        _, errors = finish(start(*changed), 2)
        assert "data.max_bad = 0" in errors
    finally:
        image.write_bytes(whole)


@pytest.mark.slow
def test_two_processes_list_the_bad_images_of_both(flags, tmp_path):
    images = [flags.root / f"{number}.jpg" for number in range(5)]
    whole = [image.read_bytes() for image in images]
    for image in images:
        image.write_bytes(image.read_bytes()[:500])
    # Three steps of two rows are one pass over the six images: each process meets three of its
    # own, at most one of which is good.
    skip = {"data__on_error": "skip", "data__max_bad": 5, "train__num_steps": 3}
    try:
        address = f"--distributed=localhost:{free_port()}"
        both = [start(*flags(tmp_path / "run", f"{address},{n}/2", **skip)) for n in range(2)]
        output, quiet = [finish(process)[0] for process in both]
    finally:
        for image, content in zip(images, whole, strict=True):
            image.write_bytes(content)
    bad = lines_of(tmp_path / "run" / "bad_files.jsonl")
    assert sorted(line["image"] for line in bad) == [image.name for image in images]
    assert "left out" not in quiet
    for line in bad:
        assert line["error"].startswith(f"{flags.root / line['image']}: not a readable image")
        assert output.count(f"left out: {line['error']}") == 1
