"""CamVid, 480 x 360, 11 classes: street scenes with 23, 46, 92 or 184 of 367 frames labelled.

    python main.py --config=configs/camvid.py:1_8,method=rcc
    python main.py --config=configs/camvid.py:1_4,method=cc,kind=kl,seed=1
    python main.py --config=configs/camvid.py:1_8,method=rcc,size=cpu --config.data.root=DIR

The folder `data/camvid` must have the folders `images`, `labels` and `splits` (with the lists
`1_8/labeled.txt`, `1_8/unlabeled.txt`, ..., `val.txt`). Training starts from random weights unless
`--config.model.pretrained` names a ResNet-50 with the 7x7 stem. If that file lacks the last stage,
add `--config.model.allow_missing=layer4`.

`size=cpu` is for one CPU core: a narrow ResNet-18 from random weights, and images of 240 x 180,
which `python -m input_pipeline.prepare shrink --source=data/camvid --output=DIR` makes. `steps=` is
the number of training steps, 2400 or with `size=cpu` 600 (a step of RCC takes one to two seconds).
The confidence threshold is PASCAL's, 0.95; `gamma=` sets another.
"""

from configs import common

PARTITIONS = ("1_16", "1_8", "1_4", "1_2")
CLASS_NAMES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign_symbol", "fence", "car",
    "pedestrian", "bicyclist",
)  # fmt: skip


def get_config(arguments=None):
    chosen = common.parse_cell(arguments, partition="1_8", size="gpu", steps=0)
    partition = common.choose(chosen["partition"], PARTITIONS, "partition")
    config = common.get_config()
    common.apply_cell(config, chosen)
    config.data.name, config.data.partition = "camvid", partition
    config.data.root = "data/camvid"
    config.data.labeled = f"splits/{partition}/labeled.txt"
    config.data.unlabeled = f"splits/{partition}/unlabeled.txt"
    config.data.val = "splits/val.txt"
    config.data.num_classes = len(CLASS_NAMES)
    config.data.class_names = CLASS_NAMES
    config.data.crop_size = 321
    config.model.stem = "v1"
    config.optimizer.learning_rate = 0.002
    config.train.num_steps = chosen["steps"] or 2400
    config.train.log_every = 20
    config.eval.every_steps = 200
    if common.choose(chosen["size"], ("gpu", "cpu"), "size") == "cpu":
        # The default of `steps` is for size=gpu.
        common.choose(chosen["backbone"], ("resnet50", "resnet18", "dinov2_small"), "backbone")
        _shrink(config)
        config.train.num_steps = chosen["steps"] or 600
    return common.fit_short(config)


def _shrink(config):
    """A training of ten to twenty minutes on one CPU core."""
    config.data.crop_size = 129
    if config.model.backbone == "resnet50":
        config.model.backbone = "resnet18"
    config.model.width = 32
    config.model.decoder_channels = 64
    config.model.aspp_rates = (1, 2, 3)
    # All layers start from random weights.
    config.optimizer.learning_rate = 0.05
    config.optimizer.head_multiplier = 1.0
    config.train.batch_size = 4
    config.eval.every_steps = 150
