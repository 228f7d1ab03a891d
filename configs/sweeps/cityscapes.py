"""Table 3 of the paper: Cityscapes, all partitions and methods.

    python main.py --mode=sweep --config=configs/sweeps/cityscapes.py:backbone=resnet50
    python main.py --mode=table --workdir=runs/cityscapes-backbone=resnet50

`methods=paper` runs all rows of the table whose method is here, `methods=daw+rcc` those named, and
`methods=all` every method. ST and ST++ are several runs each: see `configs/sweeps/stpp.py`.
"""

from configs.sweeps import paper_tables

PARTITIONS = ("1_16", "1_8", "1_4", "1_2")


def get_config(arguments=None):
    files = [f"cityscapes_{partition}" for partition in PARTITIONS]
    return paper_tables.get_config(arguments, table="cityscapes", files=files)
