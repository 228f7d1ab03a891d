"""PASCAL VOC 2012, classic: 92 labelled and 10,490 unlabelled images, crop 513.

    python main.py --config=configs/pascal_1_16.py:method=rcc,backbone=resnet50

mIoU, in percent:

    paper         supervised  FixMatch  UniMatch   RCC
    ResNet-50           44.0      60.1      67.4  71.8
    ResNet-101          45.1      63.9      73.5  75.3

`rcc_jax/reporting/published.py` has the numbers of UniMatch's repository at crop 321.

Ablations of the paper, ResNet-50: CC 70.2 (l2), 69.9 (ce), 70.0 (kl); RCC with top_n 3 to 6: 70.3,
71.8, 72.0, 71.9; with weight 0.1, 0.2, 0.5, 1: 70.5, 71.8, 71.5, 70.0.
Ours: not run. `configs/pascal.py` describes the data and the other arguments.
"""

from configs import pascal


def get_config(arguments=None):
    return pascal.classic(arguments, labels=92)
