"""MSRC v2, about 320 x 213, 21 classes: photographs of objects with 20, 40 or 80 of 294 labelled.

    python main.py --config=configs/msrc.py:20,method=rcc
    python main.py --config=configs/msrc.py:all,method=supervised,seed=1
    python main.py --config=configs/msrc.py:labels=40,method=unimatch --config.data.root=DIR

The folder `data/msrc` must have the folders `images`, `labels` and `splits` (with the lists
`20/labeled.txt`, `20/unlabeled.txt`, ..., `train.txt`, `val.txt`). The numbers 20, 40 and 80 are 1,
2 and 4 photographs of each of 20 categories; `all` labels every training photograph, and no image
is unlabelled.

`steps=`, `crop=` and `batch=` set the length of the run, the crop and the images of a step (4: 4
labelled and 4 unlabelled ones). The usual network, `resnet50_c4`, is a ResNet-50 without its last
stage. It starts from ImageNet weights, which are downloaded once; `--config.model.pretrained=FILE`
names a file instead.
"""

from configs import common

PARTITIONS = ("20", "40", "80", "all")
CLASS_NAMES = (
    "building", "grass", "tree", "cow", "sheep", "sky", "aeroplane", "water", "face", "car",
    "bicycle", "flower", "sign", "bird", "book", "chair", "road", "cat", "dog", "body", "boat",
)  # fmt: skip


def get_config(arguments=None):
    chosen = common.parse_cell(
        arguments, labels="20", steps=800, backbone="resnet50_c4", crop=161, batch=4
    )
    partition = common.choose(chosen["labels"], PARTITIONS, "labels")
    config = common.get_config()
    common.apply_cell(config, chosen)
    config.data.name, config.data.partition = "msrc", partition
    config.data.root = "data/msrc"
    config.data.labeled = f"splits/{partition}/labeled.txt"
    config.data.unlabeled = f"splits/{partition}/unlabeled.txt"
    if partition == "all":
        config.data.labeled, config.data.unlabeled = "splits/train.txt", None
    config.data.val = "splits/val.txt"
    config.data.num_classes = len(CLASS_NAMES)
    config.data.class_names = CLASS_NAMES
    config.data.crop_size = chosen["crop"]
    common.use_small_images(config, chosen["steps"])
    config.train.batch_size = chosen["batch"]
    return common.fit_short(config)
