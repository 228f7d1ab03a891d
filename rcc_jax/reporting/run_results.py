"""The results of finished runs, and the names of their methods, data sets and partitions."""

import collections
import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import ml_collections

from input_pipeline import near_names
from rcc_jax.config import method_group, protocols, schema
from rcc_jax.config.recorded import fit_method
from rcc_jax.errors import ConfigError
from rcc_jax.methods.with_consensus import NONE
from rcc_jax.options import Option, effectless
from rcc_jax.workdir.folder import RESULT, evaluation_name

# Settings besides the method's that tables name if runs of one data set and partition differ in
# them.
_COMPARED = (
    "train.num_steps", "train.num_epochs", "train.batch_size", "data.crop_size", "data.labeled",
    "data.label_map", "model.stem", "model.output_stride",
)  # fmt: skip
# What tables write after the value of a field that is a mere adjective.
_NOUNS = {"consensus_pixels": "pixels", "consensus_pairs": "pairs"}


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a finished run.

    Attributes:
        data: Name of the data set.
        partition: Name of the partition.
        backbone: Name of the backbone.
        method: Name of the method, with the settings that differ from its defaults.
        seed: The seed.
        last, best: mIoU in percent of the last and of the best evaluation.
        test: mIoU of the last checkpoint on a list test.txt; None if it was not scored on one.
        protocol: Evaluation protocol of `last` and `best`.
    """

    data: str
    partition: str
    backbone: str
    method: str
    seed: int
    last: float
    best: float
    test: float | None = None
    protocol: str = ""


def gather(folder: str | os.PathLike, log: Callable[[str], None]) -> list[Result]:
    """Reads every finished run in or below a folder.

    Args:
        folder: A workdir, or a folder of them.
        log: Called with a line of text for each run that is left out.

    Raises:
        ConfigError: If no run is finished, or two runs have the same cell and seed.
    """
    found, configs = [], []
    for path in sorted(pathlib.Path(folder).glob("**/config.json")):
        workdir = path.parent
        if not (workdir / RESULT).exists():
            log(f"left out, not finished: {workdir}")
            continue
        result = read_result(workdir)
        found.append((result, workdir))
        configs.append(json.loads(path.read_text()))
        if result.test is None and list(workdir.glob("evaluation_*_test.json")):
            log(f"scores on test images left out, another step or protocol: {workdir}")
    if not found:
        raise ConfigError(f"--workdir={folder}: {no_run(folder, 'finished run')}")
    results = told_apart([result for result, _ in found], configs)
    return distinct(zip(results, [workdir for _, workdir in found], strict=True))


def told_apart(results: Sequence[Result], configs: Sequence[Mapping[str, Any]]) -> list[Result]:
    """The results with `differences` of their configurations after the method's name."""
    return [
        dataclasses.replace(result, method=result.method + suffix)
        for result, suffix in zip(results, differences(configs), strict=True)
    ]


def differences(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is unusual about each run among those of its data set, partition and backbone.

    Args:
        configs: Recorded configurations, nested.

    Returns:
        For each run ', num_steps = 1600' and the like, for each setting whose value is not the most
        common one; '' if there is none. A setting that an old run did not record is left out.
    """
    groups: dict[tuple, list[Mapping[str, Any]]] = {}
    for config in configs:
        groups.setdefault(_group(config), []).append(config)
    usual = {
        key: {
            field: collections.Counter(map(str, known)).most_common(1)[0][0]
            for field in _COMPARED
            if (known := [x for config in group if (x := _value(config, field)) is not None])
        }
        for key, group in groups.items()
    }
    return [
        "".join(
            f", {field.partition('.')[2]} = {value}"
            for field, common in usual[_group(config)].items()
            if (value := _value(config, field)) is not None and str(value) != common
        )
        for config in configs
    ]


def _group(config: Mapping[str, Any]) -> tuple[str, ...]:
    return data_name(config), partition_name(config), config["model"]["backbone"]


def _value(config: Mapping[str, Any], field: str) -> Any:
    group, _, name = field.partition(".")
    if field == "train.num_epochs" and config["train"].get("num_steps"):
        return None  # Without effect.
    value = config[group].get(name)
    return None if field == "train.num_steps" and not value else value


def no_run(folder: str | os.PathLike, what: str) -> str:
    """The reason why a folder has no run or no finished one, for a message."""
    if os.path.isdir(folder):
        return f"there is no {what} in it or below it."
    return f"there is no such folder.{near_names.hint(os.fspath(folder))}"


def distinct(found: Iterable[tuple[Result, pathlib.Path]]) -> list[Result]:
    """The results without their paths; rejects duplicates, which a table would average.

    Raises:
        ConfigError: If two results have the same cell and seed.
    """
    paths: dict[tuple, pathlib.Path] = {}
    results = []
    for result, path in found:
        plain = dataclasses.replace(result, last=0.0, best=0.0, test=None, protocol="")
        key = dataclasses.astuple(plain)
        if key in paths:
            raise ConfigError(
                f"{paths[key]} and {path} are both {result.method}, seed {result.seed}, "
                f"on {result.data} {result.partition}; move one of them elsewhere."
            )
        paths[key] = path
        results.append(result)
    return results


def read_result(workdir: pathlib.Path) -> Result:
    """The result of one finished run.

    Raises:
        ConfigError: If a file is corrupt.
    """
    try:
        config = json.loads((workdir / "config.json").read_text())
        result = json.loads((workdir / RESULT).read_text())
        tested = scores_on_test(workdir, result["step"], protocol=protocols.of_line(result, config))
        return as_result(config, result, tested)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ConfigError(
            f"{workdir}: config.json, result.json or the scores on test.txt are corrupt ({error})."
        ) from None


def as_result(
    config: Mapping[str, Any], result: Mapping[str, Any], tested: Mapping[str, Any] | None
) -> Result:
    """Makes a result from the configuration of a run, its result.json and `scores_on_test`."""

    def number(value: float | None) -> float:
        return float("nan") if value is None else value

    return Result(
        data=data_name(config),
        partition=partition_name(config),
        backbone=config["model"]["backbone"],
        method=method_name(config),
        seed=config["seed"],
        last=number(result["miou"]),
        best=number(result["best_miou"]),
        test=None if tested is None else number(tested["miou"]),
        protocol=protocols.of_line(result, config),
    )


def scores_on_test(
    workdir: pathlib.Path, step: int, network: str = "ema", *, protocol: str = ""
) -> dict[str, Any] | None:
    """'miou' and 'iou' of a checkpoint on a list test.txt.

    Args:
        workdir: Folder of the run.
        step: Step of the checkpoint.
        network: 'ema' for the EMA teacher, or the student if there is no teacher; 'student'.
        protocol: The evaluation protocol that is wanted; '' for any.

    Returns:
        None if it was not scored so: `--mode=eval --list=test.txt` does that.
    """
    path = workdir / evaluation_name(step, "test.txt")
    if not path.exists():
        return None
    found = json.loads(path.read_text())
    if protocol and "eval" in found and protocols.name(found["eval"]) != protocol:
        return None
    return found.get(network, found["student"])


def data_name(config: Mapping[str, Any]) -> str:
    """The name of the data set, or its source if it has no name."""
    return config["data"]["name"] or config["data"]["source"]


def partition_name(config: Mapping[str, Any]) -> str:
    """The name of the partition, or its list of labelled images if it has no name."""
    return config["data"]["partition"] or config["data"]["labeled"]


def method_name(config: Mapping[str, Any]) -> str:
    """The method with each field that differs from its default: 'rcc, N = 5', 'cc, kl'.

    Frozen encoders are told apart too: they change a score as much as a method does.

    On some data sets, the defaults are those of the recipe with which all methods are compared.

    Args:
        config: The configuration of a run, nested.
    """
    recorded = fit_method(config["method"])
    name, parts = _name_with_consensus(recorded)
    if name == "supervised" and config["train"]["num_steps"]:
        parts.append("same steps")
    backbone = config["model"]["backbone"]
    recipe = method_group.recipe(data_name(config), name, backbone, recorded)
    own = schema.method_fields(name)
    idle = effectless(own, recorded)
    for field, declared in own.items():
        value = recorded.get(field)
        # In older runs, an absent or empty field stands for the default.
        is_default = value in (None, "", recipe.get(field, declared.default))
        is_told = field == "consensus" and (value == NONE or len(parts[0]) > len(name))
        if declared.in_tables and not is_default and not is_told and field not in idle:
            parts.append(_setting(field, declared, value))
    told = {field: value for field, value in recorded.items() if value not in (None, "")}
    has_partner = method_group.has_partner(ml_collections.ConfigDict({"method": told}))
    if config["data"].get("cutmix_partner", "other") == "same" and has_partner:
        parts.append("CutMix of the same image")
    if config["model"].get("freeze_encoder"):
        parts.append("encoder frozen")
    return ", ".join(parts)


def _name_with_consensus(recorded: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The name of a method, and as a list what tables call it with its consensus term."""
    name, term = recorded["name"], recorded.get("consensus", NONE)
    if name in ("cc", "rcc") or term == NONE:
        return name, [name]
    if term == "soft":
        return name, [f"{name} + soft targets"]
    own_name = "rcc" if term == "rank" else "cc"
    if name == "unimatch":  # The same method under its own name.
        return own_name, [own_name]
    return name, [f"{name} + {own_name}" if term == "rank" else f"{name} + cc {term}"]


def _setting(field: str, declared: Option, value: Any) -> str:
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    if declared.choices:
        shown = f"{shown} {_NOUNS[field]}" if field in _NOUNS else shown
        return f"{declared.symbol} {shown}" if declared.symbol else shown
    if declared.symbol == "EMA":
        return f"EMA {shown}"
    return f"{declared.symbol or field} = {shown}"
