"""The families of networks and their backbones; imports no JAX.

A network is a Flax NNX module of this form, whatever its family:

    encode(images, *, train) -> features    a pytree of arrays [B, h, w, C]
    decode(features, size, *, train) -> logits [B, H, W, K] at a size (H, W), at least float32
    __call__(images, *, train) -> logits    the two in turn
    merge(features, *, train) -> merged     one array [B, h, w, merged_features]: what `decode`
                                            computes before the layers of the classifier
    classify(merged, size, *, train) -> logits    those layers; `decode` is both in turn
    backbone                                the encoder, with the attribute `name`
    family                                  the name of the family, an attribute of the class

Images are normalised, [B, H, W, 3], and their sides are multiples of `Family.multiple`. The state
is `nnx.Param` and `nnx.BatchStat` alone; either may be empty. A family with `pads` also takes
`sizes` in `__call__`: the true sizes of images that are padded to one size. A family of multiples
never sees padding; `Network.predict` resizes each image to its multiples.

The names in PyTorch's files are in a module of these functions:

    recognises(names)        whether a file seems to hold a network of the family
    standard(state)          a state dict under the names below, whichever library wrote it
    is_network(names)        whether standard names are of a whole network or a bare encoder
    named_variables(model)   the variables of a network by standard name, the encoder's first
    extras(model)            tensors that PyTorch's network has besides, by standard name
    describe(shapes)         what a file with these standard names and shapes seems to hold
    describe_model(model)    the same for the file of a network
    way_out(model, file)     what to do if two such descriptions differ; None if it is not known
    fitting(contents, name)  the network that fits a file, abstract; fields that make it; a remark

`torch_names` says how values are laid out there. A description has `kind`, a few words about the
encoder, and is a longer text itself.
"""

import dataclasses
import importlib
from collections.abc import Iterable
from typing import Any

# The member of a network that is its encoder; a method may nest networks.
ENCODER = "backbone"


@dataclasses.dataclass(frozen=True)
class Family:
    """A kind of network: encoders of one kind and the head that belongs to them.

    Attributes:
        name: Its name. Fields of the configuration that only this family has are declared with it.
        backbones: Names of its encoders, the values of `config.model.backbone`.
        network: Class of the network, 'MODULE:CLASS' in this package. Its arguments are the number
            of classes, the backbone, and by name `dtype`, `remat`, `freeze_encoder`, `rngs` and the
            family's own fields of `config.model`.
        names: Module of the names in PyTorch's files.
        multiple: Height and width of images are multiples of this.
        pads: Whether the network takes images of several sizes, padded to one.
        architecture: Own fields of `config.model` that say which shape the network has.
        not_in_weights: Those of them that the weights do not show, although results depend on them.
        torch_script: Whether an export holds the network as a script for PyTorch.
    """

    name: str
    backbones: tuple[str, ...]
    network: str
    names: str
    multiple: int = 1
    pads: bool = False
    architecture: tuple[str, ...] = ()
    not_in_weights: tuple[str, ...] = ()
    torch_script: bool = False

    def build(self, num_classes: int, backbone: str, **arguments: Any) -> Any:
        """A network with random weights."""
        module, _, name = self.network.partition(":")
        return getattr(_module(module), name)(num_classes, backbone, **arguments)

    @property
    def torch_names(self) -> Any:
        """The module of names in PyTorch's files."""
        return _module(self.names)


def _module(name: str) -> Any:
    return importlib.import_module(f"{__package__}.{name}")


RESNET = Family(
    name="resnet",
    backbones=("resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet50_c4"),
    network="deeplabv3plus:DeepLabV3Plus",
    names="resnet_names",
    pads=True,
    architecture=("stem", "output_stride", "width", "decoder_channels", "aspp_rates"),
    not_in_weights=("output_stride", "aspp_rates"),
    torch_script=True,
)
DINOV2 = Family(
    name="dinov2",
    backbones=("dinov2_small", "dinov2_base", "dinov2_large"),
    network="dinov2_dpt:DinoV2DPT",
    names="dinov2_names",
    multiple=14,
)
FAMILIES: tuple[Family, ...] = (RESNET, DINOV2)
# The registry: the family of each backbone.
BACKBONES: dict[str, Family] = {
    backbone: family for family in FAMILIES for backbone in family.backbones
}


def of_model(model: Any) -> Family:
    """The family of a network, which its class names."""
    return next(family for family in FAMILIES if family.name == model.family)


def of_file(names: Iterable[str], otherwise: Family = RESNET) -> Family:
    """The family that the names of a state dict belong to; `otherwise` if that is not clear."""
    names = list(names)
    found = (family for family in FAMILIES if family.torch_names.recognises(names))
    return next(found, otherwise)


def is_encoder(path: Iterable[Any]) -> bool:
    """Whether a path of keys in a tree of parameters leads into an encoder.

    Args:
        path: Strings, or the keys of `jax.tree_util`.
    """
    return any(getattr(key, "key", key) == ENCODER for key in path)
