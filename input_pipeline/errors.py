"""The errors of the input pipeline: unusable data, and a worker process that died."""


class DataError(Exception):
    """Input that cannot be used. The message says what is wrong, where, and what to do.

    The error carries only its message, so that it survives being pickled in a worker process.
    """


class WorkerError(Exception):
    """A worker process ended before its work was done. The message says how, and how to resume."""


def first_line(error: Exception) -> str:
    """Type and first line of a library's error, whose whole text may fill a page."""
    said = error
    while len(said.args) == 1 and isinstance(said.args[0], Exception):
        said = said.args[0]
    if isinstance(said, KeyError) and len(said.args) == 1:
        said = said.args[0]  # The text of a KeyError is the repr of this.
    lines = str(said).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}"[:200] if lines else type(error).__name__
