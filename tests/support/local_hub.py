"""A hub on the loopback address, which serves files that a test has made, or fails as told."""

import contextlib
import hashlib
import http.server
import os
import pathlib
import signal
import threading
from collections.abc import Iterator

REVISION = "0123456789abcdef0123456789abcdef01234567"


class LocalHub:
    """What the hub holds, how it fails, and what it was asked.

    Attributes:
        files: Content by repository; each is the repository's model.safetensors.
        status: What it answers instead of a file; None = the file.
        silent: Whether it accepts connections and then says nothing.
        stalled: Whether it sends half of a file and then nothing.
        cut: How many bytes are missing at the end of what it sends.
        announced: The hash that it announces; None = that of the content.
        headers: Whether its answers are those of a hub.
        asked: The requests for files so far, as 'METHOD repository@revision'.
        address: Its address.
        cache: The client's cache.
    """

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.status = self.announced = None
        self.silent, self.stalled, self.cut, self.headers = False, False, 0, True
        self.asked: list[str] = []
        self.address = ""
        self.cache = pathlib.Path()
        self.over = threading.Event()

    def use_cache(self, folder: pathlib.Path) -> pathlib.Path:
        """Makes a folder the client's cache."""
        self.cache = folder
        return folder

    def cached(self) -> list[str]:
        """The files in the cache, without locks and notes on branches."""
        return [
            path.relative_to(self.cache).as_posix()
            for path in sorted(self.cache.rglob("*"))
            if not path.is_dir()
            and path.suffix not in (".TAG", ".lock")
            and path.parent.name != "refs"
        ]


@contextlib.contextmanager
def stopped_in_a_download(hub: LocalHub) -> Iterator[None]:
    """Sends SIGTERM to this process while it downloads a file in the context."""
    hub.stalled, over = True, threading.Event()

    def stop():
        while not over.wait(0.02):
            if any(path.endswith(".incomplete") for path in hub.cached()):
                if not over.wait(0.2):  # Now it waits for the rest.
                    os.kill(os.getpid(), signal.SIGTERM)
                return

    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def serve() -> Iterator[LocalHub]:
    """A hub that listens until the block ends."""
    hub = LocalHub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            repository, _, rest = self.path[1:].partition("/resolve/")
            revision, _, name = rest.partition("/")
            if name:  # The client asks for other things, too.
                hub.asked.append(f"{self.command} {repository}@{revision}")
            if hub.silent:
                hub.over.wait(60)
                self.close_connection = True
                return
            content = hub.files.get(repository) if name == "model.safetensors" else None
            status = hub.status or (404 if content is None else 200)
            content = content if status == 200 else b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if hub.headers:
                self.send_header("X-Repo-Commit", REVISION)
                digest = hub.announced or hashlib.sha256(content).hexdigest()
                self.send_header("ETag", f'"{digest}"')
            self.end_headers()
            if self.command == "GET" and hub.stalled:
                self.wfile.write(content[: len(content) // 2])
                hub.over.wait(60)
            elif self.command == "GET":
                self.wfile.write(content[: len(content) - hub.cut])
                self.close_connection = True

        do_GET = do_HEAD

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        hub.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.over.set()
            server.shutdown()
            thread.join()
