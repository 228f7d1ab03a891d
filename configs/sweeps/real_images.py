"""The study on real images: labels alone, UniMatch and RCC, where labels are few.

    python main.py --mode=sweep --config=configs/sweeps/real_images.py:drives,seeds=3 \
        --list=splits/test.txt --set=data.root=DIR --set=model.pretrained=FILE
    python benchmarks/study.py --name=drives --workdir=runs/real_images-drives,seeds=3

The first argument chooses the setting:

    drives        CamVid, 12 labelled frames of one drive, unlabelled frames of others
    photos        MSRC v2, 20 labelled photographs, a ResNet-50 up to its third stage
    photos_dinov2 the same photographs with DINOv2-S, encoder and head trained, 800 steps; FixMatch
                  and CC with one seed
    photos_gpu    the same with 20, 40 and 80 labels, crop 322, 8 + 8 images and 3,000 steps

Runs are ordered by seed. The last run of a setting has the labels of all training images: its
lead over the few labels is the most that unlabelled images could gain. Without `--set`, the
weights are downloaded and the images are looked for where the setting's configuration says. On a
CPU with bfloat16 instructions, `--set=model.dtype=bfloat16` makes the runs with DINOv2 faster.
"""

from configs import common

METHODS = ("supervised", "unimatch", "rcc")
# The teacher's decay fits runs of 800 steps; UniMatch V2's own 0.996 is for some 39,000.
TRANSFORMER = "backbone=dinov2_small,ema=0.99"
OF_TRANSFORMER = ("supervised", "unimatch_v2", "unimatch_v2,consensus=rank")
LONG = "steps=3000,crop=322,batch=8"
# The cells with every seed, then those with the first seed alone.
SETTINGS = {
    "drives": (
        [f"configs/camvid_drives.py:method={method}" for method in METHODS],
        ["configs/camvid_drives.py:labels=all,method=supervised"],
    ),
    "photos": (
        [f"configs/msrc.py:20,method={method}" for method in METHODS],
        ["configs/msrc.py:all,method=supervised"],
    ),
    "photos_dinov2": (
        [f"configs/msrc.py:20,{TRANSFORMER},method={method}" for method in OF_TRANSFORMER],
        [
            f"configs/msrc.py:all,{TRANSFORMER},method=supervised",
            f"configs/msrc.py:20,{TRANSFORMER},method=fixmatch",
            f"configs/msrc.py:20,{TRANSFORMER},method=unimatch_v2,consensus=l2",
        ],
    ),
    "photos_gpu": (
        [
            f"configs/msrc.py:{labels},{TRANSFORMER},method={method},{LONG}"
            for labels in (20, 40, 80)
            for method in OF_TRANSFORMER
        ],
        [f"configs/msrc.py:all,{TRANSFORMER},method=supervised,{LONG}"],
    ),
}


def get_config(arguments=None):
    chosen = common.parse_arguments(arguments, setting="drives", seeds=3)
    cells, once = SETTINGS[common.choose(chosen["setting"], tuple(SETTINGS), "setting")]
    runs = common.with_seeds(cells, chosen["seeds"])
    return common.sweep([*runs, *common.with_seeds(once, 1)])
