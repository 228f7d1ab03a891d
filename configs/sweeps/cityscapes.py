"""Table 3 of the paper: Cityscapes, all partitions and methods.

python main.py --mode=sweep --config=configs/sweeps/cityscapes.py:backbone=resnet50
python main.py --mode=table --workdir=runs/cityscapes-backbone=resnet50
"""

from configs import common


def get_config(arguments=None):
    chosen = common.parse_arguments(arguments, backbone="resnet50", seeds=1)
    cells = [
        f"configs/cityscapes_{partition}.py:backbone={chosen['backbone']},method={method}"
        for partition in ("1_16", "1_8", "1_4", "1_2")
        for method in ("supervised", "fixmatch", "unimatch", "rcc")
    ]
    return common.sweep(common.with_seeds(cells, chosen["seeds"]))
