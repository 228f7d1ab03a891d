"""Inputs and weights of the recorded run of `torch_dinov2.py`, and what is kept of its outputs."""

import pathlib

import numpy as np

PATH = pathlib.Path(__file__).with_suffix(".json")
BACKBONE, NUM_CLASSES, SIDE = "dinov2_small", 21, 518
# Places that are kept: tokens of the patch grid, and pixels of the image.
_TOKENS, _CHANNELS = slice(5, None, 273), slice(3, None, 60)
_PIXELS = slice(20, None, 119)


def images():
    """A normalised image, [1, 518, 518, 3]."""
    return np.random.RandomState(7).standard_normal((1, SIDE, SIDE, 3))  # noqa: NPY002


def draw(shapes):
    """Weights by name, from their shapes by name."""
    draws = np.random.RandomState(0)  # noqa: NPY002
    found = {}
    for name in sorted(shapes):
        shape = shapes[name]
        fan = np.prod(shape[1:]) if len(shape) in (2, 4) else 4
        around = 1.0 if name.endswith("gamma") or ("norm" in name and "weight" in name) else 0.0
        found[name] = around + draws.standard_normal(shape) / np.sqrt(fan)
    return found


def summary(features, logits):
    """Some numbers of the features of four levels, each [1, 1369, D], and of the logits."""
    kept = {f"level{i + 1}": level[0, _TOKENS, _CHANNELS] for i, level in enumerate(features)}
    kept["logits"] = logits[0, _PIXELS, _PIXELS, ::4]
    found = {name: np.asarray(values, np.float64).ravel().tolist() for name, values in kept.items()}
    found["means"] = [float(np.mean(np.square(x))) for x in (*features, logits)]
    return found
