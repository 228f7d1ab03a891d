"""PASCAL VOC 2012, blender: 2,646 labelled and 7,936 unlabelled images, crop 513.

    python main.py --config=configs/pascal_blender_1_4.py:method=rcc,backbone=resnet50

mIoU, in percent:

    paper         supervised  FixMatch  UniMatch   RCC
    ResNet-50           72.3      75.1      76.8  78.1
    ResNet-101          74.2      76.9      79.2  80.2

The labels are those of CPS's list; `lists=u2pl` uses U2PL's, all of high quality, which other
papers report. Ours: not run. `configs/pascal.py` describes the data and the other arguments.
"""

from configs import pascal


def get_config(arguments=None):
    return pascal.blender(arguments, labels=2646, part="1_4")
