"""Lists of a run's images, kept in its folder if its configuration names folders or shares.

A new file in a folder would change the set of images. The lists let a run be resumed and evaluated
with the images that it began with.
"""

import os
import pathlib
import shutil

from input_pipeline import Partition
from input_pipeline.partitions import lists

FOLDER = "lists"
_PARTS = ("labeled", "unlabeled", "val")


def recorded(workdir: str | os.PathLike) -> dict[str, str]:
    """Fields of `config.data` that open the lists of a run; empty if it has no lists."""
    folder = pathlib.Path(workdir).absolute() / FOLDER
    if not folder.is_dir():
        return {}
    files = {part: folder / f"{part}.txt" for part in _PARTS}
    return {"train": "", **{x: str(file) if file.exists() else "" for x, file in files.items()}}


def record(partition: Partition, workdir: str | os.PathLike) -> None:
    """Writes the lists of a run, unless they exist or the configuration names every image.

    Args:
        partition: The images of the run.
        workdir: Folder of the run.

    Raises:
        DataError: If a file name cannot be written in a list.
    """
    folder = pathlib.Path(workdir) / FOLDER
    if partition.by_lists or folder.exists():
        return
    # One rename, so that a killed process leaves all lists or none.
    temporary = folder.with_name(f".{FOLDER}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        for part in _PARTS:
            source = getattr(partition, part)
            if len(source):
                lists.write_list(temporary / f"{part}.txt", *source.columns)
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
