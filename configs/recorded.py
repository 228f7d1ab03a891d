"""The configuration that a run was started with, from its folder.

    python main.py --mode=eval --workdir=DIR --config.eval.mode=sliding
    python main.py --mode=eval --config=configs/recorded.py:DIR --config.eval.mode=sliding

The first line is short for the second: without --config, --mode=eval, predict, consensus and export
read DIR/config.json. Besides the fields that a training may change they take other names:
--config.data.class_names=water,sand,coral, for that command alone.
"""

from rcc_jax.config import recorded
from rcc_jax.errors import ConfigError


def get_config(workdir=None):
    if not workdir:
        raise ConfigError("configs/recorded.py needs the folder of a run: recorded.py:runs/NAME.")
    return recorded.read(workdir)
