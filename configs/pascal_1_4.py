"""PASCAL VOC 2012, classic: 366 labelled and 10,216 unlabelled images, crop 513.

    python main.py --config=configs/pascal_1_4.py:method=rcc,backbone=resnet50

mIoU, in percent:

    paper         supervised  FixMatch  UniMatch   RCC
    ResNet-50           61.7      71.4      75.3  76.9
    ResNet-101          64.8      75.5      78.7  79.8

`rcc_jax/reporting/published.py` has the numbers of UniMatch's repository at crop 321.
Ours: not run. `configs/pascal.py` describes the data and the other arguments.
"""

from configs import pascal


def get_config(arguments=None):
    return pascal.classic(arguments, labels=366)
