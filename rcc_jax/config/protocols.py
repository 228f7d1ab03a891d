"""Names of evaluation protocols, which summarise the fields that affect scores; no JAX."""

import os
from collections.abc import Mapping
from typing import Any

from rcc_jax.config.recorded import recorded_fields


def name(fields: Mapping[str, Any]) -> str:
    """The name of a protocol. Scores are comparable if their protocols have the same name.

    Args:
        fields: Those of `config.eval`. One that is absent, as in older runs, has the value that
            reproduces such a run.

    >>> name({"mode": "whole", "window": 801})
    'whole'
    >>> name({"mode": "sliding", "window": 801, "stride": 534, "windows": "cut", "flip": True})
    'sliding-801-534-cut-flip'
    """
    parts = [fields.get("mode", "whole")]
    if parts == ["sliding"]:
        parts += [str(fields.get("window")), str(fields.get("stride"))]
        parts.append(fields.get("windows", "shifted"))
    if fields.get("flip"):
        parts.append("flip")
    scales = [f"{float(scale):g}" for scale in fields.get("scales", (1.0,))]
    if scales != ["1"]:
        parts.append("scales_" + "_".join(scales))
    return "-".join(parts)


def of_run(workdir: str | os.PathLike) -> str:
    """The protocol of a run's first start; scores that name no protocol are of this one."""
    recorded = recorded_fields(workdir) or {}
    group = "eval."
    return name({k.removeprefix(group): v for k, v in recorded.items() if k.startswith(group)})


def of_line(line: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The protocol of an evaluation in metrics.jsonl, or of result.json.

    Args:
        line: The line or the file.
        config: The recorded configuration of the run, nested.
    """
    return line.get("protocol") or name(config.get("eval", {}))
