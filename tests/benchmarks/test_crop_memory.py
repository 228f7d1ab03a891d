"""The memory that `benchmarks/crop_memory.py` counts."""

import pytest


@pytest.mark.slow
def test_a_frozen_encoder_and_a_small_crop_need_less(script):
    *_, found = script("crop_memory").rows(
        [33, 65], "supervised", "float32", 8, "configs/demo.py:backbone=resnet10"
    )
    small_frozen, small, frozen, tuned = (row["bytes"] for row in found)
    assert [(row["crop"], row["frozen"]) for row in found] == [
        (33, True), (33, False), (65, True), (65, False),
    ]  # fmt: skip
    assert small_frozen < small < tuned
    assert small_frozen < frozen < tuned
