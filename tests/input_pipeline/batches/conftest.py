"""What the tests of streams share."""

import pytest

import input_pipeline
from input_pipeline import Partition


@pytest.fixture(scope="module")
def scenes() -> Partition:
    return input_pipeline.open_partition(
        source="scenes", root="", labeled="0:5", unlabeled="10:21", val="30:32", num_classes=7
    )
