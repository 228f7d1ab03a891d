"""A study on CamVid: five methods at three partitions, then ablations of RCC at 1/8.

    python main.py --mode=sweep --config=configs/sweeps/camvid.py:size=gpu,steps=1200,seeds=3 \
        --set=data.root=DIR --set=model.pretrained=FILE --set=model.allow_missing=layer4 \
        --list=splits/test.txt
    python benchmarks/study.py --workdir=runs/camvid-size=gpu,steps=1200,seeds=3 --name=camvid

All runs have the same number of steps and of images per step. The most informative ones come first:
the five methods of seed 0 at 1/8, then the other seeds, the partitions 1/16 and 1/4, the ablations.
`part=main`, `1_16`, `1_4` or `ablations` selects one of these groups. To run it in slices, for
example of ten minutes, use `timeout 590 python main.py ...`: it stops with everything saved (allow
it another minute), and the same command resumes.

`size=cpu` (ResNet-18 from random weights, 600 steps) needs images of half the size and no weights
file: see `configs/camvid.py`.
"""

from configs import common

METHODS = ("supervised", "fixmatch", "unimatch", "cc", "rcc")
# Runs with the defaults (l2 or rank, N = 4, lambda = 0.2, tau = 1, logits, all valid pixels, no EMA
# teacher) are in the group `main`.
ABLATIONS = (
    *(f"method=cc,kind={kind}" for kind in ("ce", "kl")),
    *(f"method=rcc,top_n={players}" for players in (3, 5, 6)),
    *(f"method=rcc,weight={weight}" for weight in (0.1, 0.5, 1.0)),
    *(f"method=rcc,tau={tau}" for tau in (0.1, 0.3, 3.0)),
    "method=rcc,input=probabilities",
    "method=rcc,pixels=confident",
    "method=rcc,ema=0.996",
)
PARTS = {
    "main": [("1_8", [f"method={method}" for method in METHODS])],
    "1_16": [("1_16", [f"method={method}" for method in METHODS])],
    "1_4": [("1_4", [f"method={method}" for method in METHODS])],
    "ablations": [("1_8", ABLATIONS)],
}


def get_config(arguments=None):
    chosen = common.parse_arguments(arguments, part="all", size="gpu", steps=0, seeds=3)
    part = common.choose(chosen["part"], ("all", *PARTS), "part")
    groups = [group for name in PARTS if part in ("all", name) for group in PARTS[name]]
    length = f",steps={chosen['steps']}" if chosen["steps"] else ""
    runs = []
    for partition, cells in groups:
        shared = f"configs/camvid.py:{partition},size={chosen['size']}{length}"
        runs += common.with_seeds([f"{shared},{cell}" for cell in cells], chosen["seeds"])
    return common.sweep(runs)
