"""Tables 4, 5, 7 and 8 of the paper: components, CC's losses, number of players, weight.

    python main.py --mode=sweep --config=configs/sweeps/ablations.py
    python main.py --mode=table --workdir=runs/ablations

`data=camvid` does the same on CamVid 1/8, where only a few labelled frames are needed.
"""

from configs import common

CELLS = (
    "method=unimatch",
    *(f"method=cc,kind={kind}" for kind in ("l2", "ce", "kl")),
    *(f"method=rcc,top_n={players}" for players in (3, 4, 5, 6)),
    *(f"method=rcc,weight={weight}" for weight in (0.1, 0.5, 1.0)),
)


def get_config(arguments=None):
    chosen = common.parse_arguments(arguments, data="pascal", backbone="resnet50", seeds=1)
    data = common.choose(chosen["data"], ("pascal", "camvid"), "data")
    first = f"backbone={chosen['backbone']}"
    if data == "camvid":
        cells = [f"configs/camvid.py:1_8,{first},{cell}" for cell in CELLS]
    else:
        cells = [f"configs/pascal_1_16.py:{first},{cell}" for cell in CELLS]
        # Table 4 also compares the components with all 1,464 labels.
        full = ("method=unimatch", "method=cc", "method=rcc")
        cells += [f"configs/pascal_full.py:{first},{cell}" for cell in full]
    return common.sweep(common.with_seeds(cells, chosen["seeds"]))
