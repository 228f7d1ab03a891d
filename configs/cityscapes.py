"""Cityscapes, 19 classes: the settings of all its partitions.

Prepare the data with `python -m input_pipeline.prepare cityscapes` and put the lists of UniMatch's
repository into `data/splits/cityscapes`. Training starts from UniMatch's ImageNet ResNet,
`pretrained/resnet50_deep.pth`, or with `stem=v1` from torchvision's, `pretrained/resnet50_v1.pth`.
The paper's UniMatch row is that of UniMatch's public logs: see `rcc_jax/reporting/published.py`.

The evaluation is UniMatch's: windows of 801 pixels every 534 pixels, cut off at the border
(`eval.windows=cut`).

The files `cityscapes_*.py` take the arguments that docs/paper.md lists.
"""

from configs import common

CLASS_NAMES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic_light", "traffic_sign",
    "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train",
    "motorcycle", "bicycle",
)  # fmt: skip


def cell(arguments: str | None, labels: int, part: str):
    """A partition with `labels` labelled images; `part` is its name in the lists."""
    chosen = common.parse_cell(arguments, stem=str)
    config = common.get_config()
    common.apply_cell(config, chosen)
    common.use_imagenet(config, chosen["stem"])
    config.data.name, config.data.partition = "cityscapes", str(labels)
    config.data.source = "tfds"
    config.data.root = "data/cityscapes_fine"
    config.data.labeled = f"data/splits/cityscapes/{part}/labeled.txt"
    config.data.num_classes = len(CLASS_NAMES)
    config.data.class_names = CLASS_NAMES
    config.data.crop_size = 801
    common.use_recipe(config, chosen)
    config.optimizer.learning_rate = 0.005
    config.optimizer.head_multiplier = 1.0
    config.train.num_epochs = 240
    config.eval.mode = "sliding"
    # UniMatch's numbers, which the tables show, were measured this way.
    config.eval.windows = "cut"
    config.eval.batch_size = 2
    # UniMatch V2's recipe: crops and windows of 798 pixels, 180 epochs of 8 + 8 images.
    fields = {"train__batch_size": 8, "train__num_epochs": 180}
    fields |= common.labels_alone_as_v2(config, labels, batch_size=8, epochs=180)
    return common.fit_transformer(config, **fields)
