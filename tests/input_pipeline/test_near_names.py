"""Words that are nearly one of some choices; paths are tested where they are read."""

import pytest

from input_pipeline import near_names


@pytest.mark.parametrize(
    ("word", "meant"), [("Lates", "latest"), ("bst", "best"), ("BEST", "best"), ("x", None)]
)
def test_the_nearest_choice(word, meant):
    assert near_names.nearest(word, iter(["latest", "best"])) == meant
    hint = "" if meant is None else f" Did you mean {meant!r}?"
    assert near_names.did_you_mean(word, ["latest", "best"]) == hint
