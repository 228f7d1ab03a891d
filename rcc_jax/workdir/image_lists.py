"""The images of a run, listed in its folder where its settings name none of them.

A folder or a share of the labelled images is another set once a file is added. Then a run goes on
with, and is evaluated on, what it began with.
"""

import os
import pathlib
import shutil

from input_pipeline import Partition
from input_pipeline.partitions import lists

FOLDER = "lists"
_PARTS = ("labeled", "unlabeled", "val")


def recorded(workdir: str | os.PathLike) -> dict[str, str]:
    """Settings of `data` that open the lists of a run; none where it has no lists."""
    folder = pathlib.Path(workdir).absolute() / FOLDER
    if not folder.is_dir():
        return {}
    files = {part: folder / f"{part}.txt" for part in _PARTS}
    return {"train": "", **{x: str(file) if file.exists() else "" for x, file in files.items()}}


def record(partition: Partition, workdir: str | os.PathLike) -> None:
    """Writes the lists of a run, unless it has them or its settings name every image.

    Raises:
        DataError: A file name that no list can hold.
    """
    folder = pathlib.Path(workdir) / FOLDER
    if partition.by_lists or folder.exists():
        return
    # All of them or none, whenever the process dies.
    temporary = folder.with_name(f".{FOLDER}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for part in _PARTS:
        source = getattr(partition, part)
        if len(source):
            columns = [source.ids, source.label_ids] if source.labeled else [source.ids]
            lists.write_list(temporary / f"{part}.txt", *columns)
    os.replace(temporary, folder)
