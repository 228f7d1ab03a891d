"""Scores from a confusion matrix: IoU by class and mIoU, also as tables. Numpy only."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_GAP = "   "
# Heads of the columns, by the suffix of their names in metrics.jsonl.
_HEADS = {"": "student", "_ema": "EMA"}


@dataclasses.dataclass(frozen=True)
class Scores:
    """Scores of a confusion matrix, in percent.

    Attributes:
        miou: Mean of `iou` over the classes that have one; nan if none has.
        iou: Intersection over union by class name; nan for a class that is neither in the ground
            truth nor predicted.
        absent: Names of the classes without a pixel in the ground truth.
        accuracy: Share of correct pixels; nan if there are no pixels.
    """

    miou: float
    iou: dict[str, float]
    absent: tuple[str, ...]
    accuracy: float

    def table(self) -> str:
        """One line per class, then mIoU and accuracy."""
        width = max(len(name) for name in (*self.iou, "accuracy"))
        lines = []
        for name, value in self.iou.items():
            note = ""
            if name in self.absent:
                counts = "does not count" if np.isnan(value) else "but predicted: counts as 0"
                note = f"  not in the ground truth, {counts}"
            lines.append(f"{name:<{width}}  {_percent(value)}{note}")
        counted = sum(not np.isnan(value) for value in self.iou.values())
        over = f"over {counted} of {len(self.iou)} classes"
        lines.append(f"{'mIoU':<{width}}  {_percent(self.miou)}  {over}")
        lines.append(f"{'accuracy':<{width}}  {_percent(self.accuracy)}")
        return "\n".join(lines)


def scores(confusion: np.ndarray, class_names: Sequence[str]) -> Scores:
    """Turns counts into intersection over union; a class with an empty union gets nan.

    Args:
        confusion: Counts [K, K]; rows are true classes, columns predicted ones.
        class_names: K different names.

    Returns:
        The scores.

    Raises:
        ValueError: If the names are not K different ones.

    >>> scores(np.array([[3, 1], [0, 4]]), ["sky", "road"]).iou
    {'sky': 75.0, 'road': 80.0}
    """
    if len(set(class_names)) != len(class_names) or len(class_names) != len(confusion):
        raise ValueError(
            f"{len(confusion)} classes need as many different names, not {list(class_names)}"
        )
    hits = np.diag(confusion)
    truth = confusion.sum(axis=1)
    union = truth + confusion.sum(axis=0) - hits
    iou = np.divide(100 * hits, union, out=np.full(len(hits), np.nan), where=union > 0)
    total = confusion.sum()
    return Scores(
        miou=float(np.nanmean(iou)) if (union > 0).any() else float("nan"),
        iou=dict(zip(class_names, iou.tolist(), strict=True)),
        absent=tuple(n for n, pixels in zip(class_names, truth, strict=True) if pixels == 0),
        accuracy=float(100 * hits.sum() / total) if total else float("nan"),
    )


def _percent(value: float) -> str:
    return "     -" if np.isnan(value) else f"{value:6.2f}"


def score_table(
    results: Mapping[str, Scores], previous: Mapping[str, Any] | None = None, *, width: int = 100
) -> str:
    """The IoU of an evaluation during training, several classes per line, in columns.

    Args:
        results: Scores of the networks, by '' (student) and '_ema' (EMA teacher); the last one is
            the score of the run.
        previous: The previous evaluation's line of metrics.jsonl, with 'step', 'iou' and 'iou_ema';
            None if there is none.
        width: Characters per line; long class names may exceed it.

    Returns:
        IoU of each network in percent, and the change of the last network's IoU in points. Classes
        without a pixel in the ground truth are marked with a star; '-' means that such a class is
        not predicted either and does not count.
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
    return f"{round(value - before, 1) + 0.0:+.1f}"  # Adding 0 turns -0 into 0.
