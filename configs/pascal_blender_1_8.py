"""PASCAL VOC 2012, blender: 1,323 labelled and 9,259 unlabelled images, crop 513.

    python main.py --config=configs/pascal_blender_1_8.py:method=rcc,backbone=resnet50

mIoU, in percent:

    paper         supervised  FixMatch  UniMatch   RCC
    ResNet-50           68.2      73.9      76.9  78.1
    ResNet-101          71.1      76.3      78.4  79.4

The labels are those of CPS's list; `lists=u2pl` uses U2PL's, all of high quality, which other
papers report. Ours: not run. `configs/pascal.py` describes the data and the other arguments.
"""

from configs import pascal


def get_config(arguments=None):
    return pascal.blender(arguments, labels=1323, part="1_8")
