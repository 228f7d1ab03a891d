"""The error of a bad configuration."""


class ConfigError(Exception):
    """A setting that cannot work. The message names the field, its value and what to do."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device had no memory for what JAX wanted to compute or keep."""
    # By name, since this file is imported without JAX.
    return type(error).__name__ == "JaxRuntimeError" and "RESOURCE_EXHAUSTED" in str(error)
