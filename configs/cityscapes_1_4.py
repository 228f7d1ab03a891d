"""Cityscapes: 744 labelled and 2,231 unlabelled images, crop 801.

    python main.py --config=configs/cityscapes_1_4.py:method=rcc,backbone=resnet50

mIoU, in percent:

    paper         supervised  FixMatch  UniMatch   RCC
    ResNet-50           73.1      76.8      77.5  79.3
    ResNet-101          75.0      77.2      79.2  80.3

Ours: not run. `configs/cityscapes.py` describes the data and the other arguments.
"""

from configs import cityscapes


def get_config(arguments=None):
    return cityscapes.cell(arguments, labels=744, part="1_4")
