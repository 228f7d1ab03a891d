"""The stream of training batches, as a grain graph.

Row r of batch t depends on the seed, the stream and t alone: not on threads, worker processes,
the number of training processes or where the run was interrupted.
"""

import dataclasses
import signal
from collections.abc import Callable

import cv2
import numpy as np
from absl import flags

from input_pipeline.batches.arguments import (
    check_batch_size,
    check_choice,
    check_least,
    check_shard,
)
from input_pipeline.batches.skipping import SkippingSource, SkippingViews
from input_pipeline.batches.stream import BatchStream
from input_pipeline.batches.views import LabeledViews, UnlabeledViews
from input_pipeline.errors import DataError
from input_pipeline.partitions.partition import Partition
from input_pipeline.sources.base import Source

# Position in SeedSequence([seed, stream]): unrelated draws for each, also among nearby seeds.
LABELED_STREAM, UNLABELED_STREAM, PARTNER_STREAM = 0, 1, 2

# What CutMix pastes into an image: another image, or another crop of the same one.
CUTMIX_PARTNERS = ("other", "same")

STRONG_VIEWS = (0, 1, 2)  # How many a method may ask for.

# The graph runs one batch per thread; OpenCV's own threads on top would only compete.
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
    'boxes': int32 [B, 2, 4]}, 'partner': {'weak', 'strong1', 'strong2', 'valid'}} with labels
    of 255 and valid = False on padding, and boxes as in `views.draw_box`.

    Args:
        partition: The data.
        seed: Not negative; the three streams draw, and unless the partner is the same image
            shuffle, independently.
        crop_size: S, pixels.
        labeled_batch_size: Rows of the global labelled batch.
        unlabeled_batch_size: Rows of the global unlabelled and partner batches.
        strong_views: 2; 1 leaves out 'strong2' and its box; 0 leaves 'labeled' alone.
        cutmix_partner: 'other': the partner of a row is another image of an order of its own;
            'same': other views of the same image.
        start_step: Number of batches to skip, at no cost.
        num_steps: Number of batches of the whole run.
        num_threads: Threads that decode and augment, in each process that does.
        num_workers: Worker processes; 0 = threads of this process.
        shard: (index, count): this training process gets the index-th of count equal runs of
            rows of the global batches.
        max_bad: None = a file that cannot be used is an error; a number = the next one of its
            list takes its place, unless more than so many in a row cannot be used.

    Raises:
        ValueError: An argument out of range.
        DataError: No unlabelled image; while iterating: a file that cannot be used.
        WorkerError: While iterating: a worker process died.
    """
    _check_settings(partition, seed, crop_size, strong_views, cutmix_partner)
    check_least(start_step=(start_step, 0), num_steps=(num_steps, start_step))
    check_least(num_threads=(num_threads, 1), num_workers=(num_workers, 0))
    check_shard(shard)
    check_batch_size("labeled_batch_size", labeled_batch_size, shard[1])
    if strong_views:
        check_batch_size("unlabeled_batch_size", unlabeled_batch_size, shard[1])
    labeled = LabeledViews(crop_size)
    parts = {"labeled": _Part(partition.labeled, labeled, labeled_batch_size, LABELED_STREAM)}
    if strong_views:
        views = UnlabeledViews(crop_size, strong_views, boxes=True)
        own = _Part(partition.unlabeled, views, unlabeled_batch_size, UNLABELED_STREAM)
        parts |= {"unlabeled": own, "partner": _partner_of(own, cutmix_partner)}
    if max_bad is not None:
        parts = {name: part.skipping(max_bad) for name, part in parts.items()}
    steps = slice(start_step, num_steps)
    rows = [part.batches(seed, shard)[steps] for part in parts.values()]
    if start_step == num_steps:
        return BatchStream(None)

    import grain  # It imports JAX, which reading and checking data does without.

    batches = grain.experimental.ZipMapDataset(rows).map(_Named(tuple(parts)))
    return _read(batches, num_threads, num_workers)


@dataclasses.dataclass(frozen=True)
class _Part:
    """One part of the batches: which elements it takes, and how they are drawn.

    Attributes:
        source: The elements.
        views: Turns an element into a row.
        batch_size: Rows of the global batch.
        stream: Which stream of random numbers draws the views.
        order_of: Which stream shuffles the elements; None: `stream` does.
    """

    source: Source
    views: Callable[[dict, np.random.Generator], dict]
    batch_size: int
    stream: int
    order_of: int | None = None

    def skipping(self, max_bad: int) -> "_Part":
        """The same part, where other entries replace those that cannot be used."""
        source, views = SkippingSource(self.source, max_bad), SkippingViews(self.views)
        return dataclasses.replace(self, source=source, views=views)

    def batches(self, seed: int, shard: tuple[int, int]):
        """The endless batches of one process, as a grain data set."""
        import grain

        if self.order_of is None:
            # Without a seed of its own, the map draws by that of the order.
            order_seed, views_seed = _seed(seed, self.stream), None
        else:
            order_seed, views_seed = _seed(seed, self.order_of), _seed(seed, self.stream)
        index, count = shard
        rows = grain.MapDataset.source(self.source).seed(order_seed).shuffle().repeat()
        rows = rows.random_map(self.views, seed=views_seed)
        return rows.batch(self.batch_size // count, drop_remainder=True)[index::count]


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


def _read(batches, num_threads: int, num_workers: int) -> BatchStream:
    """Starts the threads, and worker processes, that make the batches of a grain data set."""
    import grain

    # The buffer counts whole batches, those being made included.
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=num_threads + 2)
    batches = batches.to_iter_dataset(options)
    if num_workers:
        # grain reads its own flags when it starts workers, which absl refuses before parsing:
        # a program that does not use absl gets their defaults.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        batches = batches.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=num_workers), worker_init_fn=_leave_to_parent
        )
    return BatchStream(iter(batches), copy=num_workers > 0)


def _leave_to_parent(worker: int, count: int) -> None:
    """Signals may reach every process of a terminal or a cluster's job; the training process ends
    the workers itself."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)


def _check_settings(partition, seed, crop_size, strong_views, cutmix_partner) -> None:
    check_least(seed=(seed, 0), crop_size=(crop_size, 1))
    check_choice(
        strong_views=(strong_views, STRONG_VIEWS), cutmix_partner=(cutmix_partner, CUTMIX_PARTNERS)
    )
    if strong_views and len(partition.unlabeled) == 0:
        raise DataError(
            f"{partition.unlabeled.name}: no unlabelled image, but the method trains on them. "
            "Set data.unlabeled to a list, a folder or a glob, or train supervised."
        )


class _Named:
    """Turns a tuple of batches into a dictionary; a class, since workers unpickle it."""

    def __init__(self, names: tuple[str, ...]):
        self._names = names

    def __call__(self, batches: tuple) -> dict:
        return dict(zip(self._names, batches, strict=True))
