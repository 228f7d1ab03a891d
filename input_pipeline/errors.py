"""The one error that bad input data raises."""


class DataError(Exception):
    """Input that cannot be used. The message says what is wrong, where, and what to do.

    It carries only its message, so it survives the way back from a worker process.
    """
