"""What the lists of the paper's tables 1 to 3 share; not a list itself."""

from collections.abc import Sequence

import ml_collections

from configs import common
from rcc_jax.errors import ConfigError
from rcc_jax.methods import METHODS
from rcc_jax.reporting import published

MAIN_METHODS = ("supervised", "fixmatch", "unimatch", "rcc")


def get_config(
    arguments: str | None, *, table: str, files: Sequence[str], **more: str
) -> ml_collections.ConfigDict:
    """The runs of a table: each method on each partition, ordered by seed.

    Args:
        arguments: `backbone=`, `methods=`, `seeds=` and the names in `more`. `methods=` is `main`
            for `MAIN_METHODS`; `paper` for all rows of the table whose method is here and is one
            run; `all` for all methods that are one run; or names joined by +, such as `daw+rcc`.
            ST and ST++ are several runs, which configs/sweeps/stpp.py lists.
        table: pascal_classic, pascal_blender or cityscapes.
        files: The configurations of the partitions, by name.
        **more: Further arguments of these configurations, with their defaults.

    Raises:
        ConfigError: If an argument is unknown, or the paper has no such table for the backbone.
    """
    defaults = {"backbone": "resnet50", "methods": "main", "seeds": 1, **more}
    chosen = common.parse_arguments(arguments, **defaults)
    shared = ",".join(f"{name}={chosen[name]}" for name in ("backbone", *more))
    methods = methods_of(chosen["methods"], table, chosen["backbone"])
    cells = [f"configs/{file}.py:{shared},method={name}" for file in files for name in methods]
    return common.sweep(common.with_seeds(cells, chosen["seeds"]))


def methods_of(text: str, table: str = "", backbone: str = "") -> Sequence[str]:
    """The methods that `methods=` chooses; `paper` is the rows of a table for a backbone."""
    single = [name for name, method in METHODS.items() if not method.stages]
    if text == "main":
        return MAIN_METHODS
    if text == "all":
        return single
    if text == "paper":
        rows = published.PAPER.get((table, backbone))
        if rows is None:
            raise ConfigError(
                f"--config argument methods=paper: the paper has no {table} with {backbone}; "
                "name the methods, as in methods=unimatch+rcc."
            )
        # Rows of fewer partitions belong to the ablations.
        whole = max(map(len, rows.values()))
        return [name for name in single if len(rows.get(name, ())) == whole]
    names = text.split("+")
    for name in names:
        if name in METHODS and name not in single:
            raise ConfigError(
                f"--config argument methods={text}: {name} is several runs; "
                f"use {METHODS[name].stages} for it."
            )
        common.choose(name, single, "methods")
    return names
