"""The folder of images that the tests of `--mode=check` start from."""

import pytest

from tests.support import checking


@pytest.fixture
def data(tmp_path):
    """Root of twelve images 60x50 and lists; masks are for the test to write."""
    checking.lists(tmp_path)
    return tmp_path
