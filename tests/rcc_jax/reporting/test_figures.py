"""Charts and tables, read back from their SVG."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from rcc_jax.reporting import heat_map, line_chart
from rcc_jax.reporting.line_chart import Series

POINTS = [(0, 0.0), (5, 10.0), (6, None), (10, 5.0)]


def lines(svg):
    """Of each solid line the pieces, each a list of places."""
    styled = (
        element.get("d")
        for element in ElementTree.fromstring(svg).iter("path")
        if "stroke-width: 1.5" in element.get("style", "")
    )
    return [
        [
            [tuple(map(float, place.split())) for place in piece.split("L")]
            for piece in path.split("M")[1:]
        ]
        for path in styled
    ]


def notes(svg):
    elements = ElementTree.fromstring(svg).iter()
    return [element.text for element in elements if element.tag.endswith("title")]


def test_a_line_breaks_where_a_number_is_missing_and_keeps_its_places():
    ((first, second),) = lines(line_chart.line_chart("t", [Series("s", 0, POINTS)]))
    (left, bottom), (middle, top) = first
    ((right, between),) = second
    assert middle == pytest.approx((left + right) / 2)
    assert between == pytest.approx((bottom + top) / 2)
    assert left < right
    assert top < bottom
    assert 0 <= left < right <= line_chart.WIDTH
    assert 0 <= top < bottom <= line_chart.HEIGHT


def test_without_a_number_there_is_no_chart():
    nothing = [Series("s", 0, [(1, None), (2, float("nan"))]), Series("s", 0, [])]
    assert line_chart.line_chart("t", nothing) == ""
    assert line_chart.picture("t", nothing, ["a"], x_label="x") == ""


def test_points_have_notes_and_many_points_are_thinned():
    name = "<b>$a_1$</b> \u8def"
    many = Series("many", 1, [(x, 2.0) for x in range(1000)])
    chart = line_chart.line_chart("t & u", [many, Series(name, 0, POINTS)])
    assert notes(chart) == [f"{name}, 0: 0", f"{name}, 5: 10", f"{name}, 10: 5"]
    assert len(lines(chart)[0][0]) <= line_chart.MAX_POINTS
    assert 'aria-label="t &amp; u"' in chart


def test_a_chart_takes_its_colours_from_the_page_and_a_file_has_its_own():
    series = [Series("s", kind, POINTS) for kind in range(2)]
    chart = line_chart.line_chart("t", series)
    assert not re.search("#[0-9a-f]{6}", re.sub('(href|id)="[^"]*"', "", chart))
    assert all(f"stroke: var(--{name})" in chart for name in ("c0", "c1", "rule"))
    assert "fill: var(--soft)" in chart
    picture = line_chart.picture("t", series, ["one", "$two$ \u8def"], x_label="x")
    assert line_chart.COLORS[1] in picture
    assert "var(" not in picture
    texts = [element.text for element in ElementTree.fromstring(picture).iter()]
    assert {"t", "x", "one", "$two$ \u8def"} <= set(texts)


def test_figures_are_the_same_byte_for_byte_and_carry_no_date():
    tables = [heat_map.Table("t", np.eye(3), 0, 1)]
    for draw in (
        lambda: line_chart.line_chart("t", [Series("s", 0, POINTS)]),
        lambda: line_chart.picture("t", [Series("s", 0, POINTS)], ["s"], x_label="x"),
        lambda: heat_map.draw(tables, "abc"),
    ):
        assert draw() == draw()
        assert "metadata" not in draw()


def test_ids_of_two_charts_differ():
    found = [
        set(re.findall('id="([^"]*)"', line_chart.line_chart("t", [Series(name, 0, POINTS)])))
        for name in ("one", "two")
    ]
    assert all(found)
    assert found[0].isdisjoint(found[1])


@pytest.mark.parametrize(("num_classes", "numbered"), [(3, True), (41, False)])
def test_tables_of_pairs(num_classes, numbered):
    values = np.full((num_classes, num_classes), np.nan)
    values[0, 1], values[1, 0] = 0.234, -0.468
    names = [f"class {number} $\u8def$" for number in range(num_classes)]
    table = heat_map.Table("mean J", values, -1, 1, signed=True)
    root = ElementTree.fromstring(heat_map.draw([table, table], names))
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert texts.count("mean J") == 2
    assert all(texts.count(name) == 4 for name in names)
    cells = [text for text in texts if text in ("0.23", "-0.47")]
    assert cells == (2 * ["0.23", "-0.47"] if numbered else [])
