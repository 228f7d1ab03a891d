"""Every method on equal terms: 20 labelled photographs, the same network, steps and images.

    python main.py --mode=sweep --config=configs/sweeps/all_methods.py --list=splits/test.txt
    python main.py --mode=table --workdir=runs/all_methods

`network=dinov2_small` trains DINOv2-S instead of a ResNet-50 up to its third stage, and
`methods=daw+augseg` some methods alone. Co-training takes the other of these two as its second
network, and with it crops that are multiples for both. ST and ST++ are several runs each, which
`configs/sweeps/stpp.py` lists.
"""

from configs import common
from configs.sweeps import paper_tables

NETWORKS = ("resnet50_c4", "dinov2_small")


def get_config(arguments=None):
    chosen = common.parse_arguments(arguments, network=NETWORKS[0], methods="all", seeds=1)
    network = common.choose(chosen["network"], NETWORKS, "network")
    methods = paper_tables.methods_of(chosen["methods"])
    (other,) = set(NETWORKS) - {network}
    more = {"co_training": f",second={other}"}
    cells = [
        f"configs/msrc.py:20,backbone={network},method={name}{more.get(name, '')}"
        for name in methods
    ]
    return common.sweep(common.with_seeds(cells, chosen["seeds"]))
