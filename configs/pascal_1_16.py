"""PASCAL VOC 2012, 1/16 of the blender set: 662 labelled and 9,920 unlabelled images.

    python main.py --config=configs/pascal_1_16.py
    python main.py --config=configs/pascal_1_16.py:method=unimatch,backbone=resnet101

Expects in `data/pascal` the folders `JPEGImages` and `SegmentationClass` (10,582 training masks, as
the public semi-supervised code uses them), and the lists of UniMatch's repository in
`data/splits/pascal/1_16`. The weights are UniMatch's ImageNet ResNet with the deep stem.

The paper reports 76.9 mIoU (UniMatch 75.8) with ResNet-50, 79.1 (78.1) with ResNet-101.
We have not run it.
"""

from configs import common

CLASS_NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip


def get_config(arguments=None):
    chosen = common.parse_arguments(arguments, method="rcc", backbone="resnet50")
    config = common.get_config()
    config.data.root = "data/pascal"
    config.data.labeled = "data/splits/pascal/1_16/labeled.txt"
    config.data.unlabeled = "data/splits/pascal/1_16/unlabeled.txt"
    config.data.val = "data/splits/pascal/val.txt"
    config.data.class_names = CLASS_NAMES
    config.model.backbone = chosen["backbone"]
    config.model.pretrained = f"pretrained/{chosen['backbone']}.pth"
    config.method.name = chosen["method"]
    return config
