"""Colours of classes: a known data set has its own, any other gets colours that are told apart."""

import functools
import re
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from rcc_jax.reporting.sheets import IGNORED_COLOR, UNUSED, palette

# As the data sets' own tools draw them, in the order of the ids of configs/.
_CITYSCAPES = (
    "804080 f423e8 464646 66669c be9999 999999 faaa1e dcdc00 6b8e23 98fb98 4682b4 dc143c ff0000 "
    "00008e 000046 003c64 005064 0000e6 770b20"
)
_CAMVID = "808080 800000 c0c080 804080 0000c0 808000 c08080 404080 400080 404000 0080c0"
_OFFICIAL = {"cityscapes": _CITYSCAPES, "camvid": _CAMVID}
# PASCAL VOC's colours, which the drawn scenes of the demo share.
_LIKE_VOC = ("pascal", "demo")
# Class 0, most often the background, is dark but not black as padding is; then the colours that
# Okabe and Ito chose to be told apart by the colour-blind too.
_FIRST = "30343c e69f00 56b4e9 009e73 f0e442 0072b2 d55e00 cc79a7"
# What else is in pictures: padding, and the grey of pixels whose pseudo label does not count.
_TAKEN = ((0, 0, 0), (192, 192, 192), UNUSED, IGNORED_COLOR)
_ITEM = re.compile(r"#([0-9a-fA-F]{6})\s*:\s*(\d+)")
# Candidates for more colours: so many levels of each channel.
_LEVELS = 16


def of_data(data: Mapping[str, Any]) -> np.ndarray:
    """The colours of a data set.

    Args:
        data: `config.data`; its 'name' decides, 'source' and 'colormap' too, and 'num_classes' is
            K.

    Returns:
        uint8 [256, 3]; ids from K on are grey, 255, which is ignored, is white.
    """
    num_classes, name = data["num_classes"], data["name"]
    if name.startswith(_LIKE_VOC) or data["source"] == "scenes":
        return palette(num_classes)
    known = _parse(_OFFICIAL.get(name, ""))
    colors = np.empty((256, 3), np.uint8)
    colors[:] = UNUSED
    # A data set of a known name but with more classes is another one.
    colors[:num_classes] = (known if len(known) >= num_classes else _own())[:num_classes]
    # Masks of colours are known by these; of several of one class the first one is shown.
    for code, number in reversed(_ITEM.findall(data["colormap"])):
        color = tuple(bytes.fromhex(code))
        if int(number) < num_classes and color not in (UNUSED, IGNORED_COLOR):
            colors[int(number)] = color
    colors[255] = IGNORED_COLOR
    return colors


def _parse(text: str) -> np.ndarray:
    return np.array([list(bytes.fromhex(code)) for code in text.split()], np.uint8).reshape(-1, 3)


@functools.cache
def _own() -> np.ndarray:
    """255 colours: each one, in CIELAB, as far as can be from all before it."""
    levels = np.linspace(0, 255, _LEVELS).round().astype(np.uint8)
    candidates = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)
    found = [*_parse(_FIRST)]
    places = _lab(candidates)
    distance = np.full(len(candidates), np.inf)
    for place in _lab(np.array([*_TAKEN, *found], np.uint8)):
        distance = np.minimum(distance, np.linalg.norm(places - place, axis=1))
    while len(found) < 255:
        farthest = int(distance.argmax())
        found.append(candidates[farthest])
        distance = np.minimum(distance, np.linalg.norm(places - places[farthest], axis=1))
    return np.array(found)


def _lab(colors: np.ndarray) -> np.ndarray:
    """sRGB uint8 [N, 3] to CIELAB, float32 [N, 3]."""
    return cv2.cvtColor(colors[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
