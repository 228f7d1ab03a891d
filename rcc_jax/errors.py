"""The error of a bad configuration."""


class ConfigError(Exception):
    """A setting that cannot work. The message names the field, its value and what to do."""
