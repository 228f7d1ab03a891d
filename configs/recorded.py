"""The configuration that a run was started with, read from its folder.

    python main.py --mode=eval --workdir=DIR --config.eval.mode=sliding
    python main.py --mode=eval --config=configs/recorded.py:DIR --config.eval.mode=sliding

The first line is short for the second: without --config, --mode=eval, predict, label, consensus and
export read DIR/config.json. For one command, they also accept other class names, besides the fields
that may change when a run resumes: --config.data.class_names=water,sand,coral.
"""

from rcc_jax.config import recorded
from rcc_jax.errors import ConfigError


def get_config(workdir=None):
    if not workdir:
        raise ConfigError("configs/recorded.py needs the folder of a run: recorded.py:runs/NAME.")
    return recorded.read(workdir)
