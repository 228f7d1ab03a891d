"""The numbers in the pages are what the code prints."""

import doctest

from tests.commands import REPOSITORY


def test_worked_pixel_of_the_method():
    page = REPOSITORY / "docs" / "method.md"
    result = doctest.testfile(str(page), module_relative=False)
    assert result.failed == 0
    assert result.attempted > 10
