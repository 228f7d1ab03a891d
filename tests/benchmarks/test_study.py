"""The text of a study goes to the one page that has its marks."""

import pytest

from benchmarks import study
from rcc_jax.errors import ConfigError
from rcc_jax.reporting import tables


def test_text_replaces_what_lies_between_the_marks(tmp_path):
    start, end = study.marks("drives")
    page, other = tmp_path / "a.md", tmp_path / "b.md"
    page.write_text(f"before\n{start}\nold\nlines\n{end}\nafter\n")
    other.write_text("no marks; drives: made by benchmarks/study.py\n")
    assert study.page_of("drives", [other, page]) == page
    inserted = study.insert(page.read_text(), "drives", r"new \1")
    assert inserted == f"before\n{start}\nnew \\1\n{end}\nafter\n"
    for pages in ([other], [page, page]):
        with pytest.raises(ConfigError, match="must be in one page of docs, once"):
            study.page_of("drives", pages)


@pytest.mark.parametrize("name", ["drives", "photos"])
def test_the_page_holds_the_table_of_the_records(name):
    kept = study.read(study.RESULTS / name)
    page = study.page_of(name, sorted(study.DOCS.glob("*.md"))).read_text()
    assert tables.markdown([result for _, result in kept]) + "\n" + study.facts(kept) in page
    missing = study.not_run(kept)
    assert missing.startswith("Not run: `st`, ")
    assert "`rcc`" not in missing
