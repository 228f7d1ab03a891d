"""Cityscapes: 186 labelled and 2,789 unlabelled images, crop 801.

    python main.py --config=configs/cityscapes_1_16.py:method=rcc,backbone=resnet50

mIoU, in percent:

    paper         supervised  FixMatch  UniMatch   RCC
    ResNet-50           63.3      72.6      75.0  75.7
    ResNet-101          66.3      74.2      76.6  77.3

Ours: not run. `configs/cityscapes.py` describes the data and the other arguments.
"""

from configs import cityscapes


def get_config(arguments=None):
    return cityscapes.cell(arguments, labels=186, part="1_16")
