"""Evaluation batches: equal sizes, every image once, padding that is ignored."""

import threading
import time

import numpy as np
import pytest

from input_pipeline import DataError, evaluation_batches
from input_pipeline.batches import evaluation
from input_pipeline.sources.string_table import StringTable


class Sizes:
    """A source with an image of each size; image i is filled with i."""

    name = "sizes"

    def __init__(self, sizes):
        self._sizes = sizes
        self.ids = StringTable(str(number) for number in range(len(sizes)))
        self.reads = 0

    def __len__(self) -> int:
        return len(self._sizes)

    def image_size(self, index: int) -> tuple[int, int]:
        return self._sizes[index]

    def __getitem__(self, index: int) -> dict:
        self.reads += 1
        image = np.full((*self._sizes[index], 3), index, np.uint8)
        return {"image": image, "label": image[..., 0] % 4}


def test_chosen_images_without_labels():
    class Unlabelled(Sizes):
        def __getitem__(self, index: int) -> dict:
            return {"image": super().__getitem__(index)["image"]}

    source = Unlabelled([(4, 6)] * 7)
    batches = list(evaluation_batches(source, batch_size=2, indices=[6, 1, 3]))
    assert [batch["index"].tolist() for batch in batches] == [[6, 1], [3, -1]]
    assert [batch["image"][:, 0, 0, 0].tolist() for batch in batches] == [[6, 1], [3, 0]]
    assert all((batch["label"] == 255).all() for batch in batches)
    assert source.reads == 3


@pytest.mark.parametrize("num_threads", [1, 3])
def test_buckets_fill_in_list_order(num_threads):
    sizes = [(4, 6), (4, 6), (6, 4), (4, 6), (4, 6), (6, 4), (6, 4), (5, 5)]
    batches = list(evaluation_batches(Sizes(sizes), batch_size=3, num_threads=num_threads))
    assert [batch["index"].tolist() for batch in batches] == [
        [0, 1, 3], [2, 5, 6], [4, -1, -1], [7, -1, -1],
    ]  # fmt: skip
    for batch in batches:
        assert (batch["image"].dtype, batch["label"].dtype) == (np.uint8, np.uint8)
        assert batch["index"].dtype == np.int32
        for image, label, index in zip(
            *(batch[k] for k in ("image", "label", "index")), strict=True
        ):
            assert image.shape[:2] == label.shape
            if index < 0:
                assert (image == 0).all()
                assert (label == 255).all()
            else:
                assert label.shape == sizes[index]
                assert (image == index).all()
                assert (label == index % 4).all()


def test_many_sizes_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(evaluation, "MAX_WAITING", 6)
    source = Sizes([(4 + number % 9, 5) for number in range(40)])
    batches = list(evaluation_batches(source, batch_size=4))
    indices = np.concatenate([batch["index"] for batch in batches])
    assert sorted(indices[indices >= 0].tolist()) == list(range(40))
    first = next(iter(evaluation_batches(source, batch_size=4)))
    assert first["index"].tolist() == [0, -1, -1, -1]


def test_decoding_stays_a_little_ahead_and_ends_with_the_iterator():
    before = set(threading.enumerate())
    source = Sizes([(4, 4)] * 100)
    batches = evaluation_batches(source, batch_size=2, num_threads=2)
    next(batches)
    time.sleep(0.1)
    assert source.reads <= 2 + 5
    batches.close()
    deadline = time.monotonic() + 10
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


def test_whole_folder(folder):
    partition = folder.open()
    (batch,) = evaluation_batches(partition.val, batch_size=4)
    assert batch["index"].tolist() == [0, 1, -1, -1]
    np.testing.assert_array_equal(batch["label"][1], partition.val[1]["label"])


def test_broken_image_is_named(folder):
    partition = folder.open()
    folder.write("i/4.jpg", "broken")
    with pytest.raises(DataError, match=r"i/4\.jpg: not a readable image"):
        list(evaluation_batches(partition.val, batch_size=1))


def test_arguments_are_checked_at_the_call():
    with pytest.raises(ValueError, match="batch_size = 0"):
        evaluation_batches(Sizes([(2, 2)]), batch_size=0)
