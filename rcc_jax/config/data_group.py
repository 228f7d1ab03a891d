"""The fields of the group `data` of a configuration; no JAX."""

import dataclasses

from rcc_jax.options import option

# Sources that are not drawn.
_FILES = ("source", "folder", "tfds")


@dataclasses.dataclass(frozen=True)
class Data:
    """The images, the masks and how they are read."""

    name: str = option(
        "",
        "Name of the data set in tables. 'pascal...', 'cityscapes' and 'camvid' are drawn in their "
        "usual colours.",
    )
    partition: str = option("", "Name of the partition in tables.")
    source: str = option(
        "folder",
        "'folder': list files, folders or globs below `root`. 'tfds': a TFDS dataset in "
        "ArrayRecord format. 'scenes': scenes drawn on the fly.",
        choices=("folder", "tfds", "scenes"),
    )
    root: str = option(
        "",
        "Folder that the paths in the lists are relative to. 'tfds': folder of the dataset, with "
        "or without its version.",
        only_with=_FILES,
        may_change=True,
        per_process=True,
    )
    labeled: str = option(
        "",
        "Labelled images: a list of `image label` lines, relative to `root` or to the working "
        "directory; or a folder of masks, each named like its image in `images` beside that "
        "folder (or in the folder `train`). 'tfds': a list whose first column is a key of the "
        "dataset, or a slice such as train[:100]. 'scenes': START:STOP numbers. Empty with "
        "'folder': rcc_jax/config/guess.py looks for it.",
    )
    unlabeled: str = option(
        "",
        "Unlabelled images: comma-separated lists, folders or globs; images of the other parts are "
        "left out of folders and globs.",
    )
    val: str = option(
        "",
        "Validation images, as `labeled`; or a share of the labelled images, such as 0.2. 'tfds': "
        "empty means the split 'validation' or 'val'.",
    )
    train: str = option(
        "",
        "All training images: a list, a folder or a glob. If `unlabeled` is empty, the unlabelled "
        "images are those of them that are neither labelled nor for validation. 'tfds': empty "
        "means the split 'train'.",
        only_with=_FILES,
    )
    pseudo: str = option(
        "",
        "Folder of pseudo masks of the unlabelled images, as --mode=label makes it; only for "
        "methods that train in stages, whose list for --mode=sweep sets it.",
        may_change=True,
        per_process=True,
        before="",
    )
    image_feature: str = option(
        "image", "Name of the feature that holds the image.", only_with=("source", "tfds")
    )
    label_feature: str = option(
        "label", "Name of the feature that holds the mask.", only_with=("source", "tfds")
    )
    num_classes: int = option(
        21,
        "Number of classes K; labels are 0..K-1 and 255 (ignored). 'folder': 0 = guessed from the "
        "masks, with `label_map` or `colormap` if they need one.",
        at_least=2,
        at_most=255,
    )
    class_names: tuple = option(
        (), "Names in the order of the ids, or empty: --config.data.class_names=water,sand,coral."
    )
    crop_size: int = option(
        513,
        "Side of the square training crop in pixels. 'folder': 0 = guessed from the mask sizes.",
        at_least=1,
        at_most=10_000,
    )
    cutmix_partner: str = option(
        "other",
        "Where CutMix takes its box from: 'other', another unlabelled image, as in the paper; or "
        "'same', another crop of the same image, as in UniMatch's code.",
        choices=("other", "same"),
        before="other",
    )
    label_map: str = option(
        "",
        "Maps raw ids of 'L' and palette masks: 'RAW:ID,RAW:ID,*:ID'; '*' is every other id.",
        only_with=_FILES,
    )
    colormap: str = option(
        "",
        "Maps the colours of RGB masks: '#rrggbb:ID,#rrggbb:ID,*:255'.",
        only_with=_FILES,
    )
    num_threads: int = option(
        4,
        "Threads that decode and augment. Their number does not change the batches.",
        at_least=1,
        may_change=True,
        per_process=True,
    )
    num_workers: int = option(
        0,
        "Worker processes for the same; 0 = none. Their number does not change the batches.",
        at_least=0,
        may_change=True,
        per_process=True,
    )
    on_error: str = option(
        "stop",
        "What happens if a training image or mask cannot be used: 'stop' names it and ends the "
        "run; 'skip' uses the next one in the list and records the file in bad_files.jsonl. A bad "
        "validation image, or a file that is missing at the start, always ends the run.",
        choices=("stop", "skip"),
        may_change=True,
    )
    max_bad: int = option(
        100,
        "Largest number of files that 'skip' may leave out.",
        at_least=0,
        may_change=True,
        only_with=("on_error", "skip"),
    )
