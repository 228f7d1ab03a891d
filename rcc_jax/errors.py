"""The error of a bad configuration, and how the error of a library is quoted in a line."""


class ConfigError(Exception):
    """A setting that cannot work. The message names the field, its value and what to do."""


def first_line(error: Exception) -> str:
    """Type and first line of another library's error, at most 200 characters."""
    # The rest of the line may be a page of tensorstore's settings.
    return f"{type(error).__name__}: {str(error).strip()}".splitlines()[0][:200]
