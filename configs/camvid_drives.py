"""CamVid, 240 x 180: 12 labelled frames of one drive, unlabelled frames of two others.

    python main.py --config=configs/camvid_drives.py:method=rcc
    python main.py --config=configs/camvid_drives.py:labels=all,method=supervised
    python main.py --config=configs/camvid_drives.py:groups=11,method=unimatch,seed=1

The unlabelled images show streets that the labelled ones do not. `groups=7` merges the 11 classes
into 7 that 12 frames contain often enough. From the folder `data/camvid` of `configs/camvid.py`:

    python -m input_pipeline.prepare split --data=data/camvid/splits/train.txt --count=12 \
      --from='*0006R0*' --every=8 --start=4 --rest=others --output=data/camvid/splits/drives
    python -m input_pipeline.prepare shrink --source=data/camvid --output=data/camvid_half

The confidence threshold is 0.7; `gamma=` sets another. The network, `resnet50_c4`, starts from
ImageNet weights, which are downloaded once; `--config.model.pretrained=FILE` names a file instead.
"""

from configs import camvid, common

GROUPS = {
    "7": (
        "0:0,1:1,7:1,3:2,4:3,5:4,8:5,9:6,10:6,*:255",
        ("sky", "building", "road", "pavement", "tree", "car", "person"),
    ),
    "11": ("", camvid.CLASS_NAMES),
}


def get_config(arguments=None):
    chosen = common.parse_cell(
        arguments, groups="7", labels="12", steps=400, backbone="resnet50_c4"
    )
    groups = common.choose(chosen["groups"], tuple(GROUPS), "groups")
    config = common.get_config()
    common.apply_cell(config, chosen)
    config.data.name = "camvid_drives"
    config.data.partition = common.choose(chosen["labels"], ("12", "all"), "labels")
    config.data.root = "data/camvid_half"
    config.data.labeled = "splits/drives/labeled.txt"
    config.data.unlabeled = "splits/drives/unlabeled.txt"
    if chosen["labels"] == "all":
        config.data.labeled, config.data.unlabeled = "splits/train.txt", None
    config.data.val = "splits/val.txt"
    config.data.label_map, config.data.class_names = GROUPS[groups]
    config.data.num_classes = len(config.data.class_names)
    config.data.crop_size = 129
    common.use_recipe(config, chosen)
    common.use_small_images(config, chosen["steps"])
    return common.fit_short(config)
