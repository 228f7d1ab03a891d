"""Folders that are whole or absent, one preparation at a time, and one error for a full disk."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator

from input_pipeline.errors import DataError
from input_pipeline.files import NO_SPACE


def publish(partial: str, final: str) -> None:
    """Gives a finished folder its name once its whole content is on the disk."""
    for folder, _, names in os.walk(partial):
        for path in (folder, *(os.path.join(folder, name) for name in names)):
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    os.rename(partial, final)


@contextlib.contextmanager
def full_disk_named(folder: str) -> Iterator[None]:
    """Turns the errors of a full disk inside the block into one DataError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        # The ArrayRecord writer reports the system's error as the text of a RuntimeError.
        said = [os.strerror(number) for number in NO_SPACE]
        if getattr(error, "errno", None) not in NO_SPACE and not any(x in str(error) for x in said):
            raise
        free = shutil.disk_usage(folder).free / 2**30
        raise DataError(
            f"{folder}: the disk is full ({free:.1f} GiB free, or a quota or limit was reached). "
            "Free some space or take another --data_dir; the same command resumes after the "
            "masks that are done."
        ) from None


@contextlib.contextmanager
def held(folder: str) -> Iterator[None]:
    """Makes a folder and locks it against other preparations; the lock ends with the process.

    Raises:
        DataError: Locked by another process, or not writable.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        lock = os.open(os.path.join(folder, ".lock"), os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot write there ({error.strerror}). Give another --data_dir."
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise DataError(
            f"{folder}: another preparation is writing there. Wait for it, or stop it."
        ) from None
    finally:
        os.close(lock)
