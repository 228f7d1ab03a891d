"""Drawn scenes of seven classes that look alike in pairs, few of them labelled; minutes on a CPU.

    python main.py --config=configs/demo.py:method=supervised,steps=200 --workdir=runs/labels
    python main.py --config=configs/demo.py:method=rcc --config.model.pretrained=runs/labels

There are no ImageNet weights for a network this small. A first run on the labels replaces them:
otherwise the pseudo labels would come from random weights, and their errors would persist.
`make demo` does this first run, starts a supervised and an RCC run from its weights, and compares
them. The supervised run takes the same number of steps with twice as many labelled images each,
which is the stronger of the two usual baselines.
"""

from configs import common
from input_pipeline.sources import scenes


def get_config(arguments=None):
    chosen = common.parse_cell(arguments, method="rcc", steps=240, backbone="resnet18")
    config = common.get_config()
    common.apply_cell(config, chosen)
    config.data.name = "demo"
    config.data.partition = f"20 labels, {chosen['steps']} steps"
    config.data.source = "scenes"
    config.data.labeled = "0:20"
    config.data.unlabeled = "1000:1400"
    config.data.val = "100000:100100"
    config.data.num_classes = len(scenes.CLASS_NAMES)
    config.data.class_names = scenes.CLASS_NAMES
    config.data.crop_size = 96
    config.data.num_threads = 2
    config.model.stem = "v1"
    config.model.width = 24
    config.model.decoder_channels = 48
    config.model.aspp_rates = (1, 2, 3)
    config.optimizer.learning_rate = 0.05
    config.optimizer.head_multiplier = 1.0
    config.train.batch_size = 8
    config.train.num_steps = chosen["steps"]
    config.train.log_every = 20
    config.eval.every_steps = 120
    config.eval.batch_size = 20
    return common.fit_short(config)
