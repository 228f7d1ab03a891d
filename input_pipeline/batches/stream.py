"""An iterator over training batches that ends its threads and worker processes."""

import re
from collections.abc import Iterator

import numpy as np

from input_pipeline.batches.skipping import take_replaced
from input_pipeline.errors import DataError, WorkerError

# The part of the data that a stream reads, where its name is another one.
_SOURCE_OF = {"partner": "unlabeled"}


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
