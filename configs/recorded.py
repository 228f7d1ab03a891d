"""The configuration that a run was started with, from its folder.

    python main.py --mode=eval --workdir=DIR --config.eval.mode=sliding
    python main.py --mode=eval --config=configs/recorded.py:DIR --config.eval.mode=sliding

The first line is short for the second: without --config, --mode=eval, predict, consensus and export
read DIR/config.json. Beside what a training may change they take other names:
--config.data.class_names=water,sand,coral, for that command alone.
"""

import json
import pathlib

from input_pipeline import near_names
from rcc_jax import shipped
from rcc_jax.errors import ConfigError


def get_config(workdir=None):
    if not workdir:
        raise ConfigError("configs/recorded.py needs the folder of a run: recorded.py:runs/NAME.")
    path = pathlib.Path(workdir) / "config.json"
    try:
        recorded = json.loads(path.read_text())
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; is {workdir} the folder of a run?{near_names.hint(workdir)}"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON ({error}).") from None
    common = shipped.load("common")
    config = common.get_config().lock()
    config.update_from_flattened_dict(common.WHERE_ABSENT)
    try:
        config.update(recorded)
    except (KeyError, TypeError, AttributeError) as error:
        # Without the list of all fields that follows in a KeyError.
        reason = str(error).strip("\"'").partition(" Other fields")[0]
        raise ConfigError(f"{path}: not a configuration of this version: {reason}") from None
    return config.unlock()
