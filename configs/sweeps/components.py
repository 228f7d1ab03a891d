"""The gain of each component on CamVid: five methods, one after another.

    python main.py --mode=sweep --config=configs/sweeps/components.py:1_8,seeds=3
    python main.py --mode=table --workdir=runs/components-1_8,seeds=3

`--set=data.root=DIR` sets a field in every run and may be repeated; `--shard=0/5` runs a fifth.
"""

from configs import common

METHODS = ("supervised", "fixmatch", "unimatch", "cc", "rcc")


def get_config(arguments=None):
    chosen = common.parse_arguments(arguments, partition="1_8", backbone="resnet50", seeds=1)
    cell = f"configs/camvid.py:{chosen['partition']},backbone={chosen['backbone']}"
    return common.sweep(
        common.with_seeds([f"{cell},method={method}" for method in METHODS], chosen["seeds"])
    )
