"""Files of a hub: fetched once and checked, and the messages if one is not available."""

import errno
import hashlib
import os
import pathlib
import re
import time

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from rcc_jax.models import hub as client
from tests.support.local_hub import REVISION

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def offered(hub):
    hub.files["timm/net"] = CONTENT
    yield
    close_session()  # It would keep a proxy.


def refusal(**options) -> str:
    with pytest.raises(client.HubError) as caught:
        client.fetch("timm/net", "main", lambda _: None, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_downloaded_once(hub):
    said = []
    found = client.fetch("timm/net", "main", said.append)
    assert pathlib.Path(found.path).read_bytes() == CONTENT
    assert (found.revision, found.sha256) == (REVISION, SHA256)
    (line,) = said
    assert line == f"downloading {hub.address}/timm/net/resolve/main/model.safetensors (0.0 MB)"
    asked = len(hub.asked)
    # Later ones need no hub, neither for the branch nor for the commit.
    hub.status = 503
    assert client.fetch("timm/net", "main", said.append) == found
    assert client.fetch("timm/net", REVISION, said.append, offline="x") == found
    assert (len(hub.asked), len(said)) == (asked, 1)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, "answers 401: there is no such repository, or it needs a login"),
        (403, "answers 403: this login may not read it; .* accept its terms"),
        (404, "answers 404: there is no such repository or revision, or no model.safetensors"),
        (418, "answers 418$"),
        (503, "answers 503: try again later"),
    ],
)
def test_what_the_hub_answers(hub, status, expected):
    hub.status = status
    message = refusal()
    assert message.startswith(hub.address)
    assert re.search(expected, message)
    assert hub.cached() == []


def test_a_hub_that_says_nothing_is_left_in_time(hub, monkeypatch):
    monkeypatch.setattr(client, "CONNECTION_SECONDS", 0.2)
    hub.silent = True
    since = time.monotonic()
    assert refusal() == f"no answer from {hub.address} within 0.2 s"
    assert time.monotonic() - since < 2
    assert hub.cached() == []


def test_something_else_that_answers(hub):
    hub.headers = False  # As the page of a hotel's network.
    assert refusal().endswith("is not a hub: check the proxy and HF_ENDPOINT")


def test_no_connection(hub, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    close_session()
    assert re.fullmatch(rf"no connection to {hub.address} \(.*refused\)", refusal())
    assert hub.asked == []
    # A proxy that answers for itself.
    monkeypatch.setenv("HTTP_PROXY", hub.address)
    hub.status = 407
    close_session()
    assert "answers 407" in refusal()


def test_a_download_that_breaks_off(hub, monkeypatch):
    """Not resumed by the server, it would start again without end: that is noticed."""
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    monkeypatch.setattr(client, "_MOST_SENT", 1)
    hub.cut = 1000
    message = refusal()
    assert message.startswith(f"the download from {hub.address} broke off (ConnectionError: ")
    assert hub.cached() == []
    hub.cut = 0
    assert client.fetch("timm/net", "main", lambda _: None).sha256 == SHA256


def test_a_file_that_is_not_the_announced_one(hub):
    hub.announced = "0" * 64
    assert "was corrupt (sha256 " in refusal()
    assert hub.cached() == []


@pytest.mark.parametrize("shared", [False, True])
def test_a_file_that_was_damaged_in_the_cache(hub, shared):
    path = pathlib.Path(client.fetch("timm/net", "main", lambda _: None).path)
    if shared:  # As clients with a store for all repositories leave it.
        blob, stored = path.resolve(), hub.cache / "blobs" / "ab"
        stored.parent.mkdir()
        blob.rename(stored)
        blob.symlink_to(stored)
    path.write_bytes(CONTENT[:-1])
    said = []
    found = client.fetch("timm/net", "main", said.append)
    assert (found.sha256, pathlib.Path(found.path).read_bytes()) == (SHA256, CONTENT)
    assert "was corrupt" in said[0]
    assert said[0].endswith("has been deleted; it is downloaded again")
    assert said[1].startswith("downloading ")
    assert len(hub.cached()) == 2  # The file and the link to it.
    path.write_bytes(CONTENT[:-1])
    assert "was corrupt" in refusal(offline="CI is set")
    assert hub.cached() == []


def test_a_file_in_the_cache_that_cannot_be_read(hub):
    path = pathlib.Path(client.fetch("timm/net", "main", lambda _: None).path)
    path.unlink()
    path.symlink_to("/proc/self/mem")  # Even root cannot read its beginning.
    asked = len(hub.asked)
    assert refusal().startswith(f"cannot use the cache {path} (Input/output error)")
    assert len(hub.asked) == asked


def test_offline(hub, monkeypatch):
    assert refusal(offline="CI is set") == f"CI is set, and the cache {hub.cache} lacks them"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert refusal().startswith("HF_HUB_OFFLINE is set, and the cache")
    assert hub.asked == []


@pytest.mark.parametrize("filled", [False, True])
def test_a_cache_that_cannot_be_written(hub, filled, monkeypatch):
    if filled:  # What is in it can be used.
        expected = client.fetch("timm/net", "main", lambda _: None)
        for path in [hub.cache, *hub.cache.rglob("*")]:
            path.chmod(0o555)
        if os.access(hub.cache, os.W_OK):
            pytest.skip("root may write anywhere")
        hub.status = 503
        assert client.fetch("timm/net", "main", lambda _: None) == expected
    else:

        def refuse(path, *_, **__):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

        with monkeypatch.context() as patch:
            patch.setattr(os, "makedirs", refuse)
            message = refusal()
        assert message.startswith(f"cannot use the cache {hub.cache}")
        assert "(Read-only file system); " in message
        hub.cache.write_text("a file")
        message = refusal()
        assert message.startswith(f"cannot use the cache {hub.cache}")
        assert "HF_HUB_CACHE names another" in message
        assert os.listdir(hub.cache.parent) == ["cache"]


def test_a_name_that_no_hub_takes(hub):
    with pytest.raises(client.HubError, match="HFValidationError"):
        client.fetch("timm/net--x", "main", lambda _: None)
