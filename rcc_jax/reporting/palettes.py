"""Colours of classes: a known data set has its own, any other gets colours that are far apart."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from rcc_jax.reporting.sheets import IGNORED_COLOR, UNUSED, palette

# As the data sets' own tools draw them, in the order of the class ids in configs/.
_CITYSCAPES = (
    "804080 f423e8 464646 66669c be9999 999999 faaa1e dcdc00 6b8e23 98fb98 4682b4 dc143c ff0000 "
    "00008e 000046 003c64 005064 0000e6 770b20"
)
_CAMVID = "808080 800000 c0c080 804080 0000c0 808000 c08080 404080 400080 404000 0080c0"
_OFFICIAL = {"cityscapes": _CITYSCAPES, "camvid": _CAMVID}
# These have PASCAL VOC's colours, as do the drawn scenes of the demo.
_LIKE_VOC = ("pascal", "demo")
# Any other data. Class 0, most often the background, is dark but not black as padding is. The next
# seven are the colours of Okabe and Ito, which the colour-blind can tell apart. Each further one is
# as far as possible, in CIELAB, from those before it and from the other colours in pictures.
_OWN = (
    "30343c e69f00 56b4e9 009e73 f0e442 0072b2 d55e00 cc79a7 0000ff 00ff00 ff22ee 000077 "
    "ff0066 555500 660011 9977ff 99ff88 00ffff 990088 338800 cc8866 bbff00 ff0022 551144 "
    "7711cc 004422 bbaaff ff22aa aaaa55 554499 ff88ff aa1155 00ffbb 448888 aa0011 ff7788 "
    "000033 0088ff eeff99 55cc11 884400 886666 aaffcc 0055ff 442200 ffcc88 ffbbcc 99eeff "
    "77bb66 00ff77 8888aa 997700 99bb22 668855 cc00ff 005500 ff9955 aa66bb 00bb55 ff6655 "
    "66ccbb ff66aa cc55ee 330055"
)
_ITEM = re.compile(r"#([0-9a-fA-F]{6})\s*:\s*(\d+)")


def of_data(data: Mapping[str, Any]) -> np.ndarray:
    """The colours of a data set.

    Args:
        data: `config.data`, of which 'name', 'source', 'colormap' and 'num_classes' (K) are read.

    Returns:
        uint8 [256, 3]. Ids from K on are grey; 255, which is ignored, is white. From the 65th class
        on, data without colours of their own get PASCAL VOC's: all different, some only slightly.
    """
    num_classes, name = data["num_classes"], data["name"]
    if name.startswith(_LIKE_VOC) or data["source"] == "scenes":
        return palette(num_classes)
    known = _parse(_OFFICIAL.get(name, ""))
    # A data set with a known name but more classes is a different one.
    if len(known) < num_classes:
        known = _parse(_OWN)
    colors = palette(num_classes)
    colors[: min(num_classes, len(known))] = known[:num_classes]
    # Masks that store colours keep them; a class with several colours is drawn in its first one.
    for code, number in reversed(_ITEM.findall(data["colormap"])):
        color = tuple(bytes.fromhex(code))
        if int(number) < num_classes and color not in (UNUSED, IGNORED_COLOR):
            colors[int(number)] = color
    colors[255] = IGNORED_COLOR
    return colors


def _parse(text: str) -> np.ndarray:
    return np.array([list(bytes.fromhex(code)) for code in text.split()], np.uint8).reshape(-1, 3)
