"""A real browser for the pages that runs write: Chromium, controlled through its debugging pipe."""

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
# Root gets no sandbox; background services would look for a network.
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-pipe",
)  # fmt: skip

# Chromium reads from descriptor 3 and writes to 4. A separate process moves them there, because
# Python warns of a fork of this one, in which JAX has threads.
_PLACE = """
import fcntl, os, sys
source, to = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(source, 3)
os.dup2(to, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Tab:
    """A tab. `messages` are the messages of its console and its log."""

    def __init__(self, to: int, source):
        self._to, self._source, self._numbers = to, source, itertools.count(1)
        self._session: dict[str, str] = {}
        self.messages: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params):
        """Sends a command of the DevTools protocol and waits for its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params, **self._session}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        return self._receive(lambda found: found.get("id") == number)["result"]

    def _receive(self, wanted) -> dict:
        while True:
            text = bytearray()
            while (byte := self._source.read(1)) != b"\0":
                assert byte, "the browser has exited"
                text += byte
            found = json.loads(text)
            if found.get("method") in ("Log.entryAdded", "Runtime.consoleAPICalled"):
                self.messages.append(json.dumps(found["params"]))
            assert "error" not in found, found
            if wanted(found):
                return found

    def open(self, path, *, width: int, height: int) -> None:
        """Opens a file in a window of this size and waits until it is loaded."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Page.navigate", url=path.resolve().as_uri())
        self._receive(lambda found: found.get("method") == "Page.loadEventFired")

    def evaluate(self, expression: str):
        """Evaluates a JavaScript expression."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def press(self, key: str) -> None:
        """Presses Tab or Enter."""
        code, text = {"Tab": (9, ""), "Enter": (13, "\r")}[key]
        for kind in ("keyDown" if text else "rawKeyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, text=text, windowsVirtualKeyCode=code
            )


@contextlib.contextmanager
def tab(profile) -> Iterator[Tab]:
    """A tab of a new browser, with its files in an empty folder."""
    (their_input, our_output), (our_input, their_output) = os.pipe(), os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", _PLACE, str(their_input), str(their_output)]
        + [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(their_input, their_output),
    )
    os.close(their_input)
    os.close(their_output)
    try:
        with os.fdopen(our_input, "rb") as source:
            yield Tab(our_output, source)
    finally:
        process.kill()
        process.wait()
        os.close(our_output)
