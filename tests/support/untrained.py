"""A run's folder without training, for tests that read one."""

import jax
import numpy as np

from configs import demo
from rcc_jax.config import method_group
from rcc_jax.training.run import Run
from rcc_jax.workdir.checkpoints import Checkpoints
from rcc_jax.workdir.folder import Workdir

TINY_NETWORK = {"model.backbone": "resnet10", "model.width": 4, "model.decoder_channels": 8}
# Deep enough that its random weights tell pixels apart.
TINY_RESNET = {**TINY_NETWORK, "model.backbone": "resnet18", "method.ema_decay": 0.9}
TINY = {"data.unlabeled": "1000:1008", "data.val": "100000:100003", "eval.batch_size": 2}


def write_run(folder, arguments="method=unimatch", network=TINY_RESNET):
    """Makes a run of a tiny network: an EMA teacher at step 7 whose student differs.

    Args:
        folder: Folder of the run.
        arguments: Arguments of the configuration `demo`.
        network: Fields that make the network small.
    """
    config = demo.get_config(arguments)
    config.update_from_flattened_dict({**TINY, **network})
    state = filled(Run.build(config).abstract_state())
    with (
        Workdir.open(folder, method_group.resolved(config)) as opened,
        Checkpoints(opened.checkpoints_path) as checkpoints,
    ):
        checkpoints.save(7, state.saved())


def filled(abstract):
    """A state of random numbers, which compiles nothing."""
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.key(0)
        is_statistic = "stats" in jax.tree_util.keystr(path)
        values = np.ones(leaf.shape) if is_statistic else rng.normal(0, 0.2, leaf.shape)
        return jax.device_put(values.astype(leaf.dtype))

    return jax.tree_util.tree_map_with_path(fill, abstract)
