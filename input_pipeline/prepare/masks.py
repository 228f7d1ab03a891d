"""Converts masks to 'L' PNG in parallel; an interrupted conversion is resumed."""

import collections
import concurrent.futures
import os
import re
import shutil
from collections.abc import Callable, Iterable

import cv2
import numpy as np
import tqdm

from input_pipeline.errors import DataError
from input_pipeline.files import write_atomically
from input_pipeline.prepare.storage import full_disk_named

# The end of a complete PNG: length 0, 'IEND' and its checksum.
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_PLAIN_NAME = re.compile(r"\w[\w.-]{0,200}")


class MaskFolder:
    """A work folder of converted masks, which is kept after an interruption.

    Args:
        path: The folder; made if absent.
        origin: Says which archives the masks come from; masks of other archives are deleted.
    """

    def __init__(self, path: str, origin: str):
        self.path = path
        recorded = os.path.join(path, "origin.txt")
        with full_disk_named(os.path.dirname(path)):
            if os.path.isdir(path) and _read(recorded) != origin.encode():
                shutil.rmtree(path)
            os.makedirs(path, exist_ok=True)
            if not os.path.exists(recorded):
                write_atomically(recorded, origin)
        self._done = {name for name in self._names() if self._is_whole(name)}

    def __contains__(self, name: str) -> bool:
        return name in self._done

    def file(self, name: str) -> str:
        """The file of a mask.

        Raises:
            DataError: A name in an archive that is not a plain file name: it could lead elsewhere.
        """
        if not _PLAIN_NAME.fullmatch(name):
            raise DataError(
                f"{name!r}: the name of an image in an archive. Expected are letters, digits, "
                "'_', '-' and '.'; take the official archives."
            )
        return os.path.join(self.path, f"{name}.png")

    def remove(self) -> None:
        """Removes the folder with all masks."""
        shutil.rmtree(self.path)

    def convert(
        self,
        masks: Iterable[tuple[str, bytes]],
        decode: Callable[[str, bytes], np.ndarray],
        *,
        total: int | None,
        title: str,
        num_threads: int,
    ) -> None:
        """Decodes masks and stores them as 'L' PNG.

        Args:
            masks: Name and stored bytes of each; read in this thread, one after another.
            decode: Gives the ids of a mask, uint8 [H, W]; called from several threads.
            total: Number of masks, for the progress bar; None if unknown.
            title: Says what is being done, for the progress bar.
            num_threads: Threads that decode and encode.

        Raises:
            DataError: A mask that cannot be decoded, or a full disk.
        """
        pending: collections.deque = collections.deque()
        bar = tqdm.tqdm(total=total, desc=title, unit="mask", disable=None)
        with bar, concurrent.futures.ThreadPoolExecutor(num_threads, "masks") as executor:
            try:
                for name, data in masks:
                    pending.append(executor.submit(self._convert_one, name, data, decode))
                    # Only a few masks wait at any time, so memory does not grow with the data set.
                    while len(pending) > 4 * num_threads:
                        self._done.add(pending.popleft().result())
                        bar.update()
                while pending:
                    self._done.add(pending.popleft().result())
                    bar.update()
            except BaseException:
                executor.shutdown(wait=False, cancel_futures=True)
                raise

    def _convert_one(self, name: str, data: bytes, decode) -> str:
        # Given a level of compression, OpenCV also chooses a filter for each row, which is slow.
        encoded = cv2.imencode(".png", decode(name, data))[1]
        with full_disk_named(self.path):
            # After a crash of the machine `_is_whole` finds those that did not reach the disk.
            write_atomically(self.file(name), encoded.tobytes(), durable=False)
        return name

    def _names(self) -> list[str]:
        return [x.removesuffix(".png") for x in os.listdir(self.path) if x.endswith(".png")]

    def _is_whole(self, name: str) -> bool:
        """Whether the file reached the disk before a crash of the machine."""
        with open(self.file(name), "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - len(_PNG_END)))
            return file.read() == _PNG_END


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""
