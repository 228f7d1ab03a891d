"""Published mIoU in percent. Tables show it beside ours, with its source.

`PAPER`: Mai, Sun, Wu, AAAI 2025, tables 1 to 3 for whole data sets and 4, 5, 7, 8 for ablations.
`README`: the PASCAL table in the README of UniMatch's repository, crop 321.
`LOGS`: the training logs in that repository, best epoch. PASCAL at crop 321: one run per cell with
ResNet-50, the mean of three runs with ResNet-101. Cityscapes at crop 801: one run per cell.

Rounded to one decimal, the Cityscapes logs equal the paper's UniMatch row in all eight cells: the
paper quotes this baseline and did not run it again.
"""

from collections.abc import Mapping

# (data set, backbone) -> method -> partition -> mIoU
Numbers = Mapping[tuple[str, str], Mapping[str, Mapping[str, float]]]

_PARTITIONS = {
    "pascal_classic": ("92", "183", "366", "732", "1464"),
    "pascal_blender": ("662", "1323", "2646"),
    "cityscapes": ("186", "372", "744", "1488"),
}


def _numbers(rows: Mapping[tuple[str, str], Mapping[str, str]]) -> Numbers:
    return {
        (name, backbone): {
            method: dict(zip(_PARTITIONS[name], map(float, text.split()), strict=True))
            for method, text in methods.items()
        }
        for (name, backbone), methods in rows.items()
    }


_TABLES = _numbers(
    {
        ("pascal_classic", "resnet50"): {
            "supervised": "44.0 52.3 61.7 66.7 72.9",
            "fixmatch": "60.1 67.3 71.4 73.7 76.9",
            "unimatch": "67.4 71.9 75.3 78.0 79.3",
            "rcc": "71.8 74.7 76.9 78.9 80.3",
        },
        ("pascal_classic", "resnet101"): {
            "supervised": "45.1 55.3 64.8 69.7 73.5",
            "fixmatch": "63.9 73.0 75.5 77.8 79.2",
            "unimatch": "73.5 75.4 78.7 80.2 81.9",
            "rcc": "75.3 77.9 79.8 81.0 82.1",
        },
        ("pascal_blender", "resnet50"): {
            "supervised": "62.4 68.2 72.3",
            "fixmatch": "70.6 73.9 75.1",
            "unimatch": "75.8 76.9 76.8",
            "rcc": "76.9 78.1 78.1",
        },
        ("pascal_blender", "resnet101"): {
            "supervised": "67.5 71.1 74.2",
            "fixmatch": "74.3 76.3 76.9",
            "unimatch": "78.1 78.4 79.2",
            "rcc": "79.1 79.4 80.2",
        },
        ("cityscapes", "resnet50"): {
            "supervised": "63.3 70.2 73.1 76.6",
            "fixmatch": "72.6 75.7 76.8 78.2",
            "unimatch": "75.0 76.8 77.5 78.6",
            "rcc": "75.7 77.9 79.3 79.8",
        },
        ("cityscapes", "resnet101"): {
            "supervised": "66.3 72.8 75.0 78.0",
            "fixmatch": "74.2 76.2 77.2 78.4",
            "unimatch": "76.6 77.9 79.2 79.5",
            "rcc": "77.3 78.7 80.3 80.9",
        },
    }
)

# Tables 4, 5, 7 and 8 have one backbone and at most two partitions.
_OF_ABLATIONS = ("pascal_classic", "resnet50")
_ABLATIONS = {
    "cc": {"92": 70.2, "1464": 79.9},
    "cc, ce": {"92": 69.9},
    "cc, kl": {"92": 70.0},
    "rcc, N = 3": {"92": 70.3},
    "rcc, N = 5": {"92": 72.0},
    "rcc, N = 6": {"92": 71.9},
    "rcc, lambda = 0.1": {"92": 70.5},
    "rcc, lambda = 0.5": {"92": 71.5},
    "rcc, lambda = 1": {"92": 70.0},
}
PAPER = {**_TABLES, _OF_ABLATIONS: {**_TABLES[_OF_ABLATIONS], **_ABLATIONS}}

README = _numbers(
    {("pascal_classic", "resnet101"): {"unimatch": "75.2 77.2 78.8 79.9 81.2"}},
)

LOGS = _numbers(
    {
        ("pascal_classic", "resnet50"): {"unimatch": "71.9 72.5 76.0 77.4 78.7"},
        ("pascal_classic", "resnet101"): {"unimatch": "75.0 77.5 78.5 79.9 80.8"},
        ("cityscapes", "resnet50"): {"unimatch": "75.03 76.77 77.49 78.60"},
        ("cityscapes", "resnet101"): {"unimatch": "76.59 77.92 79.22 79.45"},
    }
)

# By the name that tables show, in the order of their rows.
SOURCES = {"paper": PAPER, "UniMatch's README": README, "public log": LOGS}
