"""Names of ResNet-DeepLabv3+ in PyTorch's files: torchvision's, timm's and UniMatch's."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from flax import nnx

from rcc_jax.models.deeplabv3plus import DeepLabV3Plus
from rcc_jax.models.resnet import ARCHITECTURES, STEMS, Bottleneck
from rcc_jax.models.torch_names import ENCODER, torch_shape

# Our module -> PyTorch's, where they differ. PyTorch numbers the parts of a Sequential of
# convolution, norm and ReLU, including those without weights.
_STEM = {
    "v1": {"stem.0.conv": "conv1", "stem.0.bn": "bn1"},
    "deep": {
        "stem.0.conv": "conv1.0",
        "stem.0.bn": "conv1.1",
        "stem.1.conv": "conv1.3",
        "stem.1.bn": "conv1.4",
        "stem.2.conv": "conv1.6",
        "stem.2.bn": "bn1",
    },
}
_DECODER = {
    "head.b4.conv": "head.b4.gap.1",
    "head.b4.bn": "head.b4.gap.2",
    "fuse.0.conv": "fuse.0",
    "fuse.0.bn": "fuse.1",
    "fuse.1.conv": "fuse.3",
    "fuse.1.bn": "fuse.4",
}
_SEQUENTIAL = {"conv": "0", "bn": "1"}
_LEAF = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
COUNTER = "num_batches_tracked"
_NETWORK = (ENCODER, "head.", "reduce.", "fuse.", "classifier.")


def named_variables(model: DeepLabV3Plus) -> dict[str, nnx.Variable]:
    """All parameters and statistics of a model by UniMatch's names, backbone first.

    Args:
        model: The network; an abstract one (`nnx.eval_shape`) suffices.

    Returns:
        The model's variables by PyTorch's names; assigning to one changes the model.
    """
    special = {ENCODER + k: ENCODER + v for k, v in _STEM[model.backbone.stem_name].items()}
    special |= _DECODER
    named = {}
    for path, variable in nnx.iter_graph(model):
        if not isinstance(variable, nnx.Variable):
            continue
        *module, leaf = map(str, path)
        name = ".".join(module)
        if name in special:
            name = special[name]
        elif module[-1] in _SEQUENTIAL:
            name = ".".join([*module[:-1], _SEQUENTIAL[module[-1]]])
        named[f"{name}.{_LEAF[leaf]}"] = variable
    return dict(sorted(named.items(), key=lambda item: not item[0].startswith(ENCODER)))


def recognises(names: Iterable[str]) -> bool:
    """Whether the names of a file are of this family."""
    return any(name.removeprefix(ENCODER).startswith(("conv1.", "layer1.")) for name in names)


def standard(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state dict without BatchNorm's counters; torchvision, timm and UniMatch agree."""
    return {name: value for name, value in state.items() if not name.endswith(COUNTER)}


def extras(model: DeepLabV3Plus) -> dict[str, np.ndarray]:
    """BatchNorm's counters, which PyTorch wants and does not use."""
    return {
        name.replace("running_var", COUNTER): np.zeros((), np.int64)
        for name in named_variables(model)
        if name.endswith(".running_var")
    }


def is_network(names: Iterable[str]) -> bool:
    """Whether names belong to a whole network rather than a bare backbone."""
    return any(name.startswith(_NETWORK) for name in names)


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a state dict seems to hold; None where this is unknown.

    Attributes:
        backbone: A name such as 'resnet50', or a description of unknown blocks.
        stem: 'v1', 'deep', or a description of other first convolutions.
        width: Base width of the ResNet, 64 in the standard one.
        stages: Those of 'layer1' to 'layer4' that are present.
        decoder_channels: Width of the decoder; None in a bare backbone.
        num_classes: Number of classes of the classifier; None in a bare backbone.
    """

    backbone: str | None
    stem: str | None
    width: int | None
    stages: tuple[str, ...]
    decoder_channels: int | None
    num_classes: int | None

    @property
    def kind(self) -> str:
        """The encoder in a few words."""
        return f"{self.backbone or 'an unknown backbone'}, stem {self.stem or 'missing'}"

    def __str__(self) -> str:
        if not self.stages and self.stem is None:
            return "no ResNet"
        parts = [self.kind]
        if self.width not in (None, 64):
            parts.append(f"width {self.width}")
        parts.append(" ".join(self.stages) or "no stages")
        classes = self.num_classes
        parts.append("no decoder" if classes is None else f"decoder with {classes} classes")
        return ", ".join(parts)


def describe(shapes: Mapping[str, tuple[int, ...]]) -> Contents:
    """Infers from PyTorch's names and shapes which network a state dict belongs to."""
    shapes = {name.removeprefix(ENCODER): tuple(shape) for name, shape in shapes.items()}
    blocks: dict[str, set[str]] = {}
    for name in shapes:
        stage, *rest = name.split(".")
        if stage in ("layer1", "layer2", "layer3", "layer4") and rest and rest[0].isdigit():
            blocks.setdefault(stage, set()).add(rest[0])
    counts = {stage: len(indices) for stage, indices in sorted(blocks.items())}
    inner = shapes.get("layer1.0.conv1.weight", (None,))[0]
    return Contents(
        backbone=_backbone(counts, shapes),
        stem=_stem(shapes, inner),
        width=inner,
        stages=tuple(counts),
        decoder_channels=shapes.get("head.project.0.weight", (None,))[0],
        num_classes=shapes.get("classifier.weight", (None,))[0],
    )


def describe_model(model: DeepLabV3Plus) -> Contents:
    """`describe` for the state dict that `save_torch` would write for a network."""
    return describe({name: torch_shape(value) for name, value in named_variables(model).items()})


def _backbone(counts: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    if not counts:
        return None
    bottleneck = any(name.endswith(".0.conv3.weight") for name in shapes)
    if any(name.endswith(".downsample.2.weight") for name in shapes):
        return "ResNet-D with average-pooled shortcuts"
    fits = [
        name
        for name, (block, _) in ARCHITECTURES.items()
        if (block is Bottleneck) == bottleneck and counts.items() <= _stages(name).items()
    ]
    if fits:
        # Preferably a network whose stages are all there.
        return next((name for name in fits if len(_stages(name)) == len(counts)), fits[0])
    kind = "bottleneck" if bottleneck else "basic"
    return f"a ResNet of {'-'.join(map(str, counts.values()))} {kind} blocks"


def _stages(backbone: str) -> dict[str, int]:
    """The number of blocks of each stage, from 'layer1' on."""
    return {f"layer{i}": count for i, count in enumerate(ARCHITECTURES[backbone][1], 1) if count}


def _stem(shapes: Mapping[str, tuple[int, ...]], width: int | None) -> str | None:
    if "conv1.weight" in shapes:
        size = shapes["conv1.weight"][2:]
        return "v1" if size == (7, 7) else f"of one {'x'.join(map(str, size))} convolution"
    deep = [shapes[k][0] for k in (f"conv1.{i}.weight" for i in (0, 3, 6)) if k in shapes]
    if not deep:
        return None
    if width is not None and deep == [width, width, 2 * width]:
        return "deep"
    return "deep, but " + "-".join(map(str, deep))


def _uneven_stages(backbone: str, stages: Iterable[str]) -> dict[str, str]:
    """The fields for a network that has other stages than a file; none if they are the same."""
    ours, theirs = list(_stages(backbone)), list(stages)
    fields = {
        "allow_missing": [stage for stage in ours if stage not in theirs],
        "allow_unused": [stage for stage in theirs if stage not in ours],
    }
    if fields["allow_unused"]:
        fields["allow_unused"].insert(0, "fc")
    return {name: ",".join(parts) for name, parts in fields.items() if parts}


def way_out(model: Contents, file: Contents) -> str | None:
    """What to do if a file does not fit a network, from `describe` of both."""
    if file.stem in STEMS and file.stem != model.stem:
        return f"use the stem {file.stem!r}, or weights for the stem {model.stem!r}"
    if file.backbone in ARCHITECTURES and file.backbone != model.backbone:
        assert model.backbone is not None
        other = f"weights for {model.backbone!r}"
        theirs, ours = _stages(file.backbone).items(), _stages(model.backbone).items()
        if theirs < ours or ours < theirs:
            flags = _uneven_stages(model.backbone, file.stages).items()
            other = " ".join(f"--config.model.{name}={value}" for name, value in flags)
        return f"use the backbone {file.backbone!r}, or {other}"
    sizes = {
        name: getattr(file, name)
        for name in ("width", "decoder_channels")
        if getattr(file, name) not in (None, getattr(model, name))
    }
    if sizes:
        fields = " ".join(f"--config.model.{name}={value}" for name, value in sizes.items())
        return f"use {fields}, which fits the file, or other weights"
    if file.num_classes not in (None, model.num_classes):
        return (
            f"the file has {file.num_classes} classes, the model {model.num_classes}: name "
            "'classifier' in both allow_missing and allow_unused to start the classifier at random"
        )
    return None


def fitting(contents: Contents, backbone: str | None) -> tuple[DeepLabV3Plus, dict[str, Any], str]:
    """The network that fits a file.

    Args:
        contents: `describe` of the file.
        backbone: The expected backbone; None for that of the file.

    Returns:
        The network, abstract; the fields of `config.model` that make it, 'allow_missing' and
        'allow_unused' among them where either lacks stages of the other; a remark, or ''.

    Raises:
        ValueError: If none fits.
    """
    backbone = backbone or contents.backbone
    if backbone not in ARCHITECTURES or contents.stem not in STEMS:
        raise ValueError(
            f"seems to be {contents}; use weights of {', '.join(ARCHITECTURES)} with a stem"
            " v1 (one 7x7) or deep (3x3, 64-64-128)"
        )
    stem = contents.stem
    sizes: dict[str, Any] = {
        "width": contents.width or 64,
        "decoder_channels": contents.decoder_channels or 256,
    }
    model = nnx.eval_shape(
        lambda: DeepLabV3Plus(contents.num_classes or 1, backbone, stem, **sizes, rngs=nnx.Rngs(0))
    )
    fields: dict[str, Any] = {"backbone": backbone, "stem": stem}
    fields |= {
        name: sizes[name]
        for name, usual in (("width", 64), ("decoder_channels", 256))
        if sizes[name] != usual
    }
    fields |= _uneven_stages(backbone, contents.stages)
    remark = ""
    if contents.num_classes is not None:
        remark = (
            f"the classifier has config.data.num_classes = {contents.num_classes}; for "
            "another number add classifier to allow_missing and allow_unused. Weights do not tell "
            "config.model.aspp_rates and output_stride: use those of their training"
        )
    return model, fields, remark
