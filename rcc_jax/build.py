"""Builds the parts of a run from a configuration: the method, the network, the data."""

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from flax import nnx
from jax.sharding import Mesh

import input_pipeline
from rcc_jax.config import checks, method_group, networks
from rcc_jax.distributed import meshes
from rcc_jax.errors import ConfigError
from rcc_jax.evaluation.evaluator import Evaluator
from rcc_jax.methods import Method
from rcc_jax.models import families, pretrained
from rcc_jax.models.network import Network, Weights, member_of
from rcc_jax.workdir import image_lists


def check(config: ml_collections.ConfigDict) -> None:
    """Rejects invalid values; the message has the field, the value and what to do.

    Raises:
        ConfigError: With all faults, one per line.
    """
    checks.check(config)


def build_method(config: ml_collections.ConfigDict) -> Method:
    """The method that `config.method` describes.

    Raises:
        ConfigError: If its fields do not fit the number of classes.
    """
    built = method_group.build(config)
    for message in built.faults(config.data.num_classes):
        raise ConfigError(message)
    return built


def build_model(config: ml_collections.ConfigDict, rngs: nnx.Rngs) -> nnx.Module:
    """The module to train: the network and the method's additions, with random weights."""
    return build_method(config).network(functools.partial(_network, config), rngs)


def _network(
    config: ml_collections.ConfigDict, rngs: nnx.Rngs, backbone: str | None = None
) -> nnx.Module:
    """The network that `config.model` describes, or one with another backbone; random weights."""
    fields = config.model
    backbone = fields.backbone if backbone is None else backbone
    return families.BACKBONES[backbone].build(
        config.data.num_classes,
        backbone,
        **{name: fields[name] for name in networks.own_fields(backbone)},
        dtype=jnp.dtype(fields.dtype),
        remat=fields.remat,
        freeze_encoder=fields.freeze_encoder,
        rngs=rngs,
    )


def load_pretrained(
    config: ml_collections.ConfigDict,
    model: nnx.Module,
    log: Callable[[str], None],
    paths: Mapping[str, str] | None = None,
) -> None:
    """Loads files of weights into the networks.

    Args:
        config: The configuration.
        model: The module to change.
        log: Called with a line of text about each file.
        paths: The file of each network, by the names of `networks.members`, '' = none; None if the
            fields of the configuration are paths.

    Raises:
        ConfigError: If a file is missing, corrupt or of another network.
    """
    paths = networks.paths(config) if paths is None else paths
    for member in networks.members(config):
        path, fields = paths.get(member.name, ""), member.model
        if not path:
            continue
        missing, unused = (
            tuple(filter(None, names.replace(" ", "").split(",")))
            for names in (fields.allow_missing, fields.allow_unused)
        )
        try:
            summary = pretrained.load_torch(
                member_of(model, member.name), path, allow_missing=missing, allow_unused=unused
            )
        except (OSError, ValueError, ImportError) as error:
            raise ConfigError(f"config.{member.field} = {fields.pretrained!r}: {error}") from error
        of = "" if member.name == "main" else f" of the {member.name} network"
        log(f"pretrained weights{of}: {summary}")


def check_pretrained(
    config: ml_collections.ConfigDict, paths: Mapping[str, str] | None = None
) -> None:
    """Checks, at little cost, that `load_pretrained` will work; raises the same errors."""
    abstract = nnx.eval_shape(lambda: build_model(config, nnx.Rngs(0)))
    load_pretrained(config, abstract, lambda _: None, paths)


def open_partition(
    config: ml_collections.ConfigDict,
    workdir: str | os.PathLike | None = None,
    *,
    images: str = "",
) -> input_pipeline.Partition:
    """The images and masks that `config.data` describes, with quick checks.

    Args:
        config: The configuration.
        workdir: Folder of the run, if any; the image lists recorded in it take precedence.
        images: Replaces the validation images; '' keeps them.
    """
    fields = config.data
    parts = {name: fields[name] for name in ("labeled", "unlabeled", "val", "train")}
    if workdir is not None:
        parts |= image_lists.recorded(workdir)
    parts["val"] = images or parts["val"]
    built = build_method(config)
    if not built.views and not built.pseudo_images:
        parts["unlabeled"] = None
    try:
        partition = _open_and_check(config, parts, built.pseudo_images)
    except input_pipeline.DataError as error:
        if not images:
            raise
        # The user typed --list.
        typed = str(error).replace("data.val = ", "--list=").replace("data.val", "--list")
        raise input_pipeline.DataError(typed) from None
    return partition


def open_unlabeled(
    config: ml_collections.ConfigDict, workdir: str | os.PathLike
) -> input_pipeline.Partition:
    """The images of a run with the unlabelled ones of `config.data`, whatever its method.

    Args:
        config: The configuration of the run.
        workdir: Its folder; the recorded labelled and validation images take precedence.
    """
    fields = config.data
    parts = {name: fields[name] for name in ("labeled", "unlabeled", "val", "train")}
    found = image_lists.recorded(workdir)
    parts |= {name: found[name] for name in ("labeled", "val") if found.get(name)}
    return _open_and_check(config, parts)


def _open_and_check(
    config: ml_collections.ConfigDict, parts: Mapping[str, str | None], pseudo_images: str = ""
) -> input_pipeline.Partition:
    fields = config.data
    partition = input_pipeline.open_partition(
        source=fields.source,
        root=fields.root,
        **parts,
        num_classes=fields.num_classes,
        class_names=tuple(fields.class_names),
        label_map=fields.label_map,
        colormap=fields.colormap,
        image_feature=fields.image_feature,
        label_feature=fields.label_feature,
    )
    if pseudo_images:
        partition = partition.with_pseudo(fields.pseudo, pseudo_images)
    input_pipeline.check_partition(partition, max_bad=max_bad(config))
    return partition


def max_skipped(config: ml_collections.ConfigDict) -> int:
    """Number of consecutive steps that may be skipped because they are not finite."""
    return config.train.max_nonfinite if config.train.on_nonfinite == "skip" else 0


def max_bad(config: ml_collections.ConfigDict) -> int | None:
    """Number of training files that may be unusable; None if the first one stops the run."""
    return config.data.max_bad if config.data.on_error == "skip" else None


def num_steps(config: ml_collections.ConfigDict, partition) -> tuple[int, int]:
    """Number of training steps, and number of steps per epoch."""
    built, batch_size = build_method(config), config.train.batch_size
    epoch = input_pipeline.num_steps_per_epoch(
        partition,
        labeled_batch_size=batch_size * built.labeled_per_unlabeled,
        unlabeled_batch_size=batch_size if built.views else 0,
    )
    return config.train.num_steps or config.train.num_epochs * epoch, epoch


def build_network(config: ml_collections.ConfigDict) -> Network:
    """The network that the configuration describes, as pure functions."""
    abstract = nnx.eval_shape(lambda: build_model(config, nnx.Rngs(0)))
    fields = config.model
    return Network(
        nnx.graphdef(abstract),
        jnp.dtype(fields.dtype),
        freeze_encoder=fields.freeze_encoder,
        multiple=families.BACKBONES[fields.backbone].multiple,
    )


def build_evaluator(config: ml_collections.ConfigDict, network: Network, mesh: Mesh) -> Evaluator:
    """The jitted evaluation that `config.eval` describes."""
    return Evaluator(
        network.predict,
        num_classes=config.data.num_classes,
        mesh=mesh,
        size_multiple=network.multiple,
        mode=config.eval.mode,
        window=config.eval.window,
        stride=config.eval.stride,
        windows=config.eval.windows,
        flip=config.eval.flip,
        scales=tuple(config.eval.scales),
    )


def abstract_weights(config: ml_collections.ConfigDict, mesh: Mesh) -> Weights:
    """Shapes, types and sharding of the weights, for restoring them from a checkpoint."""
    return abstract_of(lambda key: random_weights(config, key), mesh)


def random_weights(config: ml_collections.ConfigDict, key: jax.Array) -> Weights:
    """Random initial weights, without pretrained ones."""
    return Weights.of(build_model(config, nnx.Rngs(key)))


def abstract_of(create: Callable[[jax.Array], Any], mesh: Mesh) -> Any:
    """Shapes and types of the result of a function of a key, replicated on all devices."""
    sharding = meshes.replicated(mesh)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        jax.eval_shape(create, jax.random.key(0)),
    )


def set_up_jax(config: ml_collections.ConfigDict) -> None:
    """Makes process-wide settings of JAX. Must be called before the first use of a device."""
    if config.model.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    if config.train.deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    cache = config.train.compilation_cache
    if cache:
        folder = os.path.expanduser("~/.cache/rcc_jax/xla" if cache == "auto" else cache)
        if folder.startswith("~"):  # As for a user without a home.
            print(
                f"note: {folder}: no such home folder; compiled programs are not kept", flush=True
            )
        else:
            jax.config.update("jax_compilation_cache_dir", os.path.abspath(folder))
