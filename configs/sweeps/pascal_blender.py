"""Table 2 of the paper: PASCAL VOC 2012, blender partitions, all methods.

    python main.py --mode=sweep --config=configs/sweeps/pascal_blender.py:backbone=resnet50
    python main.py --mode=table --workdir=runs/pascal_blender-backbone=resnet50

`lists=u2pl` uses the partitions of high-quality labels, for which the paper has no numbers.

`methods=paper` runs all rows of the table whose method is here, `methods=daw+rcc` those named, and
`methods=all` every method. ST and ST++ are several runs each: see `configs/sweeps/stpp.py`.
"""

from configs.sweeps import paper_tables

PARTITIONS = ("1_16", "1_8", "1_4")


def get_config(arguments=None):
    files = [f"pascal_blender_{partition}" for partition in PARTITIONS]
    return paper_tables.get_config(arguments, table="pascal_blender", files=files, lists="cps")
