"""PASCAL VOC 2012, classic: 1,464 labelled and 9,118 unlabelled images, crop 513.

    python main.py --config=configs/pascal_full.py:method=rcc,backbone=resnet50

mIoU, in percent:

    paper         supervised  FixMatch  UniMatch   RCC
    ResNet-50           72.9      76.9      79.3  80.3
    ResNet-101          73.5      79.2      81.9  82.1

`rcc_jax/reporting/published.py` has the numbers of UniMatch's repository at crop 321.

Ablation of the paper, ResNet-50: CC (l2) 79.9.
Ours: not run. `configs/pascal.py` describes the data and the other arguments.
"""

from configs import pascal


def get_config(arguments=None):
    return pascal.classic(arguments, labels=1464)
