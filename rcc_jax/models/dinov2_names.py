"""Names of DINOv2 and its DPT head in PyTorch's files: official, timm's, transformers', UniMatch's.

The standard names are those of the official files and of UniMatch V2, which agree.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from flax import nnx

from rcc_jax.models.dinov2 import PATCH, SIZES
from rcc_jax.models.dinov2_dpt import DinoV2DPT
from rcc_jax.models.torch_names import ENCODER, torch_shape

# Patterns of our names -> UniMatch V2's, where they differ by more than the last part.
_OURS = (
    (r"^backbone\.patch_embed\.", "backbone.patch_embed.proj."),
    (r"\.(ls[12])$", r".\1.gamma"),
    (r"^head\.enlarge\.", "head.resize_layers."),
    (r"^head\.shrink\.", "head.resize_layers.3."),
    (r"^head\.conv\.", "head.scratch.output_conv.0."),
    (r"^head\.classifier\.", "head.scratch.output_conv.2."),
    (r"\.unit([12])\.", r".resConfUnit\1."),
    (r"\.(?:kernel|scale)$", ".weight"),
)
# They count the levels of the head from 1.
_COUNTED = (
    (r"^head\.reduce\.(\d)\.", "head.scratch.layer{}_rn."),
    (r"^head\.fusions\.(\d)\.", "head.scratch.refinenet{}."),
)
# Patterns of transformers' names -> the official ones.
_TRANSFORMERS = (
    (r"^(?:dinov2\.)?(?=embeddings\.|encoder\.layer\.|layernorm\.)", ""),
    (r"^embeddings\.(cls_token|mask_token)$", r"\1"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.", "blocks."),
    (r"^layernorm\.", "norm."),
    (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.attention\.(?:attention\.)?(query|key|value|[qkv]_proj)\.", r".attn.\1."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
)
_PART = re.compile(r"^(.*\.attn)\.(q|k|v)(?:uery|ey|alue|_proj)\.(weight|bias)$")
# In the files, and never used by the networks.
_UNUSED = re.compile(r"^(?:backbone\.)?mask_token$|^head\.scratch\.refinenet4\.resConfUnit1\.")
_CLASSIFIER = "head.scratch.output_conv.2"


def recognises(names: Iterable[str]) -> bool:
    """Whether the names of a file are of this family."""
    return any("patch_embed.proj" in name or "patch_embeddings.proj" in name for name in names)


def standard(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A state dict of any of the libraries under the standard names, without unused tensors."""
    found: dict[str, np.ndarray] = {}
    parts: dict[str, dict[str, np.ndarray]] = {}
    for name, value in state.items():
        for pattern, replacement in _TRANSFORMERS:
            name = re.sub(pattern, replacement, name)
        if (part := _PART.match(name)) is not None:
            parts.setdefault(f"{part[1]}.qkv.{part[3]}", {})[part[2]] = value
        elif not _UNUSED.match(name):
            found[name] = value
    for name, own in parts.items():
        if own.keys() == {"q", "k", "v"}:
            found[name] = np.concatenate([own[part] for part in "qkv"])
        else:  # The rest is missing, which an error will say.
            found |= {name.replace("qkv", part): value for part, value in own.items()}
    return found


def extras(model: DinoV2DPT) -> dict[str, np.ndarray]:
    """The tensors that PyTorch's network has and never uses, as zeros."""
    size = model.backbone.size
    features = size.head_features
    unit = "head.scratch.refinenet4.resConfUnit1"
    shapes: dict[str, tuple[int, ...]] = {f"{ENCODER}mask_token": (1, size.features)}
    for number in (1, 2):
        shapes[f"{unit}.conv{number}.weight"] = (features, features, 3, 3)
        shapes[f"{unit}.conv{number}.bias"] = (features,)
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}


def is_network(names: Iterable[str]) -> bool:
    """Whether names belong to a whole network rather than a bare encoder."""
    return any(name.startswith((ENCODER, "head.")) for name in names)


def named_variables(model: DinoV2DPT) -> dict[str, nnx.Variable]:
    """All parameters of a network by UniMatch V2's names, the encoder's first.

    Args:
        model: The network; an abstract one (`nnx.eval_shape`) suffices.

    Returns:
        The network's variables by PyTorch's names; assigning to one changes the network.
    """
    named = {}
    for path, variable in nnx.iter_graph(model):
        if isinstance(variable, nnx.Variable):
            name = ".".join(map(str, path))
            for pattern, counted in _COUNTED:
                name = re.sub(pattern, lambda m, c=counted: c.format(int(m[1]) + 1), name)  # type: ignore[misc]
            for pattern, replacement in _OURS:
                name = re.sub(pattern, replacement, name)
            named[name] = variable
    return dict(sorted(named.items(), key=lambda item: not item[0].startswith(ENCODER)))


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a state dict seems to hold; None where this is unknown.

    Attributes:
        features: Channels of the tokens.
        depth: Number of blocks.
        patch: Side of a patch in pixels.
        side: Rows and columns of the position embeddings.
        num_classes: Number of classes; None in a bare encoder.
    """

    features: int | None
    depth: int
    patch: int | None
    side: int | None
    num_classes: int | None

    @property
    def backbone(self) -> str | None:
        """The backbone of this size; None if there is none."""
        sizes = {(size.features, size.depth): name for name, size in SIZES.items()}
        return sizes.get((self.features, self.depth)) if self.patch == PATCH else None  # type: ignore[arg-type]

    @property
    def kind(self) -> str:
        """The encoder in a few words."""
        if self.features is None:
            return "no vision transformer"
        return self.backbone or (
            f"a vision transformer of {self.depth} blocks of {self.features} channels with patches "
            f"of {self.patch} pixels"
        )

    def __str__(self) -> str:
        classes = self.num_classes
        head = "no head" if classes is None else f"head with {classes} classes"
        return f"{self.kind}, {head}"


def describe(shapes: Mapping[str, tuple[int, ...]]) -> Contents:
    """Infers from standard names and shapes which network a state dict belongs to."""
    bare = {name.removeprefix(ENCODER): tuple(shape) for name, shape in shapes.items()}
    blocks = {name.split(".")[1] for name in bare if re.match(r"blocks\.\d+\.", name)}
    kernel = bare.get("patch_embed.proj.weight", (None, None, None))
    positions = bare.get("pos_embed")
    return Contents(
        features=kernel[0],
        depth=len(blocks),
        patch=kernel[2],
        side=None if positions is None else round(max(positions[1] - 1, 0) ** 0.5),
        num_classes=bare.get(f"{_CLASSIFIER}.weight", (None,))[0],
    )


def describe_model(model: DinoV2DPT) -> Contents:
    """`describe` for the state dict that `save_torch` would write for a network."""
    return describe({name: torch_shape(value) for name, value in named_variables(model).items()})


def way_out(model: Contents, file: Contents) -> str | None:
    """What to do if a file does not fit a network, from `describe` of both."""
    if file.patch not in (None, model.patch):
        return f"use weights for patches of {model.patch} pixels; the file has {file.patch}"
    if file.backbone in SIZES and file.backbone != model.backbone:
        return f"use the backbone {file.backbone!r}, or weights for {model.backbone!r}"
    if file.side not in (None, model.side):
        return (
            f"use weights with position embeddings of {model.side} x {model.side} patches; the "
            f"file has {file.side} x {file.side}"
        )
    if file.num_classes not in (None, model.num_classes):
        return (
            f"the file has {file.num_classes} classes, the model {model.num_classes}: name "
            f"{_CLASSIFIER!r} in both allow_missing and allow_unused to start it at random"
        )
    return None


def fitting(contents: Contents, backbone: str | None) -> tuple[DinoV2DPT, dict[str, Any], str]:
    """The network that fits a file.

    Args:
        contents: `describe` of the file.
        backbone: The expected backbone; None for that of the file.

    Returns:
        The network, abstract; the fields of `config.model` that make it; a remark, or ''.

    Raises:
        ValueError: If none fits.
    """
    name = backbone or contents.backbone
    if name not in SIZES:
        raise ValueError(f"seems to be {contents}; use weights of {', '.join(SIZES)}")
    classes = contents.num_classes
    model = nnx.eval_shape(lambda: DinoV2DPT(classes or 1, name, rngs=nnx.Rngs(0)))
    remark = ""
    if classes is not None:
        remark = (
            f"the head has config.data.num_classes = {classes}; for another number add "
            f"{_CLASSIFIER} to allow_missing and allow_unused"
        )
    return model, {"backbone": name}, remark
