"""PASCAL VOC 2012, classic: 183 labelled and 10,399 unlabelled images, crop 513.

    python main.py --config=configs/pascal_1_8.py:method=rcc,backbone=resnet50

mIoU, in percent:

    paper         supervised  FixMatch  UniMatch   RCC
    ResNet-50           52.3      67.3      71.9  74.7
    ResNet-101          55.3      73.0      75.4  77.9

`rcc_jax/reporting/published.py` has the numbers of UniMatch's repository at crop 321.
Ours: not run. `configs/pascal.py` describes the data and the other arguments.
"""

from configs import pascal


def get_config(arguments=None):
    return pascal.classic(arguments, labels=183)
