"""The iterator over training batches, which owns threads and worker processes."""

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from multiprocessing.process import BaseProcess

import numpy as np

from input_pipeline.batches.skipping import take_replaced
from input_pipeline.errors import DataError, WorkerError

# The part of the data that a part of the batches is read from, where their names differ.
_SOURCE_OF = {"partner": "unlabeled"}


class BatchStream(Iterator):
    """Iterates over batches; `close()` ends the threads and worker processes that make them.

    Attributes:
        replaced: The unusable entries that others replace in the last batch, as part and index.
            For an entry of the partner the part is 'unlabeled', because both read this source.

    Args:
        iterator: The iterator of a grain data set. None: There are no batches.
        in_workers: Whether worker processes make the batches. These are copied then, because they
            lie in memory that is shared with a worker and freed afterwards.
    """

    def __init__(self, iterator, *, in_workers: bool = False):
        self.replaced: list[tuple[str, int]] = []
        self._iterator = iterator
        self._in_workers = in_workers
        self._started = False
        self._workers: set[BaseProcess] = set()

    def __next__(self) -> dict:
        if self._iterator is None:
            raise StopIteration
        try:
            batch = next(self._iterator) if self._started else self._start()
        except StopIteration:
            self.close()
            raise
        except Exception as error:
            found = _find_data_error(error) or _find_dead(self._workers)
            self.close()
            if found is None:
                raise
            raise found from None
        batch, replaced = take_replaced(batch)
        self.replaced = [(_SOURCE_OF.get(part, part), index) for part, index in replaced]
        if not self._in_workers:
            return batch
        return {
            part: {name: np.array(rows, subok=False) for name, rows in arrays.items()}
            for part, arrays in batch.items()
        }

    def _start(self) -> dict:
        """The first batch; grain starts its workers for it, and does not say which they are."""
        self._started = True
        if not self._in_workers:
            return next(self._iterator)
        done = threading.Event()
        others = set(multiprocessing.active_children())
        threading.Thread(target=self._find_workers, args=(others, done), daemon=True).start()
        try:
            return next(self._iterator)
        finally:
            done.set()

    def _find_workers(self, others: set[BaseProcess], done: threading.Event) -> None:
        # This takes less than the second after which grain notices that a worker has ended.
        while not done.wait(0.1):
            self._workers |= set(multiprocessing.active_children()) - others

    def close(self) -> None:
        """Ends the stream; may be called more than once."""
        iterator, self._iterator = self._iterator, None
        if iterator is not None:
            iterator.close()

    def __enter__(self) -> "BatchStream":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def _find_data_error(error: BaseException | None) -> DataError | None:
    while error is not None and not isinstance(error, DataError):
        error = error.__cause__ or error.__context__
    return error


def _find_dead(workers: set[BaseProcess]) -> WorkerError | None:
    code = next((worker.exitcode for worker in workers if worker.exitcode), None)
    if code is None:
        return None
    return WorkerError(
        f"a worker process of the input pipeline ended with exit code {code}"
        f"{' (killed, perhaps for lack of memory)' if code == -signal.SIGKILL else ''}. Run the "
        "same command again to resume from the last checkpoint; a smaller data.num_workers needs "
        "less memory."
    )
