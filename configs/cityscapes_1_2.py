"""Cityscapes: 1,488 labelled and 1,487 unlabelled images, crop 801.

    python main.py --config=configs/cityscapes_1_2.py:method=rcc,backbone=resnet50

mIoU, in percent:

    paper         supervised  FixMatch  UniMatch   RCC
    ResNet-50           76.6      78.2      78.6  79.8
    ResNet-101          78.0      78.4      79.5  80.9

Ours: not run. `configs/cityscapes.py` describes the data and the other arguments.
"""

from configs import cityscapes


def get_config(arguments=None):
    return cityscapes.cell(arguments, labels=1488, part="1_2")
