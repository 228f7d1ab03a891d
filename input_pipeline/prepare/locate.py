"""Finds an archive and its format."""

import fnmatch
import os
from collections.abc import Sequence

from input_pipeline.errors import DataError
from input_pipeline.prepare.archives import Archive, CompressedTar, Folder, Tar, Wanted, Zip

_COMPRESSED_TAR = (".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")


def find(sources: Sequence[str], wanted: Wanted) -> Archive:
    """Finds an archive, packed or unpacked.

    Args:
        sources: Folders to look in (not in their subfolders), or the files themselves.
        wanted: What to look for.

    Raises:
        DataError: Not there, cut off, or another archive.
    """
    packed = []
    for source in (os.path.expanduser(source) for source in sources):
        if not os.path.exists(source):
            raise DataError(f"--source={source}: no such file or folder.")
        if os.path.isfile(source):
            packed.append(source)
            continue
        for folder in wanted.folders:
            root = os.path.normpath(os.path.join(source, folder))
            if os.path.exists(os.path.join(root, wanted.contents)):
                return Folder(root, wanted)
        packed += (entry.path for entry in sorted(os.scandir(source), key=lambda e: e.name))
    fitting = [x for x in packed if fnmatch.fnmatch(os.path.basename(x), wanted.pattern)]
    # Try the official name first: an older edition may be beside it.
    fitting.sort(key=lambda path: os.path.basename(path) != wanted.file)
    for path in filter(os.path.isfile, fitting):
        return _open(path, wanted)
    raise DataError(
        f"--source={','.join(sources)}: {wanted.title} is not there. Expected the file "
        f"{wanted.file}, or its unpacked folder {wanted.folders[0]}."
    )


def _open(path: str, wanted: Wanted) -> Archive:
    if path.endswith(_COMPRESSED_TAR):
        return CompressedTar(path, wanted)
    return (Zip if path.endswith(".zip") else Tar)(path, wanted)
