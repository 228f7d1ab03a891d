"""Your own images: a folder, masks of some of them, and nothing else that has to be set.

    python main.py --config=configs/folder.py --config.data.root=DIR

DIR has `images` and `masks` (the mask of an image has its name, the suffix may differ), or
`labeled.txt` with an `image mask` pair a line; more unlabelled images lie in `unlabeled`. What is
left unset is guessed from these data at the first start, printed, and recorded in the run's
config.json; rcc_jax/config/guess.py says how. docs/own_data.md is a walk through it.

With `--mode=check` the same command reads all data instead, says what is wrong with them and
which settings would mend it.
"""

from configs import common


def get_config(arguments=None):
    chosen = common.parse_arguments(arguments, method="auto", backbone="resnet50")
    config = common.get_config()
    config.data.num_classes = 0
    config.data.crop_size = 0
    config.model.backbone = chosen["backbone"]
    config.model.stem = "v1"
    config.method.name = chosen["method"]
    config.method.top_n = 0
    config.optimizer.learning_rate = 0.002
    config.train.num_steps = 4000
    config.eval.every_steps = 500
    return config
