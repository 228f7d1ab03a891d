"""The report in a real browser: wide, on a phone, by keyboard, in print."""

import pytest

from rcc_jax.methods import METHODS
from rcc_jax.reporting import report
from tests.rcc_jax.reporting.test_report import write_run
from tests.support import browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not browser.CHROMIUM, reason="there is no Chromium here"),
]
BROKEN = "[...document.images].filter(i => !(i.complete && i.naturalWidth > 0)).length"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for method in METHODS:
        name = f"camvid-1_16,size=cpu,steps=300,method={method},seed=0"
        write_run(folder / name, method, 0, [(40.0, 20.0, None), (60.5, 31.25, 10.0)])
    report.write([folder], folder / "report.html", print)
    return folder / "report.html"


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser.tab(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_page_fits_its_window_and_loads_every_picture_without_messages(tab, page, width, height):
    tab.open(page, width=width, height=height)
    # Pictures below the window would not be loaded yet.
    tab.evaluate("document.querySelectorAll('img').forEach(i => { i.loading = 'eager'; })")
    for image in range(tab.evaluate("document.images.length")):
        tab.call("Runtime.evaluate", expression=f"document.images[{image}].decode()",
                 awaitPromise=True)  # fmt: skip
    assert tab.evaluate(BROKEN) == 0
    assert tab.evaluate("document.images.length") == 2 * 7 + 5
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.messages == []


def test_everything_can_be_reached_by_keyboard(tab, page):
    tab.open(page, width=1280, height=900)
    reached = set()
    for _ in range(40):
        tab.press("Tab")
        reached.add(tab.evaluate("document.activeElement.outerHTML.slice(0, 300)"))
        assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none" or (
            tab.evaluate("document.activeElement === document.body")
        )
        if tab.evaluate("document.activeElement.tagName") == "SUMMARY":
            tab.press("Enter")
    stops = "document.querySelectorAll('a, summary, [tabindex]').length"
    assert len(reached) >= tab.evaluate(stops) > 5


def test_print_shows_what_is_folded_and_breaks_no_word(tab, page):
    tab.open(page, width=718, height=900)  # A sheet of A4 between its margins.
    tab.call("Emulation.setEmulatedMedia", media="print")
    folded = "[...document.querySelectorAll('details > :not(summary)')]"
    hidden = f"{folded}.filter(x => !x.checkVisibility() || !x.offsetHeight).length"
    assert tab.evaluate(hidden) == 0
    # A name broken into several lines would be taller.
    rows = "[...document.querySelectorAll('tbody th')].filter(x => x.textContent === 'road')"
    assert tab.evaluate(f"Math.max(...{rows}.map(x => x.offsetHeight))") < 40
    assert tab.evaluate("document.documentElement.scrollWidth") <= 718
    tab.call("Emulation.setEmulatedMedia", media="")
