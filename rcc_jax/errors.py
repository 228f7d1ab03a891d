"""The one error that a bad configuration raises."""


class ConfigError(Exception):
    """A setting that cannot work. The message names the field, its value and what to do."""
