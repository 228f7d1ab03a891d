"""TensorBoard events of bounded size: the oldest files are removed to make room for new ones."""

import functools
import os
import pathlib
import socket
import time
from collections.abc import Mapping

import numpy as np
from tensorboardX import RecordWriter, summary
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

_VERSION = "brain.Event:2"
# The events are split into this many files, so removing one loses an eighth of them.
_FILES = 8
_FLUSH_SECONDS = 30
# Bytes of a record's length and checksums.
_FRAME_BYTES = 16
# Share of the bytes for pictures, which are large; the numbers of a long run fit in the rest.
_PICTURES_SHARE = 4 / 5


class TensorBoard:
    """What TensorBoard shows of a run: numbers, and pictures in a separate folder.

    The separate folder keeps the large pictures from displacing the numbers.
    """

    def __init__(self, folder: str | os.PathLike, *, start_step: int, max_bytes: int):
        """Opens the events; the arguments are those of `EventFiles`."""
        pictures_bytes = int(_PICTURES_SHARE * max_bytes)
        self._open_pictures = functools.partial(
            EventFiles,
            pathlib.Path(folder) / "pictures",
            start_step=start_step,
            max_bytes=pictures_bytes,
        )
        self._numbers = EventFiles(
            folder, start_step=start_step, max_bytes=max_bytes - pictures_bytes
        )
        self._pictures: EventFiles | None = None

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds numbers by name."""
        found = [summary.scalar(name, value).value[0] for name, value in values.items()]
        self._numbers.write(step, Summary(value=found))

    def image(self, step: int, name: str, picture: np.ndarray) -> None:
        """Adds a picture [H, W, 3] of uint8."""
        if self._pictures is None:  # Opened late: a run may have none.
            self._pictures = self._open_pictures()
        self._pictures.write(step, summary.image(name, picture, dataformats="HWC"))

    def close(self) -> None:
        """Puts everything on disk."""
        self._numbers.close()
        if self._pictures is not None:
            self._pictures.close()


class EventFiles:
    """The event files of one folder.

    TensorBoard reads them in the order of their names, which is the order of their creation.
    """

    def __init__(self, folder: str | os.PathLike, *, start_step: int, max_bytes: int):
        """Opens a new file, which hides all events after the step that a run resumes from.

        Args:
            folder: Made if absent; older event files in it count towards the limit.
            start_step: The last step that is done; 0 for a new run.
            max_bytes: Limit on the bytes of all files together.
        """
        self._folder = pathlib.Path(folder)
        self._start_step, self._max_bytes = start_step, max_bytes
        self._folder.mkdir(parents=True, exist_ok=True)
        paths = sorted(self._folder.glob("*.tfevents.*"))
        self._sizes = {path: path.stat().st_size for path in paths}
        self._writer, self._path, self._count = None, None, 0
        self._flushed = time.monotonic()
        self._open_next()
        start = SessionLog(status=SessionLog.START)
        self._append(Event(wall_time=time.time(), step=start_step + 1, session_log=start))

    def write(self, step: int, content: Summary) -> None:
        """Adds an event; an event larger than `max_bytes` is dropped."""
        event = Event(wall_time=time.time(), step=step, summary=content)
        if self._sizes[self._path] + event.ByteSize() > self._max_bytes // _FILES:
            self.close()
            self._open_next()
        self._append(event)
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._writer.flush()
            self._flushed = time.monotonic()

    def close(self) -> None:
        """Puts everything on disk."""
        self._writer.flush()
        self._writer.close()

    def _open_next(self) -> None:
        # Names hold the second: without the count the next file could overwrite this one.
        stem = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
        while True:
            self._count += 1
            self._path = self._folder / f"{stem}.after_{self._start_step}.{self._count:06d}"
            if not self._path.exists():
                break
        self._sizes[self._path] = 0
        self._writer = RecordWriter(str(self._path))
        self._append(Event(wall_time=time.time(), file_version=_VERSION))

    def _append(self, event: Event) -> None:
        record = event.SerializeToString()
        size = len(record) + _FRAME_BYTES
        if self._sizes[self._path] + size > self._max_bytes:
            return
        self._make_room(size)
        self._writer.write(record)
        self._sizes[self._path] += size

    def _make_room(self, size: int) -> None:
        for path in list(self._sizes):
            if path == self._path or sum(self._sizes.values()) + size <= self._max_bytes:
                return
            path.unlink(missing_ok=True)
            del self._sizes[path]
