"""Published mIoU in percent. Tables show it beside ours, with its source.

`PAPER`: Mai, Sun, Wu, AAAI 2025, tables 1 to 3 for whole data sets and 4 to 8 for ablations.
`README`: the PASCAL table in the README of UniMatch's repository, crop 321.
`LOGS`: the training logs in that repository, best epoch. PASCAL at crop 321: one run per cell with
ResNet-50, the mean of three runs with ResNet-101. Cityscapes at crop 801: one run per cell.
`V2_BEST`, `V2_LAST`: the logs in UniMatch V2's repository, with DINOv2 at crop 518 and 798: the
EMA teacher after its best epoch on the validation images, and after the last epoch.
`AUGSEG`: the README of AugSeg's repository: the EMA teacher after its best epoch, on the usual
lists, with a multi-grid ResNet (a last stage with dilations 2, 2, 4), which ours lacks.
`IMAS`: the logs in iMAS's repository, with the same network; the paper's numbers are higher. By
these logs, the README's number for 744 labels on Cityscapes is that of output stride 8.

`AUGSEG_U2PL`: AugSeg's README on U2PL's lists of better masks, where AugSeg scores higher.
`AUGSEG_OTHERS`, `IMAS_OTHERS`: what these READMEs quote or ran of other methods.
`U2PL`, `CORRMATCH`, `PREVMATCH`, `CO_TRAIN`: the READMEs of these repositories. Co-Train's row is
that of two networks, whose second one sees cosine coefficients; `co_training` here is another pair.
The paper's tables quote this row, not that of three networks; `PAPER` leaves it out. Each of its
numbers is that of the better network.

Rounded to one decimal, the Cityscapes logs equal the paper's UniMatch row in all eight cells: the
paper quotes this baseline and did not run it again. Its U2PL row of the blender partitions is
U2PL's own, on U2PL's lists, while the rows around it are on the usual ones.

`published_sources.py` says what the rows depend on.
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
            method: {
                partition: float(number)
                for partition, number in zip(_PARTITIONS[name], text.split(), strict=True)
                if number != "-"
            }
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
            "dual_teacher": "70.7 74.5 76.4 77.6 78.1",
            "augseg": "64.2 72.1 76.1 77.4 78.8",
            "daw": "68.5 73.1 76.3 78.6 79.7",
            "rcc": "71.8 74.7 76.9 78.9 80.3",
        },
        ("pascal_classic", "resnet101"): {
            "supervised": "45.1 55.3 64.8 69.7 73.5",
            "fixmatch": "63.9 73.0 75.5 77.8 79.2",
            "unimatch": "73.5 75.4 78.7 80.2 81.9",
            "imas": "68.8 75.3 79.1 80.2 82.0",
            "daw": "74.8 77.4 79.5 80.6 81.5",
            "rcc": "75.3 77.9 79.8 81.0 82.1",
        },
        ("pascal_blender", "resnet50"): {
            "supervised": "62.4 68.2 72.3",
            "stpp": "72.6 74.4 75.4",
            "fixmatch": "70.6 73.9 75.1",
            "unimatch": "75.8 76.9 76.8",
            "imas": "75.9 76.7 77.1",
            "daw": "76.2 77.6 77.4",
            "rcc": "76.9 78.1 78.1",
        },
        ("pascal_blender", "resnet101"): {
            "supervised": "67.5 71.1 74.2",
            "stpp": "74.5 76.3 76.6",
            "u2pl": "77.2 79.0 79.3",
            "fixmatch": "74.3 76.3 76.9",
            "unimatch": "78.1 78.4 79.2",
            "imas": "77.2 78.4 79.3",
            "daw": "78.5 78.9 79.6",
            "rcc": "79.1 79.4 80.2",
        },
        ("cityscapes", "resnet50"): {
            "supervised": "63.3 70.2 73.1 76.6",
            "fixmatch": "72.6 75.7 76.8 78.2",
            "unimatch": "75.0 76.8 77.5 78.6",
            "daw": "75.2 77.5 79.1 79.5",
            "rcc": "75.7 77.9 79.3 79.8",
        },
        ("cityscapes", "resnet101"): {
            "supervised": "66.3 72.8 75.0 78.0",
            "fixmatch": "74.2 76.2 77.2 78.4",
            "unimatch": "76.6 77.9 79.2 79.5",
            "dual_teacher": "76.8 78.4 79.4 80.5",
            "daw": "76.6 78.4 79.8 80.6",
            "rcc": "77.3 78.7 80.3 80.9",
        },
    }
)

# Tables 4 to 8 have one backbone and at most two partitions.
_OF_ABLATIONS = ("pascal_classic", "resnet50")
_ABLATIONS = {
    # Table 6: U2PL's contrastive loss on UniMatch.
    "unimatch_u2pl": {"92": 69.5},
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

V2_BEST = _numbers(
    {
        ("pascal_classic", "dinov2_small"): {
            "supervised": "67.0 75.6 81.8 83.7 85.6",
            "unimatch_v2": "79.0 85.5 85.9 86.7 87.8",
            "unimatch_v2, encoder frozen": "81.8 83.8 84.0 85.7 86.2",
        },
        ("pascal_classic", "dinov2_base"): {
            "supervised": "76.9 82.1 85.3 87.2 88.3",
            "fixmatch, EMA 0.996": "83.8 87.4 88.2 89.9 90.2",
            "unimatch, EMA 0.996": "86.0 87.5 88.7 90.0 90.4",
            "unimatch_v2": "86.3 87.9 88.9 90.0 90.8",
            "unimatch_v2, encoder frozen": "84.6 87.2 87.4 88.5 90.2",
        },
        ("pascal_classic", "dinov2_large"): {
            "supervised": "76.9 82.4 86.8 89.4 90.7",
            "unimatch_v2": "86.4 87.6 90.3 91.1 91.2",
        },
        ("cityscapes", "dinov2_small"): {
            "supervised": "77.2 80.2 81.7 82.4",
            "unimatch_v2": "80.6 81.9 82.4 82.6",
            "unimatch_v2, encoder frozen": "75.1 77.1 78.2 78.6",
        },
        ("cityscapes", "dinov2_base"): {
            "supervised": "80.8 82.7 84.0 84.4",
            "unimatch_v2": "83.6 84.3 84.5 85.1",
            "unimatch_v2, encoder frozen": "79.8 81.4 81.9 82.8",
        },
    }
)

V2_LAST = _numbers(
    {
        ("pascal_classic", "dinov2_small"): {"unimatch_v2": "79.0 85.2 85.8 86.6 87.5"},
        ("pascal_classic", "dinov2_base"): {"unimatch_v2": "86.3 87.4 88.7 89.7 90.1"},
        ("cityscapes", "dinov2_small"): {"unimatch_v2": "80.0 81.7 82.3 82.4"},
        ("cityscapes", "dinov2_base"): {"unimatch_v2": "83.5 83.9 84.3 85.1"},
    }
)

AUGSEG = _numbers(
    {
        ("pascal_classic", "resnet101"): {"augseg": "71.09 75.45 78.80 80.33 81.36"},
        ("pascal_blender", "resnet50"): {"augseg": "74.66 75.99 77.16"},
        ("pascal_blender", "resnet101"): {"augseg": "77.01 77.31 78.82"},
        ("cityscapes", "resnet50"): {"augseg": "73.73 76.49 78.76 79.33"},
        ("cityscapes", "resnet101"): {"augseg": "75.22 77.82 79.56 80.43"},
    }
)

IMAS = _numbers(
    {
        ("pascal_classic", "resnet101"): {"imas": "68.8 74.4 78.5 79.7 81.2"},
        ("pascal_blender", "resnet50"): {"imas": "74.75 76.95 76.98"},
        ("pascal_blender", "resnet101"): {"imas": "76.48 78.20 78.34"},
    }
)

AUGSEG_U2PL = _numbers(
    {
        ("pascal_blender", "resnet50"): {"augseg": "77.28 78.27 78.24"},
        ("pascal_blender", "resnet101"): {"augseg": "79.29 81.46 80.50"},
    }
)

AUGSEG_OTHERS = _numbers(
    {
        ("pascal_classic", "resnet101"): {"stpp": "65.2 71.0 74.6 77.3 79.1"},
        ("cityscapes", "resnet50"): {"u2pl": "69.0 73.0 76.3 78.6"},
    }
)

IMAS_OTHERS = _numbers(
    {
        ("pascal_blender", "resnet50"): {"cps": "72.0 73.7 74.9", "u2pl": "72.0 75.2 76.2"},
        ("pascal_blender", "resnet101"): {"cps": "74.5 76.4 77.7", "u2pl": "74.4 77.6 78.7"},
        ("cityscapes", "resnet50"): {
            "stpp": "- 72.7 73.8 -",
            "cps": "74.4 76.6 77.8 78.8",
            "imas": "74.3 77.4 78.1 79.3",
        },
    }
)

U2PL = _numbers(
    {
        ("pascal_classic", "resnet101"): {"u2pl": "68.0 69.2 73.7 76.2 79.5"},
        ("pascal_blender", "resnet101"): {"u2pl": "77.2 79.0 79.3"},
        ("cityscapes", "resnet101"): {"u2pl": "70.3 74.4 76.5 79.1"},
    }
)

CORRMATCH = _numbers(
    {
        ("pascal_classic", "resnet101"): {"corrmatch": "76.4 78.5 79.4 80.6 81.8"},
        ("cityscapes", "resnet101"): {"corrmatch": "77.3 78.5 79.4 80.4"},
    }
)

PREVMATCH = _numbers(
    {
        ("pascal_classic", "resnet50"): {"prevmatch": "73.4 75.4 77.5 78.6 79.3"},
        ("pascal_classic", "resnet101"): {"prevmatch": "77.0 78.5 79.6 80.4 81.6"},
        ("cityscapes", "resnet50"): {"prevmatch": "75.8 77.8 78.8 79.2"},
        ("cityscapes", "resnet101"): {"prevmatch": "77.7 78.9 80.1 80.1"},
    }
)

CO_TRAIN = _numbers(
    {
        ("pascal_classic", "resnet101"): {"co_training": "76.2 76.6 80.2 80.8 81.9"},
        ("pascal_blender", "resnet50"): {"co_training": "76.2 77.0 77.5"},
        ("pascal_blender", "resnet101"): {"co_training": "77.9 78.7 79.0"},
        ("cityscapes", "resnet50"): {"co_training": "- 76.3 77.1 -"},
        ("cityscapes", "resnet101"): {"co_training": "75.0 77.3 78.7 -"},
    }
)
