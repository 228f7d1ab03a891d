"""Which files a run's first weights come from: looked up by name once, at its first start."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import ml_collections

from input_pipeline.files import write_atomically
from rcc_jax.config import named_weights, networks
from rcc_jax.config.named_weights import Place
from rcc_jax.config.networks import Member
from rcc_jax.distributed import processes
from rcc_jax.errors import ConfigError

# What the names of the weights stood for; a run that starts from paths has no such file.
RECORD = "pretrained.json"


@dataclasses.dataclass(frozen=True)
class Start:
    """Where the first weights of a network come from.

    Attributes:
        path: A file of weights or the folder of a run; '' for random weights.
        record: What `record` writes about it; None = nothing.
        second: The same of a second network that has weights of its own.
    """

    path: str
    record: dict[str, Any] | None = None
    second: "Start | None" = None

    @property
    def paths(self) -> dict[str, str]:
        """The paths by the names of the networks."""
        return {"main": self.path} | ({"second": self.second.path} if self.second else {})


def find(
    config: ml_collections.ConfigDict, workdir: str | os.PathLike, log: Callable[[str], None]
) -> Start:
    """Finds the weights that the configuration names; every process must call it.

    Process 0 decides and the others follow. 'auto' is replaced in the configuration by the result
    of the decision, so that a run that is started again does not decide a second time.

    Args:
        config: The configuration; changed in place if a field is 'auto'.
        workdir: Folder of the run, which may be absent.
        log: Called with lines of text.

    Raises:
        ConfigError: In every process, if weights that were asked for are not available.
    """
    found = []
    for member in networks.members(config):
        found.append(_find(member, _recorded(workdir).get(member.name, {}), log))
        # Where it was 'auto', it has been replaced.
        config.update_from_flattened_dict({member.field: member.model.pretrained})
    main, *others = found
    return dataclasses.replace(main, second=next(iter(others), None))


def record(start: Start, workdir: pathlib.Path) -> None:
    """Writes revision and hash of named weights, or why 'auto' led to random ones."""
    second = start.second and start.second.record
    if start.record or second:
        before = _recorded(workdir)
        found = start.record or before.get("main", {})
        if second := second or before.get("second"):
            found = {**found, "second": second}
        write_atomically(workdir / RECORD, json.dumps(found, indent=2) + "\n")


def _find(member: Member, recorded: dict, log: Callable[[str], None]) -> Start:
    """Finds the weights of one network, by what an earlier start recorded if there was one."""
    given = member.model.pretrained
    if given == named_weights.AUTO:
        return _usual_or_random(member, log)
    place = named_weights.place(member.model)
    if place is None:
        return Start(given)
    # The earlier start may have ended before its first checkpoint.
    revision = None
    if given in (recorded.get("given"), recorded.get("weights")):
        revision = recorded.get("revision")
    if revision is not None:
        place = dataclasses.replace(place, revision=str(revision))
    found = _fetch_everywhere(place, log)
    if "reason" in found:
        raise ConfigError(
            f"config.{member.field} = {given!r}: {found['reason']}. {_by_hand(member, place)}"
        )
    if revision is not None:
        return Start(found["path"])  # The record is there.
    return _start(given, place, found)


def _usual_or_random(member: Member, log: Callable[[str], None]) -> Start:
    model, field = member.model, member.field
    place, reason = named_weights.usual(model)
    if place is not None:
        # Continuous integration must neither depend on a network nor load it.
        offline = "CI is set" if os.environ.get("CI") else ""
        found = _fetch_everywhere(place, log, offline)
        reason = found.get("reason", "")
    if place is not None and not reason:
        model.pretrained = place.name
        log(f"guessed --config.{field}={place.name} (the usual weights)")
        return _start(named_weights.AUTO, place, found)
    if model.freeze_encoder:
        raise ConfigError(
            f"config.{field} = 'auto' found no weights ({reason}), and with "
            "config.model.freeze_encoder = True the encoder would keep random ones. "
            + ("" if place is None else _by_hand(member, place))
        )
    model.pretrained = ""
    advice = ""
    if place is not None:
        advice = f" {_by_hand(member, place)} Give that run another --workdir."
    log(f"guessed --config.{field}='' (random weights: {reason}).{advice}")
    return Start("", {"given": named_weights.AUTO, "weights": "random", "reason": reason})


def _start(given: str, place: Place, found: dict[str, str]) -> Start:
    about = {name: found[name] for name in ("revision", "sha256")}
    return Start(found["path"], {"given": given, "weights": place.name, **about})


def _by_hand(member: Member, place: Place) -> str:
    """What a user without a connection can do."""
    from rcc_jax.models import hub

    url = hub.address(place.repository, place.revision)
    file = f"pretrained/{place.repository.partition('/')[2]}.safetensors"
    return f"Fetch {url} by hand, put it at {file}, and give --config.{member.field}={file}."


def _recorded(workdir: str | os.PathLike) -> dict[str, dict]:
    """What an earlier start recorded of each network; empty if it cannot be read."""
    try:
        found = json.loads((pathlib.Path(workdir) / RECORD).read_text())
        second = found.pop("second", {})
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
    return {"main": found, "second": second}


def _fetch_everywhere(
    place: Place, log: Callable[[str], None], offline: str = ""
) -> dict[str, str]:
    """The file for this process, as a `HubFile`, or the 'reason' why some process has none."""
    own = _fetch(place, log, offline) if processes.is_first() else None
    first = processes.from_first(own)
    if "reason" in first:
        return first
    if own is None:
        # On the same disk it is in the cache by now.
        own = _fetch(dataclasses.replace(place, revision=first["revision"]), log, offline)
    for number, reason in enumerate(processes.gather(own.get("reason"))):
        if reason is not None:
            return {"reason": f"process {number}: {reason}"}
    return own


def _fetch(place: Place, log: Callable[[str], None], offline: str) -> dict[str, str]:
    from rcc_jax.models import hub  # Its client takes time to import, and most runs need none.

    try:
        found = hub.fetch(place.repository, place.revision, log, offline=offline)
    except hub.HubError as error:
        return {"reason": str(error)}
    return dataclasses.asdict(found)
