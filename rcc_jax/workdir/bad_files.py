"""Files that a run could not use and trained without: listed, counted, limited."""

import itertools
import json
import os
import pathlib

from input_pipeline import DataError, Partition
from rcc_jax.distributed import processes
from rcc_jax.workdir.metrics import reopen_lines

NAME = "bad_files.jsonl"


class BadFiles:
    """Lists every unusable file once, in `bad_files.jsonl` of the run's folder.

    A line is {"step", "part", "image", "error"}, where the step is that of the first batch with the
    file. Opening drops the lines after the step that a run resumes from, so an interrupted run ends
    with the same list. Each process finds the bad files of its own rows; process 0 writes the list.
    """

    def __init__(
        self, path: str | os.PathLike, partition: Partition, *, start_step: int, max_bad: int
    ):
        """Opens the list; every process must call it.

        Args:
            path: The run's folder.
            partition: The data.
            start_step: The last step that is done; 0 for a new run.
            max_bad: How many files may be unusable.
        """
        self._path = pathlib.Path(path) / NAME
        self._partition = partition
        self._max_bad = max_bad
        entries, self._file = [], None
        if processes.is_first():
            entries, self._file = reopen_lines(self._path, start_step)
        self._known = {_key(entry) for entry in processes.from_first(entries)}
        self._met = []

    def note(self, step: int, replaced: list[tuple[str, int]]) -> None:
        """Remembers until `write` the files that were unusable in this process's rows of a batch.

        Args:
            step: The step, from 1.
            replaced: Part of the data and index in its source, of each unusable file.
        """
        for part, index in replaced:
            source = self._partition.stream(part)
            entry = {"step": step, "part": part, "image": source.ids[index]}
            if _key(entry) not in self._known | {_key(met) for met in self._met}:
                self._met.append({**entry, "error": _why(source, index)})

    def write(self) -> list[str]:
        """Lists what all processes noted since the last call; every process must call it.

        Returns:
            A line of text for each new file.

        Raises:
            DataError: If the list has more than `max_bad` files now.
        """
        met = itertools.chain.from_iterable(processes.gather(self._met))
        self._met = []
        lines, error = [], None
        for entry in sorted(met, key=lambda entry: (entry["step"], *_key(entry))):
            if _key(entry) in self._known:
                continue
            self._known.add(_key(entry))
            if self._file is not None:
                self._file.write(json.dumps(entry) + "\n")
            count = len(self._known)
            lines.append(
                f"left out: {entry['error']} ({count} so far, data.max_bad = {self._max_bad})"
            )
            error = entry["error"]
        if self._file is not None:
            self._file.flush()
        if error and len(self._known) > self._max_bad:
            raise DataError(
                f"{error} That makes {len(self._known)} unusable files, more than "
                f"data.max_bad = {self._max_bad}. {self._path} lists them. Repair or remove them, "
                "or raise data.max_bad."
            )
        return lines

    def close(self) -> None:
        """Closes the list."""
        if self._file is not None:
            self._file.close()


def _key(entry: dict[str, str]) -> tuple[str, str]:
    return entry["part"], entry["image"]


def _why(source, index: int) -> str:
    # A worker process returns only the index; reading the file again finds the reason.
    try:
        source[index]
    except DataError as error:
        return str(error)
    return f"{source.ids[index]} was unreadable at first, but can be read now."
