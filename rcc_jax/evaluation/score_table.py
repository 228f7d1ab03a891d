"""IoU by class after each evaluation of a training, for who watches a terminal."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rcc_jax.evaluation.evaluator import Scores

_GAP = "   "
# Of the columns of numbers, by the suffix of their names in metrics.jsonl.
_HEADS = {"": "student", "_ema": "EMA"}


def score_table(
    results: Mapping[str, Scores], previous: Mapping[str, Any] | None = None, *, width: int = 100
) -> str:
    """Several classes a line, in columns that are read downwards.

    Args:
        results: Of the networks, by '' (student) and '_ema' (averaged teacher); the last one is
            what counts.
        previous: Line of the evaluation before in metrics.jsonl, with 'step', 'iou' and 'iou_ema';
            None where there is none.
        width: Characters of a line; longer names of classes may take more.

    Returns:
        IoU in percent of each network, and how much that of the last one has changed in points.
        Classes without a pixel in the ground truth have a star, and '-' where they are not
        predicted either and do not count.
    """
    suffix, counts = list(results.items())[-1]
    before = (previous or {}).get(f"iou{suffix}", {})
    heads = [_HEADS[each] for each in results] if len(results) > 1 else ["IoU"]
    cells = [[_number(result.iou[name]) for result in results.values()] for name in counts.iou]
    if previous is not None:
        heads.append("change")
        for name, row in zip(counts.iou, cells, strict=True):
            row.append(_change(counts.iou[name], before.get(name)))
    names = [f"{name}*" if name in counts.absent else name for name in counts.iou]
    longest = max(len(name) for name in ("class", *names))
    head, *entries = (
        f"{name:<{longest}}" + "".join(map(_right, row, heads))
        for name, row in zip(["class", *names], [heads, *cells], strict=True)
    )
    notes = []
    if previous is not None:
        of = f" of {_HEADS[suffix]}" if len(results) > 1 else ""
        notes.append(f"change{of}: since step {previous['step']}")
    if counts.absent:
        notes.append("*: not in the ground truth; where predicted it counts as 0 in mIoU")
    return "\n".join([*_in_columns(head, entries, width), "; ".join(notes)]).rstrip()


def _in_columns(head: str, entries: list[str], width: int) -> list[str]:
    columns = max(1, (width + len(_GAP)) // (len(head) + len(_GAP)))
    height = -(-len(entries) // columns)
    used = -(-len(entries) // height)
    rows = [_GAP.join(entries[row::height]).rstrip() for row in range(height)]
    return [_GAP.join([head] * used), *rows]


def _right(text: str, head: str) -> str:
    return f"{text:>{max(len(head), 5) + 2}}"


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.1f}"


def _change(value: float, before: float | None) -> str:
    if before is None or np.isnan(value):
        return ""
    return f"{round(value - before, 1) + 0.0:+.1f}"  # Adding 0 makes -0 a 0.
