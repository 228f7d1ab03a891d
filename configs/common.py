"""Every field of a configuration, its meaning and the default.

A configuration file imports this module, changes what it needs and returns the result from
`get_config(arguments)`. On the command line any field is `--config.group.field=value`.
"""

import difflib
from collections.abc import Sequence

import ml_collections

from rcc_jax.errors import ConfigError


def _config(**fields) -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(fields)


# What a field stands for in the configuration of a run that was started before there was such a
# field: the value with which the run goes on as it began. Each new field gets one.
WHERE_ABSENT = {
    "data.cutmix_partner": "other",
    "method.consensus_input": "logits",
    "method.consensus_pixels": "valid",
    "eval.windows": "shifted",
}


def get_config() -> ml_collections.ConfigDict:
    """The defaults: the paper's setting for PASCAL VOC, without the data."""
    return _config(
        # One seed for the initial weights, every random draw of the views and every shuffle.
        seed=0,
        data=_config(
            # What tables call the data set and the partition. 'pascal...', 'cityscapes' and
            # 'camvid' are drawn in colours of their own.
            name="",
            partition="",
            # 'folder': list files or globs of images below `root`. 'tfds': a TFDS dataset in
            # ArrayRecord. 'scenes': drawn on the fly.
            source="folder",
            # Folder that the paths in the lists are relative to. 'tfds': of the dataset, with or
            # without its version.
            root="",
            # List of `image label` lines, relative to `root` or to the working directory; or a
            # folder of masks, each of the name of its image in `images` beside that folder (or in
            # the folder `train`). `val` may also be a share of the labelled images, such as 0.2.
            # `unlabeled`: a list of images, a folder or a glob, or several with commas between;
            # images of the other parts are left out of folders and globs. 'folder' without one of
            # the three: see rcc_jax/config/guess.py. 'tfds': a list whose first column is a key of
            # the dataset, or a slice such as train[:100]; without `val` the split 'validation' or
            # 'val'. 'scenes': START:STOP numbers.
            labeled="",
            unlabeled="",
            val="",
            # All training images, a list, a folder or a glob; where `unlabeled` is empty, those
            # that are neither labelled nor for validation are the unlabelled ones. 'tfds': without
            # it the split 'train'.
            train="",
            # 'tfds': names of the features that hold the image and the mask.
            image_feature="image",
            label_feature="label",
            # Number of classes K; labels are 0..K-1 and 255 (ignored). 'folder': 0 = from the
            # masks, with the tables below where they need one.
            num_classes=21,
            # Names in the order of the ids, or empty; --config.data.class_names=water,sand,coral.
            class_names=(),
            # Side of the square training crop in pixels. 'folder': 0 = from the masks.
            crop_size=513,
            # CutMix pastes a box of 'other', another unlabelled image, as the paper says; or of
            # 'same', another crop of the same image, as UniMatch's code does.
            cutmix_partner="other",
            # Changes raw ids of 'L' and palette masks: 'RAW:ID,RAW:ID,*:ID'; '*' is the rest.
            label_map="",
            # Reads RGB masks: '#rrggbb:ID,#rrggbb:ID,*:255'.
            colormap="",
            # Threads that decode and augment, and worker processes (0 = none). The batches are
            # the same for any numbers.
            num_threads=4,
            num_workers=0,
            # A training image or mask that cannot be used: 'stop' names it and ends the run;
            # 'skip' takes the next one of its list instead and writes it to bad_files.jsonl, up
            # to `max_bad` different ones. Validation images always stop, files that are missing
            # at the start too.
            on_error="stop",
            max_bad=100,
        ),
        model=_config(
            # resnet18, resnet34, resnet50 or resnet101.
            backbone="resnet50",
            # 'deep': three 3x3 convolutions (UniMatch's weights). 'v1': one 7x7 (torchvision's).
            stem="deep",
            # 16 or 8: how much smaller the last features are than the image.
            output_stride=16,
            # Channels of the first stage (64 is a standard ResNet) and of the decoder.
            width=64,
            decoder_channels=256,
            # Dilations of the three ASPP branches, in features.
            aspp_rates=(6, 12, 18),
            # Weights file (.npz, .safetensors, .pth) of the backbone or the network, or the folder
            # of a run to start from; '' = none.
            pretrained="",
            # Comma-separated parts that the file may lack and that then start random: 'layer4'.
            allow_missing="",
            # Likewise what the file may hold in excess; 'fc' is the classifier of ImageNet.
            allow_unused="fc",
            # Type of the computation: float32, bfloat16 or float64 (weights stay float32 but
            # for float64).
            dtype="float32",
            # Recompute residual blocks in the backward pass: less memory, more time.
            remat=False,
            # Use the running statistics of BatchNorm in training too.
            freeze_bn=False,
        ),
        method=_config(
            # supervised, fixmatch, unimatch, cc or rcc; 'auto' = rcc, but unimatch for two classes.
            name="rcc",
            # Consensus term added to UniMatch, '' = the method's own: 'rank' for rcc, 'l2' for
            # cc, which may also have 'ce' or 'kl'.
            consensus_kind="",
            # Number of players N, from 3 to 8 and at most K; 0 = 4, or 3 for three classes.
            top_n=4,
            # Weight lambda of the consensus term.
            consensus_weight=0.2,
            # Temperature tau of the soft ranks.
            temperature=1.0,
            # Players' values: 'logits' or softmax 'probabilities' (the paper does not say).
            consensus_input="logits",
            # Pixels that the term counts: all that are 'valid' (no padding), or only the
            # 'confident' ones, like the pseudo labels. Either way it is divided by the valid ones.
            consensus_pixels="valid",
            # Confidence gamma from which a pseudo label counts, 0 to 1.
            confidence_threshold=0.95,
            # 'ce' or 'ohem', the latter with its threshold and the least number of pixels that it
            # keeps per labelled image; 0 = it keeps all pixels, as UniMatch's code does.
            labeled_loss="ce",
            ohem_threshold=0.7,
            ohem_min_kept=100_000,
            # Decay of an averaged teacher, e.g. 0.996; 0 = teacher and student share weights.
            ema_decay=0.0,
        ),
        optimizer=_config(
            # Learning rate of the backbone, lr0 * (1 - t / T) ** power.
            learning_rate=0.001,
            # Factor on the learning rate outside the backbone.
            head_multiplier=10.0,
            momentum=0.9,
            weight_decay=1e-4,
            power=0.9,
        ),
        train=_config(
            # GLOBAL batch: so many labelled and so many unlabelled images a step, on any number
            # of devices. Supervised training takes twice as many labelled images instead.
            batch_size=8,
            # An epoch is one pass over the unlabelled images (supervised: the labelled ones).
            num_epochs=80,
            # Number of steps; if above 0 it wins over num_epochs.
            num_steps=0,
            # Parts that a batch is worked through in, where memory is short. Equal to 1 only with
            # model.freeze_bn and labeled_loss 'ce': else statistics and OHEM are those of a part.
            accumulation=1,
            # Bit-exact on GPUs too, at some cost in speed. CPU runs always are.
            deterministic=False,
            # A step whose loss or gradient is not finite: 'stop' ends the run and keeps the state
            # before it beside the checkpoints; 'skip' goes on without its update, but ends the run
            # too after `max_nonfinite` of them in a row.
            on_nonfinite="stop",
            max_nonfinite=5,
            # Steps between two lines of the log.
            log_every=50,
            # Folder of compiled programs kept between runs; 'auto' = in the user's cache folder,
            # '' = none.
            compilation_cache="auto",
        ),
        eval=_config(
            # 'whole': every image at its own size. 'sliding': windows of `window` pixels.
            mode="whole",
            # Steps between two evaluations; 0 = once an epoch. The last step always has one.
            every_steps=0,
            # Images of one size that are evaluated together, on all devices of all processes.
            batch_size=8,
            # 'whole': the network compiles for each size of an image. Validation images of more
            # sizes than this are padded to so many, with the same result up to rounding; 0 = never.
            max_shapes=8,
            # Side of a sliding window and the distance between two, in pixels.
            window=801,
            stride=534,
            # Windows at the right and lower border: 'shifted' back into the image, the better
            # estimate; or 'cut' off there, as in UniMatch's evaluation of Cityscapes.
            windows="shifted",
            # Average with the mirror image, and over these factors on the size of the image.
            flip=False,
            scales=(1.0,),
            # Validation images, and as many unlabelled ones, drawn into `pictures/` and TensorBoard
            # at each evaluation; 0 = none.
            pictures=4,
        ),
        checkpoint=_config(
            # Steps between two checkpoints; 0 = only at evaluations, which always have one.
            every_steps=0,
            # Newest checkpoints kept, besides the best.
            keep=2,
        ),
    )


def parse_arguments(text: str | None, **defaults) -> dict:
    """The part of `--config=FILE:ARGUMENTS` behind the colon.

    Args:
        text: `VALUE,key=value,...`; a value without a key belongs to the first default.
        **defaults: What is known, with the value where it is not given; a number takes a number.

    Returns:
        One value per name in `defaults`, of the type of its default.

    Raises:
        ConfigError: For an unknown key, a value of another type, or steps below 1.
    """
    found = dict(defaults)
    for position, item in enumerate(filter(None, (text or "").split(","))):
        key, separator, value = item.partition("=")
        if not separator and position == 0:
            key, value = next(iter(defaults)), item
        elif not separator or key not in defaults:
            close = difflib.get_close_matches(key, defaults, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            raise ConfigError(
                f"--config argument {item!r} is not known{hint} "
                f"Known are {', '.join(f'{name}=...' for name in defaults)}."
            )
        try:
            found[key] = type(defaults[key])(value)
        except ValueError:
            raise ConfigError(
                f"--config argument {item!r} must be a number, such as {key}={defaults[key]}."
            ) from None
        if key == "steps" and found[key] < 1:
            raise ConfigError(
                f"--config argument {item!r} must be at least 1; leave it out for the default."
            )
    return found


def parse_cell(text: str | None, **more) -> dict:
    """`parse_arguments` with what every table of the paper varies, besides `more`.

    method, backbone and seed; for ablations kind (consensus of cc: l2, ce, kl), top_n (N), weight
    (lambda), tau, input (logits, probabilities), pixels (valid, confident) and ema (decay).
    """
    defaults = get_config()
    return parse_arguments(
        text,
        **more,
        method=defaults.method.name,
        backbone=defaults.model.backbone,
        seed=defaults.seed,
        kind=defaults.method.consensus_kind,
        top_n=defaults.method.top_n,
        weight=defaults.method.consensus_weight,
        tau=defaults.method.temperature,
        input=defaults.method.consensus_input,
        pixels=defaults.method.consensus_pixels,
        ema=defaults.method.ema_decay,
    )


def apply_cell(config: ml_collections.ConfigDict, chosen: dict) -> None:
    """Sets the fields that `parse_cell` knows."""
    config.seed = chosen["seed"]
    config.model.backbone = chosen["backbone"]
    config.method.name = chosen["method"]
    config.method.consensus_kind = chosen["kind"]
    config.method.top_n = chosen["top_n"]
    config.method.consensus_weight = chosen["weight"]
    config.method.temperature = chosen["tau"]
    config.method.consensus_input = chosen["input"]
    config.method.consensus_pixels = chosen["pixels"]
    config.method.ema_decay = chosen["ema"]


def with_seeds(cells: Sequence[str], seeds: int) -> tuple[str, ...]:
    """Runs for `sweep`: every cell with the seeds 0, 1, ..., seed by seed.

    Args:
        cells: `configs/FILE.py:ARGUMENTS` without a seed.
        seeds: Number of seeds.

    Raises:
        ConfigError: For no seed.
    """
    if seeds < 1:
        raise ConfigError(f"--config argument seeds={seeds} must be at least 1.")
    # A sweep that is stopped early then has whole tables.
    return tuple(f"{cell},seed={seed}" for seed in range(seeds) for cell in cells)


def sweep(runs: Sequence[str]) -> ml_collections.ConfigDict:
    """A list of runs, `configs/FILE.py:ARGUMENTS` each, for `--mode=sweep`."""
    return ml_collections.ConfigDict({"runs": tuple(runs)})


def use_imagenet(config: ml_collections.ConfigDict, stem: str) -> None:
    """Starts from ImageNet weights of a stem: `pretrained/<backbone>_<stem>.pth`."""
    config.model.stem = choose(stem, ("deep", "v1"), "stem")
    config.model.pretrained = f"pretrained/{config.model.backbone}_{stem}.pth"


def choose(value: str, choices, name: str) -> str:
    """The value if it is one of the choices, else a ConfigError that lists them."""
    if value not in choices:
        raise ConfigError(
            f"--config argument {name}={value!r} is not known; use one of {', '.join(choices)}."
        )
    return value
