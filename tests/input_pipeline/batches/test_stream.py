"""A stream of batches ends: threads, worker processes, images that cannot be read."""

import dataclasses
import multiprocessing
import os
import threading
import time

import numpy as np
import pytest

from input_pipeline import DataError, WorkerError, train_stream
from tests.support.number_images import SETTINGS, Numbers, numbers


def test_memory_stays_bounded_while_nobody_takes_batches():
    partition = numbers(7, 9)
    settings = {**SETTINGS, "crop_size": 4, "num_steps": 10_000, "num_threads": 2}
    with train_stream(partition, **settings) as stream:
        next(stream)
        time.sleep(0.3)
        assert partition.labeled.reads <= 4 * (1 + 2 + 2 + 2)


def test_close_ends_threads_and_iteration(scenes):
    before = set(threading.enumerate())
    stream = train_stream(scenes, **{**SETTINGS, "num_steps": 1000})
    next(stream)
    stream.close()
    stream.close()
    with pytest.raises(StopIteration):
        next(stream)
    deadline = time.monotonic() + 20
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not set(threading.enumerate()) - before


def test_close_ends_workers(scenes):
    stream = train_stream(scenes, **{**SETTINGS, "num_steps": 1000}, num_workers=2)
    next(stream)
    assert len(multiprocessing.active_children()) == 2
    stream.close()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_broken_image_is_named_by_the_consumer(folder, num_workers):
    partition = folder.open()
    path = folder.root / "i/7.jpg"
    path.write_bytes(path.read_bytes()[:900])
    stream = train_stream(partition, **{**SETTINGS, "num_steps": 9}, num_workers=num_workers)
    with pytest.raises(DataError, match=r"^/.*i/7\.jpg: not a readable image"):
        list(stream)
    assert not multiprocessing.active_children()


def test_a_worker_that_dies_ends_the_stream_with_a_word(scenes):
    with train_stream(scenes, **{**SETTINGS, "num_steps": 1000}, num_workers=1) as stream:
        next(stream)
        (worker,) = multiprocessing.active_children()
        worker.kill()
        with pytest.raises(WorkerError, match=r"exit code -9 \(killed.*again to resume from"):
            list(stream)


class Deadly(Numbers):
    """A source that ends the process that reads it."""

    def __getitem__(self, index: int) -> dict:
        os._exit(7)


def test_a_worker_that_dies_before_the_first_batch():
    partition = dataclasses.replace(numbers(8, 8), unlabeled=Deadly(8))
    with (
        train_stream(partition, **SETTINGS, num_workers=1) as stream,
        pytest.raises(WorkerError, match="exit code 7[.] Run the same command"),
    ):
        next(stream)


def test_id_out_of_range_is_named_while_training(folder):
    partition = folder.open()
    folder.save("m/1.png", np.full((40, 50), 9))
    with pytest.raises(DataError, match=r"m/1\.png: id 9 with data\.num_classes = 3"):
        list(train_stream(partition, **SETTINGS))
