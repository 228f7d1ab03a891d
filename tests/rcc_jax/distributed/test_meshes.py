import jax
import numpy as np
import pytest

from rcc_jax.distributed.meshes import check_batch_size, make_mesh, place_batch
from rcc_jax.errors import ConfigError


def test_place_batch_splits_the_rows_over_all_devices():
    mesh = make_mesh()
    batch = {"image": np.arange(16 * 2).reshape(16, 2), "views": (np.arange(8),)}
    placed = place_batch(mesh, batch)
    for given, array in zip(jax.tree.leaves(batch), jax.tree.leaves(placed), strict=True):
        np.testing.assert_array_equal(array, given)
        rows = [np.asarray(shard.data) for shard in array.addressable_shards]
        assert len(rows) == mesh.size == 8
        np.testing.assert_array_equal(np.concatenate(rows), given)


def test_place_batch_refuses_rows_that_do_not_split():
    with pytest.raises(ValueError, match=r"\(12,\) over 8 devices"):
        place_batch(make_mesh(), np.zeros(12))


@pytest.mark.parametrize(("size", "accumulation", "devices"), [(8, 1, 8), (16, 2, 8), (6, 3, 1)])
def test_even_batches_pass(size, accumulation, devices):
    check_batch_size(size, accumulation, devices, "train.batch_size")


@pytest.mark.parametrize(
    ("size", "accumulation", "devices", "proposed"),
    [
        (12, 1, 8, ["train.batch_size=8 or 16", "6 devices"]),
        (3, 1, 8, ["train.batch_size=8,", "3 devices"]),
        (16, 4, 8, ["train.batch_size=32", "or config.train.accumulation=2", "4 devices"]),
        (7, 2, 1, ["train.batch_size=6 or 8", "train.accumulation=1"]),
        (0, 1, 8, ["train.batch_size=0"]),
        (8, 0, 8, ["train.accumulation=0"]),
    ],
)
def test_uneven_batches_are_refused_with_what_works(size, accumulation, devices, proposed):
    with pytest.raises(ConfigError) as caught:
        check_batch_size(size, accumulation, devices, "train.batch_size")
    for text in proposed:
        assert text in str(caught.value)
