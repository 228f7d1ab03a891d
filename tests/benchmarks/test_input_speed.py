"""The options of `benchmarks/input_speed.py`."""

import pytest

from benchmarks import input_speed


def test_the_size_sets_what_is_not_given():
    small, full = input_speed.parse([]), input_speed.parse(["--size=full", "--crops=65"])
    assert (small.crops, small.threads, small.images) == ("321,513", "1,2", 16)
    assert (full.crops, full.threads, full.images) == ("65", "1,2,4,8,16", 64)
    assert full.listed == {"labeled": 92, "val": 1, "unlabeled": 10_490}
    assert input_speed.parse(["--size=full", "--batches=0"]).batches == 0
    with pytest.raises(SystemExit):
        input_speed.parse(["--size=full", "--images=3"])
