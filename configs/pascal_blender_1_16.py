"""PASCAL VOC 2012, blender: 662 labelled and 9,920 unlabelled images, crop 513.

    python main.py --config=configs/pascal_blender_1_16.py:method=rcc,backbone=resnet50

mIoU, in percent:

    paper         supervised  FixMatch  UniMatch   RCC
    ResNet-50           62.4      70.6      75.8  76.9
    ResNet-101          67.5      74.3      78.1  79.1

The labels are those of CPS's list; `lists=u2pl` uses U2PL's, all of high quality, which other
papers report. Ours: not run. `configs/pascal.py` describes the data and the other arguments.
"""

from configs import pascal


def get_config(arguments=None):
    return pascal.blender(arguments, labels=662, part="1_16")
