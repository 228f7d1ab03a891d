"""Finds images that occur twice in a partition, by name or by content."""

import numpy as np

from input_pipeline.findings import COPY, LEAK, OVERLAP, PARTS, TWICE, Inspection
from input_pipeline.partitions.partition import Partition
from input_pipeline.sources.base import Source
from input_pipeline.sources.string_table import StringIndex


def compare_names(partition: Partition, found: Inspection) -> None:
    """Adds images that are listed twice, in one list or in two."""
    seen: list[tuple[str, Source]] = []
    for part in PARTS:
        source = getattr(partition, part)
        index = StringIndex(source.ids)
        for place in index.repeats():
            found.errors[TWICE].add(part, f"{source.ids[int(place)]} ({source.name})")
        for other_part, other in seen:
            for place in np.flatnonzero(index.find(other.ids) >= 0):
                message = f"{other.ids[int(place)]} is in {other.name} and in {source.name}"
                found.errors[OVERLAP].add(f"{other_part} and {part}", message)
        seen.append((part, source))


def compare_contents(partition: Partition, found: Inspection) -> None:
    """Adds images of different names whose pixels are the same."""
    digests = np.concatenate([found.parts[part].digests for part in PARTS])
    ends = np.cumsum([len(found.parts[part].digests) for part in PARTS])
    order = np.argsort(digests, kind="stable")
    ordered = digests[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] + np.uint64(1)))
    lengths = np.diff(starts, append=len(ordered))
    for start, length in zip(starts[lengths > 1], lengths[lengths > 1], strict=True):
        if ordered[start] == 0:  # Images that cannot be read have the digest 0.
            continue
        members = []
        for place in order[start : start + length].tolist():
            number = int(np.searchsorted(ends, place, side="right"))
            first = int(ends[number - 1]) if number else 0
            members.append((PARTS[number], getattr(partition, PARTS[number]).ids[place - first]))
        _report_copies(members, found)


def _report_copies(members: list[tuple[str, str]], found: Inspection) -> None:
    """Counts the later images of a group of equal ones.

    Images that share a name are left out, because `compare_names` counts them.
    """
    trained = [member for member in members if member[0] != "val"]
    first = (trained or members)[0]
    for part, name in members:
        if name == first[1]:
            continue
        message = f"{first[1]} ({first[0]}) and {name} ({part}) are the same image"
        if part == "val" and trained:
            found.warnings[LEAK].add("val", message)
        else:
            found.warnings[COPY].add(part, message)
