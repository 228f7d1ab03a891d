"""Checks of arguments that several functions of this package share."""

from collections.abc import Collection


def check_least(**given: tuple[int, int]) -> None:
    """Refuses an argument, given as (value, smallest allowed value), that is too small.

    Raises:
        ValueError: The first such argument.
    """
    for name, (value, least) in given.items():
        if value < least:
            raise ValueError(f"{name} = {value}: must be at least {least}.")


def check_choice(**given: tuple[object, Collection]) -> None:
    """Refuses an argument, given as (value, allowed values), that is none of the allowed ones.

    Raises:
        ValueError: The first such argument, with the values that are allowed.
    """
    for name, (value, allowed) in given.items():
        if value not in allowed:
            known = ", ".join(map(repr, allowed))
            raise ValueError(f"{name} = {value!r}: must be one of {known}.")


def check_shard(shard: tuple[int, int]) -> None:
    """Refuses a shard that is not (index, count) with 0 <= index < count.

    Raises:
        ValueError: It is not.
    """
    index, count = shard
    if not 0 <= index < count:
        raise ValueError(f"shard = {shard}: must be (index, count) with index < count.")


def check_batch_size(name: str, value: int, count: int) -> None:
    """Refuses a global batch that `count` processes cannot share equally.

    Raises:
        ValueError: The argument `name` is not positive or not a multiple of `count`.
    """
    if value < 1 or value % count:
        raise ValueError(f"{name} = {value}: must be a positive multiple of {count} processes.")
