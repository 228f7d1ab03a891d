"""Cityscapes: 372 labelled and 2,603 unlabelled images, crop 801.

    python main.py --config=configs/cityscapes_1_8.py:method=rcc,backbone=resnet50

mIoU, in percent:

    paper         supervised  FixMatch  UniMatch   RCC
    ResNet-50           70.2      75.7      76.8  77.9
    ResNet-101          72.8      76.2      77.9  78.7

Ours: not run. `configs/cityscapes.py` describes the data and the other arguments.
"""

from configs import cityscapes


def get_config(arguments=None):
    return cityscapes.cell(arguments, labels=372, part="1_8")
