"""The result of an inspection as text and as plain values for JSON."""

import shlex
from collections.abc import Sequence

from input_pipeline.findings import (
    LINES,
    LISTS,
    MAX_EXAMPLES,
    MISSING,
    NAMES,
    PSEUDO,
    SETTINGS,
    Group,
    Inspection,
    Part,
)
from input_pipeline.inspection.proposals import Proposal
from input_pipeline.sources.labels import IGNORE

ADVICE = {
    MISSING: "Paths in a list are relative to data.root: correct data.root or the list (if a path "
    "contains a blank, separate the columns by a tab)."
}
UNCOUNTED = (SETTINGS, LISTS)
MAX_SIZES, MAX_SHOWN = 4, 3
# Faults that must be corrected by hand, one by one, show more examples.
MAX_SHOWN_OF = {SETTINGS: MAX_EXAMPLES, LISTS: 20, LINES: 20, NAMES: 20, PSEUDO: 20}

Proposals = Sequence[tuple[str, Proposal]]


def as_text(found: Inspection, class_names: Sequence[str], proposed: Proposals) -> str:
    """The report for people.

    Args:
        found: What was found.
        class_names: K names. Empty: No part could be opened, or the classes are not known.
        proposed: Kinds of faults, and the settings that may correct them.
    """
    lines = [_part_line(part, report) for part, report in found.parts.items()]
    if class_names and any(part.num_masks for part in found.parts.values()):
        lines += ["", *_class_lines(found, class_names)]
    for severity, groups in (("warning", found.warnings), ("error", found.errors)):
        for kind, group in groups.items():
            lines += ["", *_group_lines(severity, kind, group)]
    if proposed:
        lines.append("")
    for kind, proposal in proposed:
        lines += _proposal_lines(kind, proposal)
    lines.append("")
    if not found.errors:
        lines.append("A training can work with these data.")
    return "\n".join(lines)


def flags(proposal: Proposal) -> str:
    """The command-line flags of a proposal, quoted for a shell."""
    return " ".join(
        f"--config.{field}={shlex.quote(str(value))}" for field, value in proposal.fields.items()
    )


def as_dict(found: Inspection, class_names: Sequence[str], proposed: Proposals) -> dict:
    """The report for programs; takes the arguments of `as_text`."""
    return {
        "ok": not found.errors,
        "parts": {part: _part_dict(report) for part, report in found.parts.items()},
        "classes": [
            {
                "id": number,
                "name": name,
                **{
                    f"{part}_{what}": int(getattr(found.parts[part], what)[number])
                    for part in ("labeled", "val")
                    for what in ("pixels", "images")
                },
            }
            for number, name in enumerate(class_names)
        ],
        "errors": _groups_dict(found.errors),
        "warnings": _groups_dict(found.warnings),
        "proposals": [
            {"for": kind, "set": dict(proposal.fields), "meaning": proposal.meaning}
            for kind, proposal in proposed
        ],
    }


def _part_line(part: str, report: Part) -> str:
    sizes = [f"{width}x{height} ({n})" for (width, height), n in report.sizes.most_common()]
    shown = ", ".join(sizes[:MAX_SIZES])
    if len(sizes) > MAX_SIZES:
        shown = f"{shown}, {len(sizes) - MAX_SIZES} more sizes, {_range(report)}"
    count = len(report.usable)
    bad = count - int(report.usable.sum())
    faulty = f", {bad} of them cannot be used" if bad else ""
    return f"{part:10} {count:7} images{faulty}{': ' if shown else ''}{shown}"


def _range(report: Part) -> str:
    widths, heights = zip(*report.sizes, strict=True)
    return f"from {min(widths)} to {max(widths)} wide and {min(heights)} to {max(heights)} high"


def _class_lines(found: Inspection, class_names: Sequence[str]) -> list[str]:
    """For each class its share of the pixels that are not ignored, and the masks that have it."""
    width = max(len("ignored"), *(len(name) for name in class_names)) + 4
    heads = "".join(f"{part + ' pixels':>16}{'masks':>8}" for part in ("labeled", "val"))
    lines = [f"{'class':{width}}{heads}"]
    rows = [
        (number, f"{number:3}" if name == str(number) else f"{number:3} {name}")
        for number, name in enumerate(class_names)
    ]
    for number, name in [*rows, (IGNORE, f"{IGNORE} ignored")]:
        line = f"{name:{width}}"
        for part in ("labeled", "val"):
            report = found.parts[part]
            # The share of ignored pixels is that of all pixels.
            total = report.pixels.sum() - (report.pixels[IGNORE] if number != IGNORE else 0)
            share = 100 * report.pixels[number] / max(total, 1)
            line += f"{share:14.2f} %{report.images[number]:8}"
        lines.append(line)
    return lines


def _group_lines(severity: str, kind: str, group: Group) -> list[str]:
    counts = ", ".join(f"{part} {n}" for part, n in group.counts.items())
    total = sum(group.counts.values())
    lines = [
        f"{severity}: {kind}" if kind in UNCOUNTED else f"{severity}: {kind}: {total} ({counts})"
    ]
    shown = group.examples[: MAX_SHOWN_OF.get(kind, MAX_SHOWN)]
    lines += [f"  {message}" for message, _ in shown]
    rest = total - sum(count for _, count in shown)
    if rest:
        lines.append(f"  and {rest} more")
    return lines + ([f"  {ADVICE[kind]}"] if kind in ADVICE else [])


def _proposal_lines(kind: str, proposal: Proposal) -> list[str]:
    start = "hint" if kind == "hint" else f"proposal for {kind}"
    lines = [f"{start}: {proposal.meaning}"]
    return lines + ([f"  {flags(proposal)}"] if proposal.fields else [])


def _part_dict(report: Part) -> dict:
    return {
        "name": report.name,
        "images": len(report.usable),
        "usable": int(report.usable.sum()),
        "sizes": {f"{width}x{height}": n for (width, height), n in report.sizes.most_common()},
        "ignored_pixels": int(report.pixels[IGNORE]),
    }


def _groups_dict(groups: dict[str, Group]) -> dict:
    return {
        kind: {"counts": dict(group.counts), "messages": [text for text, _ in group.examples]}
        for kind, group in groups.items()
    }
