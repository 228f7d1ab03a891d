"""The stream of training batches, as a grain graph.

Row r of batch t depends on the seed, the stream and t alone: not on threads, worker processes,
the number of training processes or where the run was interrupted.
"""

import re
import signal
from collections.abc import Iterator

import cv2
import numpy as np
from absl import flags

from input_pipeline.batches.skipping import SkippingSource, SkippingViews, take_replaced
from input_pipeline.batches.views import LabeledViews, UnlabeledViews
from input_pipeline.errors import DataError, WorkerError
from input_pipeline.partitions.partition import Partition

# Position in SeedSequence([seed, stream]): unrelated draws for each, also among nearby seeds.
LABELED_STREAM, UNLABELED_STREAM, PARTNER_STREAM = 0, 1, 2

# What CutMix pastes into an image: another image, or another crop of the same one.
CUTMIX_PARTNERS = ("other", "same")

# The part of the data that a stream reads, where its name is another one.
_SOURCE_OF = {"partner": "unlabeled"}

# The graph runs one batch per thread; OpenCV's own threads on top would only compete.
cv2.setNumThreads(1)


class BatchStream(Iterator):
    """Batches in order; `close()` ends the threads and worker processes behind it.

    Attributes:
        replaced: Part and index in its source of the entries that could not be used and that
            others stand for in the last batch; the partner's part is 'unlabeled', whose source it
            shares.

    Args:
        iterator: Gives the batches and has close(); None = no batch.
        copy: Whether the batches lie in memory shared with a worker process, which is freed by
            copying them out.
    """

    def __init__(self, iterator, *, copy: bool = False):
        self.replaced: list[tuple[str, int]] = []
        self._iterator = iterator
        self._copy = copy

    def __next__(self) -> dict:
        if self._iterator is None:
            raise StopIteration
        try:
            batch = next(self._iterator)
        except StopIteration:
            self.close()
            raise
        except Exception as error:
            self.close()
            found = _find_data_error(error) or _as_worker_error(error)
            if found is None:
                raise
            raise found from None
        batch, replaced = take_replaced(batch)
        self.replaced = [(_SOURCE_OF.get(part, part), index) for part, index in replaced]
        if not self._copy:
            return batch
        return {
            part: {name: np.array(rows, subok=False) for name, rows in arrays.items()}
            for part, arrays in batch.items()
        }

    def close(self) -> None:
        """Ends the stream; may be called more than once."""
        iterator, self._iterator = self._iterator, None
        if iterator is not None:
            iterator.close()

    def __enter__(self) -> "BatchStream":
        return self

    def __exit__(self, *_) -> None:
        self.close()


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
    _check_stream(partition, seed, crop_size, strong_views, start_step, num_steps)
    if cutmix_partner not in CUTMIX_PARTNERS:
        raise ValueError(f"cutmix_partner = {cutmix_partner!r}: must be one of {CUTMIX_PARTNERS}.")
    _check_least(num_threads=(num_threads, 1), num_workers=(num_workers, 0))
    index, count = shard
    if not 0 <= index < count:
        raise ValueError(f"shard = {shard}: must be (index, count) with index < count.")
    _check_batch_size("labeled_batch_size", labeled_batch_size, count)
    if strong_views:
        _check_batch_size("unlabeled_batch_size", unlabeled_batch_size, count)

    import grain  # It imports JAX, which reading and checking data does without.

    def stream(source, number, views, batch_size, order_of=None):
        if max_bad is not None:
            source, views = SkippingSource(source, max_bad), SkippingViews(views)
        own_seed, order_seed = (
            int(np.random.SeedSequence([seed, each]).generate_state(1)[0])
            for each in (number, number if order_of is None else order_of)
        )
        rows = grain.MapDataset.source(source).seed(order_seed).shuffle().repeat()
        # Without a seed of its own the map draws by that of the order.
        rows = rows.random_map(views, seed=None if order_of is None else own_seed)
        runs = rows.batch(batch_size // count, drop_remainder=True)
        return runs[index::count][start_step:num_steps]

    streams = {
        "labeled": stream(
            partition.labeled, LABELED_STREAM, LabeledViews(crop_size), labeled_batch_size
        )
    }
    if strong_views:
        same = UNLABELED_STREAM if cutmix_partner == "same" else None
        for name, number, order_of in (
            ("unlabeled", UNLABELED_STREAM, None),
            ("partner", PARTNER_STREAM, same),
        ):
            views = UnlabeledViews(crop_size, strong_views, boxes=name == "unlabeled")
            streams[name] = stream(
                partition.unlabeled, number, views, unlabeled_batch_size, order_of
            )
    if start_step == num_steps:
        return BatchStream(None)
    batches = grain.experimental.ZipMapDataset(list(streams.values())).map(_Named(tuple(streams)))
    return _read(batches, num_threads, num_workers)


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
    """Ignores signals, which may reach all processes of a job: training ends its workers itself."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)


def _check_stream(partition, seed, crop_size, strong_views, start_step, num_steps) -> None:
    _check_least(seed=(seed, 0), crop_size=(crop_size, 1), strong_views=(strong_views, 0))
    _check_least(start_step=(start_step, 0), num_steps=(num_steps, start_step))
    if strong_views > 2:
        raise ValueError(f"strong_views = {strong_views}: must be 0, 1 or 2.")
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


def _check_least(**given: tuple[int, int]) -> None:
    for name, (value, least) in given.items():
        if value < least:
            raise ValueError(f"{name} = {value}: must be at least {least}.")


def _check_batch_size(name: str, value: int, count: int) -> None:
    if value < 1 or value % count:
        raise ValueError(f"{name} = {value}: must be a positive multiple of {count} processes.")


def _find_data_error(error: BaseException | None) -> DataError | None:
    while error is not None and not isinstance(error, DataError):
        error = error.__cause__ or error.__context__
    return error


def _as_worker_error(error: Exception) -> WorkerError | None:
    # grain has no type of its own for this.
    found = re.search(r"Worker process was terminated.* exit code (-?\d+)", str(error))
    if found is None:
        return None
    return WorkerError(
        f"a worker process of the input pipeline ended with exit code {found[1]}"
        f"{' (killed, as for want of memory)' if found[1] == '-9' else ''}. The same command goes "
        "on after the last checkpoint; fewer data.num_workers take less memory."
    )
