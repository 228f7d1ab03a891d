"""PASCAL VOC 2012, classic: 1,464 labelled and 9,118 unlabelled images, crop 513.

    python main.py --config=configs/pascal_full.py:method=rcc,backbone=resnet50

mIoU, in percent:

    paper         supervised  FixMatch  UniMatch   RCC
    ResNet-50           72.9      76.9      79.3  80.3
    ResNet-101          73.5      79.2      81.9  82.1

UniMatch's public logs (crop 321, best epoch): 78.7 with ResNet-50, 81.2 with ResNet-101.

Ablation of the paper, ResNet-50: CC (l2) 79.9.
Ours: not run. `configs/pascal.py` tells what to prepare and the other arguments.
"""

from configs import pascal


def get_config(arguments=None):
    return pascal.classic(arguments, labels=1464)
