"""Drawn scenes of seven classes that look alike in pairs, few of them labelled; minutes on a CPU.

    python main.py --config=configs/demo.py:method=supervised --workdir=runs/labels
    python main.py --config=configs/demo.py --config.model.pretrained=runs/labels/checkpoints/300

There are no ImageNet weights for a network this small. Training on the labels replaces them:
otherwise the pseudo labels would come from random weights, and their errors would persist. So a
method that learns from unlabelled images starts from the weights that the supervised run had after
300 steps. The supervised run continues for as many steps, with twice as many labelled images
each, which is the stronger of the two usual baselines. `make demo` does both and compares them.
"""

from configs import common
from input_pipeline.sources import scenes

# Steps on the labels alone that every method starts from, and steps that follow.
START, STEPS = 300, 500


def get_config(arguments=None):
    chosen = common.parse_cell(arguments, method="rcc", steps=int, backbone="resnet18")
    labels_alone = chosen["method"] == "supervised"
    steps = STEPS + START * labels_alone if chosen["steps"] is None else chosen["steps"]
    config = common.get_config()
    common.apply_cell(config, chosen)
    config.data.name = "demo"
    config.data.partition = f"20 labels, {steps} steps"
    config.data.source = "scenes"
    config.data.labeled = "0:20"
    config.data.unlabeled = "1000:2000"
    config.data.val = "100000:100100"
    config.data.num_classes = len(scenes.CLASS_NAMES)
    config.data.class_names = scenes.CLASS_NAMES
    config.data.crop_size = 64  # Of 96: twice as many steps in the same time.
    config.data.num_threads = 2
    config.model.stem = "v1"
    config.model.width = 24
    config.model.decoder_channels = 48
    config.model.aspp_rates = (1, 2, 3)
    config.optimizer.learning_rate = 0.05
    config.optimizer.head_multiplier = 1.0
    config.train.batch_size = 8
    config.train.num_steps = steps
    config.train.log_every = 20
    config.eval.every_steps = START if labels_alone else STEPS // 2
    if labels_alone:
        # An interrupted run saves one more, which must not replace the one after START.
        config.checkpoint.keep = 1000
    config.eval.batch_size = 20
    return common.fit_short(config)
