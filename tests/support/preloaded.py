"""What `tests/support/forks.py` imports once for all commands."""

import gc
import importlib
import logging
import warnings

# Nothing has used JAX when the process forks.
warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called", category=RuntimeWarning)

for name in (
    "rcc_jax.commands.startup",
    "rcc_jax.commands.evaluate",
    "rcc_jax.commands.explain",
    "rcc_jax.commands.export",
    "rcc_jax.commands.predict",
    "rcc_jax.training.loop",
    "tensorboardX",
):
    importlib.import_module(name)
# absl replaces what a library has set up for the errors of a process, not what its parent had.
logging.getLogger().handlers.clear()
gc.freeze()
