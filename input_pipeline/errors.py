"""The errors of the input pipeline: unusable data, and a worker process that died."""


class DataError(Exception):
    """Input that cannot be used. The message says what is wrong, where, and what to do.

    The error carries only its message, so that it survives being pickled in a worker process.
    """


class WorkerError(Exception):
    """A worker process ended before its work. The message says how, and how to go on."""
