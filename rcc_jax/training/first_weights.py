"""Which file a run's first weights come from: looked up by name once, at the run's first start."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import ml_collections

from input_pipeline.files import write_atomically
from rcc_jax.config import named_weights
from rcc_jax.config.named_weights import Place
from rcc_jax.distributed import processes
from rcc_jax.errors import ConfigError

# What the names of `model.pretrained` stood for; a run that starts from a path has no such file.
RECORD = "pretrained.json"


@dataclasses.dataclass(frozen=True)
class Start:
    """Where the first weights come from.

    Attributes:
        path: A file of weights or the folder of a run; '' for random weights.
        record: What `record` writes about it; None = nothing.
    """

    path: str
    record: dict[str, Any] | None = None


def find(
    config: ml_collections.ConfigDict, workdir: str | os.PathLike, report: Callable[[str], None]
) -> Start:
    """Finds the weights that `config.model.pretrained` names; every process must call it.

    Process 0 decides and the others follow. 'auto' is replaced in the configuration by the result
    of the decision, so that a run that is started again does not decide a second time.

    Args:
        config: The configuration; changed in place if the field is 'auto'.
        workdir: Folder of the run, which may be absent.
        report: Called with lines of text.

    Raises:
        ConfigError: In every process, if weights that were asked for are not available.
    """
    model = config.model
    if model.pretrained == named_weights.AUTO:
        return _usual_or_random(model, report)
    place = named_weights.place(model)
    if place is None:
        return Start(model.pretrained)
    revision = _recorded_revision(workdir, model.pretrained)
    if revision is not None:
        place = dataclasses.replace(place, revision=revision)
    found = _fetch_everywhere(place, report)
    if "reason" in found:
        raise ConfigError(
            f"config.model.pretrained = {model.pretrained!r}: {found['reason']}. {_by_hand(place)}"
        )
    if revision is not None:
        return Start(found["path"])  # The record is there.
    return _start(model.pretrained, place, found)


def record(start: Start, workdir: pathlib.Path) -> None:
    """Writes revision and hash of named weights, or why 'auto' led to random ones."""
    if start.record is not None:
        write_atomically(workdir / RECORD, json.dumps(start.record, indent=2) + "\n")


def _usual_or_random(model: ml_collections.ConfigDict, report: Callable[[str], None]) -> Start:
    place, reason = named_weights.usual(model)
    if place is not None:
        # Continuous integration must neither depend on a network nor load it.
        offline = "CI is set" if os.environ.get("CI") else ""
        found = _fetch_everywhere(place, report, offline)
        reason = found.get("reason", "")
    if place is not None and not reason:
        model.pretrained = place.name
        report(f"guessed --config.model.pretrained={place.name} (the usual weights)")
        return _start(named_weights.AUTO, place, found)
    if model.freeze_encoder:
        raise ConfigError(
            f"config.model.pretrained = 'auto' found no weights ({reason}), and with "
            "config.model.freeze_encoder = True the encoder would keep random ones. "
            + ("" if place is None else _by_hand(place))
        )
    model.pretrained = ""
    advice = "" if place is None else f" {_by_hand(place)} Give that run another --workdir."
    report(f"guessed --config.model.pretrained='' (random weights: {reason}).{advice}")
    return Start("", {"given": named_weights.AUTO, "weights": "random", "reason": reason})


def _start(given: str, place: Place, found: dict[str, str]) -> Start:
    about = {name: found[name] for name in ("revision", "sha256")}
    return Start(found["path"], {"given": given, "weights": place.name, **about})


def _by_hand(place: Place) -> str:
    """What a user without a connection can do."""
    from rcc_jax.models import hub

    url = hub.address(place.repository, place.revision)
    file = f"pretrained/{place.repository.partition('/')[2]}.safetensors"
    return f"Fetch {url} by hand, put it at {file}, and give --config.model.pretrained={file}."


def _recorded_revision(workdir: str | os.PathLike, given: str) -> str | None:
    """The revision of an earlier start, which ended before its first checkpoint."""
    try:
        recorded = json.loads((pathlib.Path(workdir) / RECORD).read_text())
        if given in (recorded["given"], recorded["weights"]):
            return str(recorded["revision"])
    except (OSError, ValueError, LookupError, TypeError):
        pass
    return None


def _fetch_everywhere(
    place: Place, report: Callable[[str], None], offline: str = ""
) -> dict[str, str]:
    """The file for this process, as a `HubFile`, or the 'reason' why some process has none."""
    own = _fetch(place, report, offline) if processes.is_first() else None
    first = processes.from_first(own)
    if "reason" in first:
        return first
    if own is None:
        # On the same disk it is in the cache by now.
        own = _fetch(dataclasses.replace(place, revision=first["revision"]), report, offline)
    for number, reason in enumerate(processes.gather(own.get("reason"))):
        if reason is not None:
            return {"reason": f"process {number}: {reason}"}
    return own


def _fetch(place: Place, report: Callable[[str], None], offline: str) -> dict[str, str]:
    from rcc_jax.models import hub  # Its client takes time to import, and most runs need none.

    try:
        found = hub.fetch(place.repository, place.revision, report, offline=offline)
    except hub.HubError as error:
        return {"reason": str(error)}
    return dataclasses.asdict(found)
