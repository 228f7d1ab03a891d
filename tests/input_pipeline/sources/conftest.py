"""What the tests of TFDS datasets share."""

import pytest

from tests.support.record_datasets import write


@pytest.fixture
def plain(tmp_path):
    """Root and images of a dataset in plain/2.0.0 with 8 training and 3 test images."""
    return tmp_path / "plain", write(tmp_path / "plain/2.0.0", {"train": 8, "test": 3})
