"""Weights on the Hugging Face hub: downloaded once into its cache, and checked there."""

import contextlib
import dataclasses
import os
import pathlib
import queue
import re
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils import logging as hub_logging
from huggingface_hub.utils import tqdm as hub_tqdm

from rcc_jax.models import state_dict_files

# The one file that is read; the hub's other formats are pickles.
FILE = "model.safetensors"
CONNECTION_SECONDS = 10.0
# The bytes sent for a file may be this many times its size. Otherwise the client would start again
# forever if the connection always broke and the server could not resume.
_MOST_SENT = 2
_SHA256 = re.compile("[0-9a-f]{64}")
_MEANING = {
    401: "there is no such repository, or it needs a login (hf auth login)",
    403: "this login may not read it; the page of the repository may ask you to accept its terms",
    404: f"there is no such repository or revision, or no {FILE} in it",
}

T = TypeVar("T")


class HubError(Exception):
    """Why a file cannot be had, in one line."""


@dataclasses.dataclass(frozen=True)
class HubFile:
    """A file in the cache.

    Attributes:
        path: Its path.
        revision: The commit that it belongs to.
        sha256: Its hash, in hexadecimal.
    """

    path: str
    revision: str
    sha256: str


def address(repository: str, revision: str) -> str:
    """Where a browser finds the weights of a repository."""
    return huggingface_hub.hf_hub_url(repository, FILE, revision=revision)


def fetch(
    repository: str, revision: str, log: Callable[[str], None], *, offline: str = ""
) -> HubFile:
    """The weights of a repository, from the cache or else from the hub.

    A file in the cache is used without asking the hub for a newer one; a corrupt one is deleted
    and downloaded again. A failed download leaves no part of the file there.

    Args:
        repository: OWNER/NAME.
        revision: Branch, tag or commit.
        log: Called with a line of text if a file is deleted or a download begins.
        offline: Why the hub must not be asked; '' = it may be, unless HF_HUB_OFFLINE is set.

    Raises:
        HubError: The file is not in the cache, and the hub cannot be reached or does not give it,
            or gives a corrupt one; or the one in the cache cannot be read, or is corrupt and
            `offline` is given.
    """
    if constants.HF_HUB_OFFLINE:
        offline = "HF_HUB_OFFLINE is set"
    with _plain_client():
        # The client raises errors of many types, some of them of its own dependencies.
        try:
            path = huggingface_hub.try_to_load_from_cache(repository, FILE, revision=revision)
        except Exception as error:
            raise HubError(_cause(error, "{} cannot be asked for it")) from error
        if isinstance(path, str):
            try:
                return _checked(path)
            except HubError as error:
                if offline or os.path.lexists(path):  # It could not be read, or not be deleted.
                    raise
                log(f"{error}; it is downloaded again")
        if offline:
            raise HubError(f"{offline}, and the cache {constants.HF_HUB_CACHE} lacks them")
        return _download(repository, revision, log)


def _download(repository: str, revision: str, log: Callable[[str], None]) -> HubFile:
    size = _ask(repository, revision)
    megabytes = "" if size is None else f" ({size / 1e6:.1f} MB)"
    log(f"downloading {address(repository, revision)}{megabytes}")
    try:
        path = huggingface_hub.hf_hub_download(repository, FILE, revision=revision, tqdm_class=_Bar)
    except Exception as error:
        raise HubError(_cause(error, "the download from {} broke off")) from error
    return _checked(path)


def _ask(repository: str, revision: str) -> int | None:
    """Whether the hub has the file, in a limited time; its size in bytes, if known."""
    try:
        found = _in_time(
            lambda: huggingface_hub.get_hf_file_metadata(
                address(repository, revision), timeout=CONNECTION_SECONDS
            )
        )
    except TimeoutError:
        raise HubError(
            f"no answer from {constants.ENDPOINT} within {CONNECTION_SECONDS:g} s"
        ) from None
    except Exception as error:
        raise HubError(_cause(error)) from error
    if found.commit_hash is None or found.etag is None:
        raise HubError(
            f"the server at {constants.ENDPOINT} is not a hub: check the proxy and HF_ENDPOINT"
        )
    return found.size


def _in_time(function: Callable[[], T]) -> T:
    """The result of a call; TimeoutError if it takes longer than CONNECTION_SECONDS.

    The client's own limit applies to each wait separately, and not to the DNS lookup.
    """
    answers: queue.SimpleQueue[tuple[T | None, Exception | None]] = queue.SimpleQueue()

    def call() -> None:
        try:
            answers.put((function(), None))
        except Exception as error:
            answers.put((None, error))

    threading.Thread(target=call, name="ask-the-hub", daemon=True).start()
    try:
        result, error = answers.get(timeout=CONNECTION_SECONDS)
    except queue.Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # without an error there is a result


class _Bar(hub_tqdm):
    """The client's progress bar; it ends a download that starts again and again."""

    received: float = 0

    def update(self, n: float | None = 1) -> bool | None:
        self.received += max(n or 0, 0)
        if self.total and self.received > _MOST_SENT * self.total:
            raise ConnectionError("the connection breaks off again and again")
        return super().update(n)


def _checked(name: str) -> HubFile:
    """A file in the cache, whose hash must be the announced one where that is known.

    The hub announces the SHA-256 of large files, and the client links to a file of that name.

    Raises:
        HubError: It is corrupt, and deleted now; or it cannot be read.
    """
    path = pathlib.Path(name)
    try:
        found = state_dict_files.sha256(path)
        announced = pathlib.Path(os.readlink(path)).name if path.is_symlink() else ""
        if _SHA256.fullmatch(announced) and announced != found:
            # Clients with shared blobs make the file of that name a link, too.
            for each in (path.resolve(), path.parent / os.readlink(path), path):
                each.unlink(missing_ok=True)
            raise HubError(
                f"{path} was corrupt (sha256 {found[:12]}, announced {announced[:12]}) and has "
                "been deleted"
            )
    except OSError as error:
        # A fault while reading does not name the file.
        raise HubError(_cause(OSError(error.errno, error.strerror, name))) from error
    return HubFile(name, path.parent.name, found)


def _cause(error: BaseException, otherwise: str = "no connection to {}") -> str:
    """The reason for a failure of the client, in one line.

    Args:
        error: What it raised.
        otherwise: What happened, with {} for the hub, if neither its answer nor the cache is the
            reason.
    """
    while isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__  # The client's own text only says that something has happened.
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        meaning = _MEANING.get(status, "try again later" if status >= 500 else "")
        return f"{constants.ENDPOINT} answers {status}{f': {meaning}' if meaning else ''}"
    if isinstance(error, OSError) and error.filename is not None:
        return (
            f"cannot use the cache {error.filename} ({error.strerror}); the variable HF_HUB_CACHE "
            "names another folder for it"
        )
    first, *_ = (*str(error).strip().splitlines(), "")
    text = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return f"{otherwise.format(constants.ENDPOINT)} ({text})"


@contextlib.contextmanager
def _plain_client() -> Iterator[None]:
    """Makes the client download over plain HTTP, without a warning for each of its tries.

    The hub's other protocol, Xet, has limits of its own on time and tries, of minutes.
    """
    before = hub_logging.get_verbosity(), constants.HF_HUB_DISABLE_XET
    hub_logging.set_verbosity_error()
    constants.HF_HUB_DISABLE_XET = True
    try:
        yield
    finally:
        hub_logging.set_verbosity(before[0])
        constants.HF_HUB_DISABLE_XET = before[1]
