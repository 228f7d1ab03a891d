"""The files that a run could not use and trained on without: listed, counted, limited."""

import json
import os
import pathlib

from input_pipeline import DataError, Partition
from rcc_jax.writers import reopen_lines

NAME = "bad_files.jsonl"


class BadFiles:
    """Lists every unusable file once, in `bad_files.jsonl` of the run's folder.

    A line is {"step", "part", "image", "error"}: the step whose batch met it first. Lines past the
    step that a run goes on from are dropped, so an interrupted run ends with the same list.
    """

    def __init__(
        self, path: str | os.PathLike, partition: Partition, *, start_step: int, max_bad: int
    ):
        """Goes on with the list.

        Args:
            path: The run's folder.
            partition: The data.
            start_step: The last step that is done; 0 for a new run.
            max_bad: How many files may be unusable.
        """
        self._path = pathlib.Path(path) / NAME
        self._partition = partition
        self._max_bad = max_bad
        entries, self._file = reopen_lines(self._path, start_step)
        self._known = {(entry.get("part"), entry.get("image")) for entry in entries}

    def note(self, step: int, replaced: list[tuple[str, int]]) -> list[str]:
        """Lists what the batch of a step had to do without.

        Args:
            step: The step, from 1.
            replaced: Part and index in its source of each unusable entry.

        Returns:
            A line of text on each file that was not known before.

        Raises:
            DataError: If there are more than `max_bad` of them by now.
        """
        lines = []
        for part, index in replaced:
            source = getattr(self._partition, part)
            image = source.ids[index]
            if (part, image) in self._known:
                continue
            self._known.add((part, image))
            entry = {"step": step, "part": part, "image": image, "error": _why(source, index)}
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
            count = len(self._known)
            if count > self._max_bad:
                raise DataError(
                    f"{entry['error']} That makes {count} files that cannot be used, and "
                    f"data.max_bad = {self._max_bad}. {self._path} lists them."
                )
            lines.append(
                f"left out: {entry['error']} ({count} so far, data.max_bad = {self._max_bad})"
            )
        return lines

    def close(self) -> None:
        """Closes the list."""
        self._file.close()


def _why(source, index: int) -> str:
    # Only the index comes back from a worker process; reading once more finds the reason.
    try:
        source[index]
    except DataError as error:
        return str(error)
    return f"{source.ids[index]} could not be read a moment ago, but can be now."
