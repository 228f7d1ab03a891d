"""Which choice of RCC matters on photographs: one change at a time, 20 labels, one seed each.

    python main.py --mode=sweep --config=configs/sweeps/one_change.py --list=splits/test.txt
    python main.py --mode=table --workdir=runs/one_change

The runs to compare with are those of `configs/sweeps/real_images.py:photos`; with
`network=dinov2_small`, those of `photos_dinov2`. First come twice as many labels and twice as many
steps, with each of the three methods, because unlabelled images may need either; then changes of
RCC in the order in which they are worth a run. The last three are variants of the term that the
paper does not have: pixels weighted by agreement, pairs of the top class alone, and soft targets
over the same classes.
"""

from configs import common
from configs.sweeps import real_images

# The labels alone, UniMatch and RCC, by network.
NETWORKS = {
    "resnet50_c4": [f"method={method}" for method in real_images.METHODS],
    "dinov2_small": [
        f"{real_images.TRANSFORMER},method={method}" for method in real_images.OF_TRANSFORMER
    ],
}
CHANGES = (
    "weight=1.0", "gamma=0.7", "tau=0.1", "pixels=confident", "top_n=6", "weight=2.0",
    "input=probabilities", "pixels=agreeing", "pairs=top",
)  # fmt: skip


def get_config(arguments=None):
    chosen = common.parse_arguments(arguments, network="resnet50_c4", seeds=1)
    methods = NETWORKS[common.choose(chosen["network"], tuple(NETWORKS), "network")]
    _, base, rcc = methods
    cells = [
        *(f"configs/msrc.py:40,{method}" for method in methods),
        *(f"configs/msrc.py:20,{method},steps=1600" for method in methods),
        *(f"configs/msrc.py:20,{rcc},{change}" for change in CHANGES),
        f"configs/msrc.py:20,{base},consensus=soft",
    ]
    return common.sweep(common.with_seeds(cells, chosen["seeds"]))
