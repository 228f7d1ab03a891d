"""The page of a run's pictures: all it refers to are the sheets, which exist."""

import numpy as np
import pytest

from rcc_jax.reporting import pictures_page, sheets
from tests.rcc_jax.reporting.test_report import HOSTILE, Page
from tests.support import browser

BROKEN = "[...document.images].filter(i => !(i.complete && i.naturalWidth > 0)).length"


@pytest.fixture
def folder(tmp_path):
    for kind, steps in {"step": (2, 10, 12345678), "unlabeled": (10,)}.items():
        for step in steps:
            picture = np.full((240, 1100, 3), step % 200, np.uint8)
            sheets.save_png(tmp_path / pictures_page.sheet_name(kind, step), picture)
    (tmp_path / ".step_0000099.png.7.tmp").write_text("half a picture")
    (tmp_path / "notes_0000003.png").write_text("the user's own")
    pictures_page.write(tmp_path, HOSTILE, {2: 12.345, 10: None, 99: 50.0})
    return tmp_path


def test_every_sheet_is_linked_once_the_newest_first(folder):
    text = (folder / "index.html").read_text()
    elements = Page(text).elements
    sources = [attributes["src"] for tag, attributes in elements if tag == "img"]
    assert sources == [
        "step_12345678.png", "step_0000010.png", "unlabeled_0000010.png", "step_0000002.png",
    ]  # fmt: skip
    links = [attributes["href"] for tag, attributes in elements if tag == "a"]
    anchors = {f"#{attributes['id']}" for _, attributes in elements if "id" in attributes}
    assert [link for link in links if not link.startswith("#")] == sources
    assert {link for link in links if link.startswith("#")} == anchors
    assert {"#step2", "#step10", "#step12345678"} == anchors
    assert ">Step 2: mIoU 12.35</h2>" in text
    assert ">Step 10</h2>" in text
    assert "<script" not in text
    assert "://" not in text


def test_page_is_rewritten(folder):
    (folder / "step_0000002.png").unlink()
    sheets.save_png(folder / "step_0000020.png", np.zeros((5, 5, 3), np.uint8))
    pictures_page.write(folder, "run", {})
    text = (folder / "index.html").read_text()
    assert "step_0000020.png" in text
    assert "step_0000002.png" not in text


@pytest.mark.skipif(not browser.CHROMIUM, reason="there is no Chromium here")
@pytest.mark.parametrize("width", [390, 1280])
def test_page_in_a_browser(folder, tmp_path_factory, width):
    with browser.tab(tmp_path_factory.mktemp("profile")) as tab:
        tab.open(folder / "index.html", width=width, height=844)
        tab.evaluate("document.querySelectorAll('img').forEach(i => { i.loading = 'eager'; })")
        for image in range(4):
            tab.call("Runtime.evaluate", expression=f"document.images[{image}].decode()",
                     awaitPromise=True)  # fmt: skip
        assert tab.evaluate("document.images.length") == 4
        assert tab.evaluate(BROKEN) == 0
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        # Readable on a phone, too, where a sheet can be scrolled on its own.
        assert tab.evaluate("document.images[0].getBoundingClientRect().width") >= 700
        assert tab.messages == []
