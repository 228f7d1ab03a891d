"""The iterator over training batches, which owns threads and worker processes."""

import re
from collections.abc import Iterator

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
        iterator: Yields the batches and has a method `close`. None: There are no batches.
        copy: Whether to copy the batches. They lie in memory that is shared with a worker process
            and freed afterwards.
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
    # grain raises no particular type for this.
    found = re.search(r"Worker process was terminated.* exit code (-?\d+)", str(error))
    if found is None:
        return None
    return WorkerError(
        f"a worker process of the input pipeline ended with exit code {found[1]}"
        f"{' (killed, perhaps for lack of memory)' if found[1] == '-9' else ''}. Run the same "
        "command again to resume from the last checkpoint; a smaller data.num_workers needs less "
        "memory."
    )
