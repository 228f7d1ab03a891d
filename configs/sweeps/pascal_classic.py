"""Table 1 of the paper: PASCAL VOC 2012, classic partitions, all methods.

python main.py --mode=sweep --config=configs/sweeps/pascal_classic.py:backbone=resnet50
python main.py --mode=table --workdir=runs/pascal_classic-backbone=resnet50
"""

from configs import common

PARTITIONS = ("1_16", "1_8", "1_4", "1_2", "full")


def get_config(arguments=None):
    chosen = common.parse_arguments(arguments, backbone="resnet50", seeds=1)
    cells = [
        f"configs/pascal_{partition}.py:backbone={chosen['backbone']},method={method}"
        for partition in PARTITIONS
        for method in ("supervised", "fixmatch", "unimatch", "rcc")
    ]
    return common.sweep(common.with_seeds(cells, chosen["seeds"]))
