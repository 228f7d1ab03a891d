"""Shapes for images of many sizes, and batches of them."""

import collections

import numpy as np
import PIL.Image
import pytest

from input_pipeline import (
    NO_SHAPES,
    DataError,
    Shapes,
    choose_shapes,
    count_sizes,
    evaluation_batches,
)
from input_pipeline.batches import padded_shapes
from input_pipeline.sources.orientation import EXIF_ORIENTATION
from input_pipeline.sources.scenes import SceneSource
from tests.input_pipeline.batches.test_evaluation import Sizes


def padded_pixels(counts, shapes):
    return sum(n * np.prod(shapes.covering(size, "")) for size, n in counts.items())


def partitions(items):
    """All ways to split a list into groups."""
    if not items:
        yield []
        return
    for groups in partitions(items[1:]):
        yield [[items[0]], *groups]
        for index, group in enumerate(groups):
            yield [*groups[:index], [items[0], *group], *groups[index + 1 :]]


def test_shapes_are_near_the_best_there_are():
    rng = np.random.default_rng(0)
    for _ in range(20):
        counts = {tuple(rng.integers(5, 20, 2).tolist()): int(rng.integers(1, 9)) for _ in range(6)}
        shapes = choose_shapes(counts, 3)
        assert len(shapes.sizes) == 3
        best = min(
            padded_pixels(
                counts, Shapes(tuple(tuple(np.max(group, axis=0).tolist()) for group in groups))
            )
            for groups in partitions(list(counts))
            if len(groups) <= 3
        )
        assert best <= padded_pixels(counts, shapes) <= 1.15 * best


def test_shapes_depend_on_nothing_but_the_sizes():
    rng = np.random.default_rng(0)
    sizes = [tuple(size) for size in rng.integers(1, 60, (80, 2)).tolist()]
    shapes = choose_shapes(collections.Counter(sizes), 5)
    assert choose_shapes(collections.Counter(sizes[::-1]), 5) == shapes
    few = {size: 1 for size in sizes[:5]}
    assert choose_shapes(few, 5) == choose_shapes(few, 0) == NO_SHAPES


def test_thousands_of_sizes_are_rounded_up_first(monkeypatch):
    monkeypatch.setattr(padded_shapes, "MAX_GROUPS", 40)
    rng = np.random.default_rng(0)
    sizes = [tuple(size) for size in rng.integers(1, 400, (3000, 2)).tolist()]
    shapes = choose_shapes(collections.Counter(sizes), 6)
    assert len(shapes.sizes) == 6
    # No larger than the largest images.
    assert np.max(shapes.sizes, axis=0).tolist() == np.max(sizes, axis=0).tolist()
    counts = collections.Counter(sizes)
    assert padded_pixels(counts, shapes) < 0.6 * padded_pixels(counts, Shapes(((399, 399),)))


def test_batches_of_shapes():
    sizes = [(4, 6), (3, 5), (6, 4), (4, 5), (5, 4)]
    batches = list(evaluation_batches(Sizes(sizes), batch_size=2, shapes=Shapes(((4, 6), (6, 6)))))
    assert [batch["index"].tolist() for batch in batches] == [[0, 1], [2, 4], [3, -1]]
    assert [batch["image"].shape for batch in batches] == [(2, 4, 6, 3), (2, 6, 6, 3), (2, 4, 6, 3)]
    assert batches[2]["size"].tolist() == [[4, 5], [1, 1]]
    assert batches[2]["size"].dtype == np.int32
    for batch in batches:
        for row, index in enumerate(batch["index"]):
            outside = np.ones(batch["label"].shape[1:], bool)
            if index >= 0:
                height, width = batch["size"][row]
                assert (height, width) == sizes[index]
                outside[:height, :width] = False
            assert (batch["image"][row][~outside] == index).all()
            assert (batch["label"][row][~outside] == index % 4).all()
            assert not batch["image"][row][outside].any()
            assert (batch["label"][row][outside] == 255).all()


def test_image_that_outgrew_its_header_is_named():
    with pytest.raises(
        DataError, match=r"^1: the image has 7x4 pixels \(width x height\), but its header"
    ):
        list(evaluation_batches(Sizes([(4, 6), (4, 7)]), batch_size=1, shapes=Shapes(((4, 6),))))


def test_sizes_from_headers_are_those_of_the_pixels(folder):
    lying, exif = PIL.Image.new("RGB", (20, 30)), PIL.Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    lying.save(folder.root / "i/3.jpg", exif=exif)
    lying.convert("L").save(folder.root / "m/3.png")
    val = folder.open().val
    assert count_sizes(val) == {val[0]["label"].shape: 1, val[1]["label"].shape: 1}
    assert count_sizes(val, shard=(1, 2)) == {(40, 50): 1}
    scene = SceneSource(0, 1, labeled=True)
    assert scene.image_size(0) == scene[0]["label"].shape
    folder.write("i/4.jpg", "broken")
    with pytest.raises(DataError, match=r"i/4\.jpg: not a readable image"):
        count_sizes(val)
