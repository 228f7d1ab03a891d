"""How stable predictions are from checkpoint to checkpoint (ST++, Yang et al., CVPR 2022)."""

from collections.abc import Mapping, Sequence

import numpy as np


def stability(earlier: Sequence[np.ndarray], last: np.ndarray, num_classes: int) -> float:
    """The mean over earlier predictions of their mIoU with the last one (section 3.3).

    Args:
        earlier: Label maps of an image, uint8 [H, W] each, ids below K.
        last: The label map of the last checkpoint, uint8 [H, W].
        num_classes: K.

    Returns:
        A number from 0 to 1; 1 if all are equal.

    >>> last, other = np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 1]])
    >>> round(stability([other], last, 2), 4), round(stability([other, last], last, 2), 4)
    (0.5833, 0.7917)
    """
    return float(np.mean([mean_iou(each, last, num_classes) for each in earlier]))


def mean_iou(one: np.ndarray, other: np.ndarray, num_classes: int) -> float:
    """The mean IoU of two label maps over the classes that occur in either."""
    pairs = one.astype(np.int64) * num_classes + other
    counts = np.bincount(pairs.ravel(), minlength=num_classes**2).reshape(num_classes, num_classes)
    both = np.diagonal(counts)
    either = counts.sum(axis=0) + counts.sum(axis=1) - both
    return float(np.mean(both[either > 0] / either[either > 0]))


def ranked(scores: Mapping[str, float], images: Sequence[str]) -> list[str]:
    """The images, the most stable first; those of equal scores stay in their order."""
    return sorted(images, key=lambda image: -scores[image])
