"""The stream of training batches, as a grain graph.

Row r of batch t depends only on the seed, the stream, r and t: not on threads, worker processes,
the number of training processes or interruptions.
"""

import dataclasses
import signal
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from absl import flags

from input_pipeline.batches.arguments import (
    check_batch_size,
    check_choice,
    check_least,
    check_shard,
)
from input_pipeline.batches.boxes import BOXES
from input_pipeline.batches.photometric import RECIPES
from input_pipeline.batches.skipping import SkippingSource, SkippingViews
from input_pipeline.batches.stream import BatchStream
from input_pipeline.batches.views import LabeledViews, PseudoViews, UnlabeledViews
from input_pipeline.errors import DataError
from input_pipeline.partitions.partition import Partition
from input_pipeline.sources.base import Source

# The second number in SeedSequence([seed, stream]): the random numbers of two streams are
# unrelated, even for nearby seeds.
LABELED_STREAM, UNLABELED_STREAM, PARTNER_STREAM = 0, 1, 2

# What CutMix pastes into an image: another image, or other views of the same one.
CUTMIX_PARTNERS = ("other", "same")

# How many strong views a method may ask for.
STRONG_VIEWS = (0, 1, 2)

# Each thread makes a whole batch; OpenCV's own threads would only compete with these.
cv2.setNumThreads(1)


def train_stream(
    partition: Partition,
    *,
    seed: int,
    crop_size: int,
    labeled_batch_size: int,
    unlabeled_batch_size: int,
    strong_views: int = 2,
    cutmix_partner: str = "other",
    recipe: str = "unimatch",
    box: str = "unimatch",
    start_step: int = 0,
    num_steps: int,
    num_threads: int = 4,
    num_workers: int = 0,
    shard: tuple[int, int] = (0, 1),
    max_bad: int | None = None,
) -> BatchStream:
    """Yields the batches start_step, .., num_steps - 1 of a training run.

    A batch is {'labeled': {'image': uint8 [B, S, S, 3], 'label': uint8 [B, S, S]},
    'unlabeled': {'weak', 'strong1', 'strong2': uint8 [B, S, S, 3], 'valid': bool [B, S, S],
    'boxes': int32 [B, 2, 4]}, 'partner': {'weak', 'strong1', 'strong2', 'valid'}}. On padding,
    labels are 255 and 'valid' is False. Boxes are as `boxes.draw_box` returns them: [B, 2, 3, 4] by
    the law 'toggled'.

    Args:
        partition: The data.
        seed: Not negative. The three parts of a batch draw independent random numbers.
        crop_size: S, pixels.
        labeled_batch_size: Rows of the global labelled batch.
        unlabeled_batch_size: Rows of the global unlabelled and partner batches.
        strong_views: Number of strong views. With 1 there is no 'strong2' and one box, with 0 there
            is only 'labeled'.
        cutmix_partner: 'other': The partner is another image, from a shuffle that is independent
            of the unlabelled rows. 'same': The partner is other views of the same image.
        recipe: The recipe of the strong views, a name in `photometric.RECIPES`.
        box: The law of the boxes, a name in `boxes.BOXES`. With 'none' there is no 'partner'.
        start_step: Number of batches to skip, at no cost.
        num_steps: Number of batches of the whole run.
        num_threads: Threads that decode and augment, in this process or in each worker process.
        num_workers: Number of worker processes; 0 to use threads of this process.
        shard: (index, count) of this training process. The rows of a global batch are cut into
            `count` equal blocks, and the process gets the block `index`.
        max_bad: How many consecutive files of a list may be unusable; the next usable file
            replaces them. None: An unusable file is an error.

    Raises:
        ValueError: An argument is out of range.
        DataError: There is no unlabelled image; or, while iterating, a file cannot be used.
        WorkerError: While iterating, a worker process died.
    """
    check_least(seed=(seed, 0), crop_size=(crop_size, 1))
    check_choice(strong_views=(strong_views, STRONG_VIEWS), recipe=(recipe, RECIPES))
    check_choice(cutmix_partner=(cutmix_partner, CUTMIX_PARTNERS), box=(box, BOXES))
    check_least(start_step=(start_step, 0), num_steps=(num_steps, start_step))
    check_least(num_threads=(num_threads, 1), num_workers=(num_workers, 0))
    check_shard(shard)
    check_batch_size("labeled_batch_size", labeled_batch_size, shard[1])
    if strong_views:
        _check_unlabeled(partition.unlabeled)
        check_batch_size("unlabeled_batch_size", unlabeled_batch_size, shard[1])
    parts = {"labeled": _labeled(partition, crop_size, labeled_batch_size)}
    if strong_views:
        views = UnlabeledViews(crop_size, strong_views, boxes=True, recipe=recipe, box=box)
        own = _Part(partition.unlabeled, views, unlabeled_batch_size, UNLABELED_STREAM)
        parts["unlabeled"] = own
        if box != "none":
            parts["partner"] = _partner_of(own, cutmix_partner)
    if max_bad is not None:
        parts = {name: part.skipping(max_bad) for name, part in parts.items()}
    if start_step == num_steps:
        return BatchStream(None)
    steps = slice(start_step, num_steps)
    rows = {name: part.batches(seed, shard)[steps] for name, part in parts.items()}
    return _read(rows, num_threads, num_workers)


@dataclasses.dataclass(frozen=True)
class _Part:
    """One part of the batches: its elements, and how they become rows.

    Attributes:
        source: The elements.
        views: Turns an element into a row.
        batch_size: Rows of the global batch.
        stream: The stream whose random numbers draw the views.
        order_of: The stream whose random numbers shuffle the elements. None: `stream`.
    """

    source: Source
    views: Callable[[dict, np.random.Generator], dict]
    batch_size: int
    stream: int
    order_of: int | None = None

    def skipping(self, max_bad: int) -> "_Part":
        """The same part, with unusable entries replaced by others."""
        source, views = SkippingSource(self.source, max_bad), SkippingViews(self.views)
        return dataclasses.replace(self, source=source, views=views)

    def batches(self, seed: int, shard: tuple[int, int]):
        """The endless batches of one process, as a grain data set."""
        import grain

        if self.order_of is None:
            # Without its own seed, the map uses the seed of the shuffle.
            order_seed, views_seed = _seed(seed, self.stream), None
        else:
            order_seed, views_seed = _seed(seed, self.order_of), _seed(seed, self.stream)
        index, count = shard
        rows = grain.MapDataset.source(self.source).seed(order_seed).shuffle().repeat()
        rows = rows.random_map(self.views, seed=views_seed)
        return rows.batch(self.batch_size // count, drop_remainder=True)[index::count]


def _labeled(partition: Partition, crop_size: int, batch_size: int) -> _Part:
    """The labelled part, which pseudo masks may join."""
    views = LabeledViews(crop_size) if partition.pseudo is None else PseudoViews(crop_size)
    return _Part(partition.stream("labeled"), views, batch_size, LABELED_STREAM)


def _partner_of(part: _Part, cutmix_partner: str) -> _Part:
    """The part whose rows CutMix pastes into those of `part`."""
    return dataclasses.replace(
        part,
        views=dataclasses.replace(part.views, boxes=False),
        stream=PARTNER_STREAM,
        order_of=part.stream if cutmix_partner == "same" else None,
    )


def _seed(seed: int, stream: int) -> int:
    return int(np.random.SeedSequence([seed, stream]).generate_state(1)[0])


def _read(parts: Mapping[str, Any], num_threads: int, num_workers: int) -> BatchStream:
    """Starts the threads and worker processes that make batches of all parts."""
    import grain  # Imports JAX, which reading and checking data do not need.

    batches = grain.experimental.ZipMapDataset(list(parts.values())).map(_Named(tuple(parts)))
    # The buffer size is in batches, including those that are being made.
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=num_threads + 2)
    batches = batches.to_iter_dataset(options)
    if num_workers:
        # grain reads its absl flags when it starts workers, and absl raises an error if they are
        # not parsed yet. A program without absl gets the defaults.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        batches = batches.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=num_workers), worker_init_fn=_leave_to_parent
        )
    return BatchStream(iter(batches), in_workers=num_workers > 0)


def _leave_to_parent(worker: int, count: int) -> None:
    """Makes a worker process ignore signals, since the training process ends it.

    A terminal or a cluster may send signals to every process of a job.
    """
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)


def _check_unlabeled(source: Source) -> None:
    if len(source) == 0:
        raise DataError(
            f"{source.name}: no unlabelled image, but the method trains on unlabelled images. Set "
            "data.unlabeled to a list, a folder or a glob, or train with "
            "config.method.name=supervised."
        )


class _Named:
    """Turns a tuple of batches into a dictionary; a class, so that it can be pickled."""

    def __init__(self, names: tuple[str, ...]):
        self._names = names

    def __call__(self, batches: tuple) -> dict:
        return dict(zip(self._names, batches, strict=True))
