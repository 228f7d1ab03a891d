"""Entries of a sweep that build on each other; no JAX."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Stage:
    """An entry of a sweep that is more than a configuration.

    Attributes:
        name: Its name in the sweep, and that of its folder there.
        config: FILE[:ARGUMENTS] of a training run; '' for another mode.
        after: Name of the entry that it follows: it starts only if that one has finished. '' for
            the first one.
        flags: Further flags. `{NAME}` stands for the folder of the entry of that name.
    """

    name: str
    config: str = ""
    after: str = ""
    flags: tuple[str, ...] = ()
