"""Files that are whole or absent, and what the system's errors about files mean."""

import errno
import hashlib
import os
import pathlib

# Values of `OSError.errno`: a full disk, quota or limit on sizes; a missing permission.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


def write_atomically(
    path: str | os.PathLike, content: bytes | memoryview | str, *, durable: bool = True
) -> None:
    """Writes a file; if the process dies, the file is either the old one or the complete new one.

    Args:
        path: The file; its folder exists.
        content: Bytes, or text that is written as UTF-8.
        durable: Whether this also holds if the machine crashes. The call then waits some
            milliseconds until the content is on the disk.
    """
    path = pathlib.Path(path)
    # Several processes may write one file at a time: each has its own temporary name.
    temporary = path.with_name(f".{_shortened(path.name)}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _shortened(name: str) -> str:
    """The name of a file; a digest of it if it is too long to be a part of another name."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= 200 else hashlib.blake2b(encoded, digest_size=16).hexdigest()
