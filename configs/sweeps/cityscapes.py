"""Table 3 of the paper: Cityscapes, all partitions and methods.

    python main.py --mode=sweep --config=configs/sweeps/cityscapes.py:backbone=resnet50
    python main.py --mode=table --workdir=runs/cityscapes-backbone=resnet50

`methods=paper` runs all rows of the table whose method is here, `methods=daw+rcc` those named, and
`methods=all` every method. ST and ST++ are several runs each: see `configs/sweeps/stpp.py`.
"""

from configs import common


def get_config(arguments=None):
    chosen = common.parse_arguments(arguments, backbone="resnet50", methods="main", seeds=1)
    methods = common.table_methods(chosen["methods"], "cityscapes", chosen["backbone"])
    cells = [
        f"configs/cityscapes_{partition}.py:backbone={chosen['backbone']},method={method}"
        for partition in ("1_16", "1_8", "1_4", "1_2")
        for method in methods
    ]
    return common.sweep(common.with_seeds(cells, chosen["seeds"]))
