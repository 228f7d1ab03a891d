"""PASCAL VOC 2012: the settings of all its partitions.

Classic partitions choose labels from VOC's own 1,464 fine masks, blender ones from all 10,582
masks, of which 9,118 are SBD's coarse ones. Prepare the data with `python -m input_pipeline.prepare
pascal` and put the lists of UniMatch's repository into `data/splits/pascal`. Training starts from
UniMatch's ImageNet ResNet, `pretrained/resnet50_deep.pth`, or with `stem=v1` from torchvision's,
`pretrained/resnet50_v1.pth`.

The files `pascal_*.py` take the arguments that docs/paper.md lists.
"""

from configs import common

CLASS_NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip
# Prefixes of the blender lists: CPS's, or U2PL's "priority" lists of better masks.
FAMILIES = {"cps": "", "u2pl": "u2pl_"}


def classic(arguments: str | None, labels: int):
    """A partition with `labels` of VOC's own 1,464 masks."""
    chosen = common.parse_cell(arguments, stem=str)
    return _cell(chosen, "pascal_classic", str(labels), folder=str(labels))


def blender(arguments: str | None, labels: int, part: str):
    """A partition with `labels` of all 10,582 masks; `part` is its name in the lists."""
    chosen = common.parse_cell(arguments, stem=str, lists="cps")
    lists = common.choose(chosen["lists"], tuple(FAMILIES), "lists")
    return _cell(chosen, "pascal_blender", str(labels), folder=FAMILIES[lists] + part)


def _cell(chosen: dict, name: str, partition: str, *, folder: str):
    config = common.get_config()
    common.apply_cell(config, chosen)
    common.use_imagenet(config, chosen["stem"])
    config.data.name, config.data.partition = name, partition
    config.data.source = "tfds"
    config.data.root = "data/pascal"
    config.data.labeled = f"data/splits/pascal/{folder}/labeled.txt"
    config.data.class_names = CLASS_NAMES
    common.use_recipe(config, chosen)
    # UniMatch V2's recipe: crops of 518 pixels, 60 epochs of 16 + 16 images.
    fields = {"train__batch_size": 16, "train__num_epochs": 60}
    fields |= common.labels_alone_as_v2(config, int(partition), batch_size=16, epochs=60)
    return common.fit_transformer(config, **fields)
