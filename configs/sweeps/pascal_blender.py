"""Table 2 of the paper: PASCAL VOC 2012, blender partitions, all methods.

    python main.py --mode=sweep --config=configs/sweeps/pascal_blender.py:backbone=resnet50
    python main.py --mode=table --workdir=runs/pascal_blender-backbone=resnet50

`lists=u2pl` uses the partitions of high-quality labels, for which the paper has no numbers.

`methods=paper` runs all rows of the table whose method is here, `methods=daw+rcc` those named, and
`methods=all` every method. ST and ST++ are several runs each: see `configs/sweeps/stpp.py`.
"""

from configs import common


def get_config(arguments=None):
    chosen = common.parse_arguments(
        arguments, backbone="resnet50", methods="main", lists="cps", seeds=1
    )
    shared = f"backbone={chosen['backbone']},lists={chosen['lists']}"
    methods = common.table_methods(chosen["methods"], "pascal_blender", chosen["backbone"])
    cells = [
        f"configs/pascal_blender_{partition}.py:{shared},method={method}"
        for partition in ("1_16", "1_8", "1_4")
        for method in methods
    ]
    return common.sweep(common.with_seeds(cells, chosen["seeds"]))
