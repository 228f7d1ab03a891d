"""Your own images: a folder, a list of `image label` lines, and any number of unlabelled images.

    python main.py --config=configs/folder.py --config.data.root=DIR \
        --config.data.labeled=labeled.txt --config.data.unlabeled='images/*.jpg' \
        --config.data.val=val.txt --config.data.num_classes=5

With `--mode=check` the same command reads all data instead, says what is wrong with them and
which settings would mend it.

Paths in the lists are relative to the root. Masks are single-channel PNG with ids from 0 to
num_classes - 1 and 255 for pixels to ignore; `data.label_map` and `data.colormap` read others.
Images named in a list of labelled or validation images do not count as unlabelled.
"""

from configs import common


def get_config(arguments=None):
    chosen = common.parse_arguments(arguments, method="rcc", backbone="resnet50")
    config = common.get_config()
    config.data.crop_size = 321
    config.model.backbone = chosen["backbone"]
    config.model.stem = "v1"
    config.method.name = chosen["method"]
    config.optimizer.learning_rate = 0.002
    config.train.num_steps = 4000
    config.eval.every_steps = 500
    return config
