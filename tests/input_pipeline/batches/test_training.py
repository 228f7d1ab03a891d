"""The stream of batches: the same for any threads, workers, processes and interruptions."""

import itertools
import multiprocessing

import numpy as np
import pytest

from input_pipeline import DataError, Partition, train_stream
from input_pipeline.batches import photometric
from input_pipeline.batches.boxes import BOXES
from tests.support.number_images import SETTINGS, numbers


@pytest.fixture(scope="module")
def reference(scenes) -> list[dict]:
    return list(train_stream(scenes, **SETTINGS))


def assert_equal(batches: list[dict], expected: list[dict]) -> None:
    assert len(batches) == len(expected)
    for batch, other in zip(batches, expected, strict=True):
        assert {part: set(batch[part]) for part in batch} == {p: set(other[p]) for p in other}
        for part, arrays in batch.items():
            for name, array in arrays.items():
                np.testing.assert_array_equal(array, other[part][name], err_msg=f"{part} {name}")


def visited(partition: Partition, num_steps: int, **changes) -> dict[str, np.ndarray]:
    """The image numbers that each part visits: the largest pixel, since padding is black."""
    settings = {**SETTINGS, "crop_size": 4, "num_steps": num_steps, "num_threads": 1, **changes}
    batches = list(train_stream(partition, **settings))
    names = {"labeled": "image", "unlabeled": "weak", "partner": "weak"}
    return {
        part: np.concatenate([batch[part][name].max((1, 2, 3)) for batch in batches]).astype(int)
        for part, name in names.items()
    }


def test_shapes_and_types(reference):
    spec = {
        part: {name: (array.shape, str(array.dtype)) for name, array in arrays.items()}
        for part, arrays in reference[0].items()
    }
    image = ((6, 48, 48, 3), "uint8")
    views = {"weak": image, "strong1": image, "strong2": image, "valid": ((6, 48, 48), "bool")}
    assert spec == {
        "labeled": {"image": ((4, 48, 48, 3), "uint8"), "label": ((4, 48, 48), "uint8")},
        "unlabeled": {**views, "boxes": ((6, 2, 4), "int32")},
        "partner": views,
    }
    assert len(reference) == 5


@pytest.mark.parametrize(
    "changes",
    [
        {"num_threads": 1},
        {"num_threads": 7},
        pytest.param({"num_workers": 1}, marks=pytest.mark.slow),
    ],
)
def test_threads_and_a_worker_change_nothing(scenes, reference, changes):
    assert_equal(list(train_stream(scenes, **{**SETTINGS, **changes})), reference)


def test_workers_change_nothing_from_any_start(scenes, reference):
    stream = train_stream(scenes, **SETTINGS, num_workers=2, num_threads=2, start_step=1)
    batches = list(stream)
    assert type(batches[0]["labeled"]["image"]) is np.ndarray
    assert_equal(batches, reference[1:])
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("start_step", [0, 2, 4, 5])
def test_resuming_continues_the_stream(scenes, reference, start_step):
    assert_equal(
        list(train_stream(scenes, **SETTINGS, start_step=start_step)), reference[start_step:]
    )


def test_length_of_the_run_does_not_change_its_start(scenes, reference):
    assert_equal(list(train_stream(scenes, **{**SETTINGS, "num_steps": 2})), reference[:2])


@pytest.mark.parametrize("count", [1, 2])
def test_processes_share_the_rows_of_a_global_batch(scenes, reference, count):
    shards = [list(train_stream(scenes, **SETTINGS, shard=(k, count))) for k in range(count)]
    for step, batch in enumerate(reference):
        for part, arrays in batch.items():
            for name, rows in arrays.items():
                joined = np.concatenate([shard[step][part][name] for shard in shards])
                np.testing.assert_array_equal(joined, rows)


def test_fewer_strong_views_are_the_same_views(scenes, reference):
    one = list(train_stream(scenes, **SETTINGS, strong_views=1))
    assert set(one[0]["partner"]) == {"weak", "strong1", "valid"}
    for batch, other in zip(one, reference, strict=True):
        for part, name in (("labeled", "label"), ("unlabeled", "strong1"), ("partner", "strong1")):
            np.testing.assert_array_equal(batch[part][name], other[part][name])
        np.testing.assert_array_equal(
            batch["unlabeled"]["boxes"], other["unlabeled"]["boxes"][:, :1]
        )
    none = list(train_stream(scenes, **{**SETTINGS, "unlabeled_batch_size": 0}, strong_views=0))
    assert_equal(none, [{"labeled": batch["labeled"]} for batch in reference])


def test_a_recipe_and_a_box_law_are_chosen_by_name(scenes, reference, monkeypatch):
    monkeypatch.setitem(photometric.RECIPES, "negative", lambda image, rng: 255 - image)
    everything = np.array([0, 0, 48, 48], np.int32)
    monkeypatch.setitem(BOXES, "everything", lambda rng, crop_size: everything)
    chosen = train_stream(scenes, **SETTINGS, recipe="negative", box="everything")
    for batch, other in zip(chosen, reference, strict=True):
        # Random numbers that are drawn before those of boxes and colours stay the same.
        for part in ("unlabeled", "partner"):
            for name in ("weak", "valid"):
                np.testing.assert_array_equal(batch[part][name], other[part][name])
            for name in ("strong1", "strong2"):
                np.testing.assert_array_equal(batch[part][name], 255 - batch[part]["weak"])
        assert (batch["unlabeled"]["boxes"] == everything).all()


def test_without_boxes_nothing_is_mixed(scenes, reference):
    assert any(batch["unlabeled"]["boxes"].any() for batch in reference)
    for batch in train_stream(scenes, **SETTINGS, box="none"):
        assert batch["unlabeled"]["boxes"].shape == (6, 2, 4)
        # No image is read that nothing would be pasted from.
        assert batch.keys() == {"labeled", "unlabeled"}
        assert not batch["unlabeled"]["boxes"].any()


def test_every_epoch_is_another_permutation():
    orders = visited(numbers(12, 18), 12)
    for part, length in (("labeled", 12), ("unlabeled", 18), ("partner", 18)):
        epochs = orders[part].reshape(-1, length)
        np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(length), (len(epochs), 1)))
        assert len(epochs) == 4
        assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4


@pytest.mark.slow
def test_streams_are_independent_of_each_other_and_of_nearby_seeds():
    partition = numbers(240, 240)
    streams = {
        (part, seed): order
        for seed in (3, 4, 5)
        for part, order in visited(partition, 160, seed=seed, labeled_batch_size=6).items()
    }
    for first, second in itertools.combinations(streams, 2):
        # 960 rows of 240 images: 4 coincidences on average.
        assert np.sum(streams[first] == streams[second]) < 16, (first, second)


def test_the_same_partner_is_other_views_of_the_image_itself(scenes, reference):
    partition = numbers(12, 18)
    plain, same = (visited(partition, 12, cutmix_partner=each) for each in ("other", "same"))
    np.testing.assert_array_equal(same["unlabeled"], plain["unlabeled"])
    np.testing.assert_array_equal(same["partner"], same["unlabeled"])
    assert np.mean(plain["partner"] == plain["unlabeled"]) < 0.2
    for batch, other in zip(
        train_stream(scenes, **SETTINGS, cutmix_partner="same"), reference, strict=True
    ):
        for part in ("labeled", "unlabeled"):
            assert_equal([{part: batch[part]}], [{part: other[part]}])
        for own, pasted in zip(batch["unlabeled"]["weak"], batch["partner"]["weak"], strict=True):
            assert not np.array_equal(own, pasted)


def test_another_seed_is_another_stream(scenes, reference):
    other = next(train_stream(scenes, **{**SETTINGS, "seed": 4}))
    for part, name in (("labeled", "image"), ("unlabeled", "weak"), ("partner", "weak")):
        assert not np.array_equal(other[part][name], reference[0][part][name])


def test_skipped_steps_cost_nothing():
    partition = numbers(7, 9)
    orders = visited(partition, 1_000_003, start_step=1_000_000, unlabeled_batch_size=2)
    assert len(orders["unlabeled"]) == 6
    assert partition.unlabeled.reads == 2 * 3 * 2
    assert partition.labeled.reads == 3 * 4


def test_no_unlabeled_image(folder):
    partition = folder.open(unlabeled="")
    with pytest.raises(DataError, match=r"data\.unlabeled \(not set\): no unlabelled image"):
        train_stream(partition, **SETTINGS)
    assert len(list(train_stream(partition, **SETTINGS, strong_views=0))) == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_size": 0}, "crop_size = 0: must be at least 1"),
        ({"cutmix_partner": "own"}, "cutmix_partner = 'own': must be one of 'other', 'same'"),
        ({"recipe": "unimatsch"}, "recipe = 'unimatsch': must be one of 'none', 'unimatch'"),
        ({"box": "half"}, "box = 'half': must be one of 'none', 'unimatch'"),
        ({"strong_views": 3}, "strong_views = 3: must be one of 0, 1, 2"),
        ({"start_step": 6}, "num_steps = 5: must be at least 6"),
        ({"seed": -1}, "seed = -1"),
        ({"num_threads": 0}, "num_threads = 0"),
        ({"labeled_batch_size": 0}, "labeled_batch_size = 0"),
        ({"shard": (0, 4)}, "unlabeled_batch_size = 6: must be a positive multiple of 4"),
        ({"shard": (2, 2)}, r"shard = \(2, 2\)"),
    ],
)
def test_arguments_out_of_range(scenes, changes, message):
    with pytest.raises(ValueError, match=message):
        train_stream(scenes, **{**SETTINGS, **changes})
