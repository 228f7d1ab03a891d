"""PASCAL VOC 2012, classic: 732 labelled and 9,850 unlabelled images, crop 513.

    python main.py --config=configs/pascal_1_2.py:method=rcc,backbone=resnet50

mIoU, in percent:

    paper         supervised  FixMatch  UniMatch   RCC
    ResNet-50           66.7      73.7      78.0  78.9
    ResNet-101          69.7      77.8      80.2  81.0

`rcc_jax/reporting/published.py` has the numbers of UniMatch's repository at crop 321.
Ours: not run. `configs/pascal.py` describes the data and the other arguments.
"""

from configs import pascal


def get_config(arguments=None):
    return pascal.classic(arguments, labels=732)
