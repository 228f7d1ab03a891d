"""The fixed parts of one run, built from its configuration: data, network, step, evaluator."""

import collections
import dataclasses
import functools
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax
from jax.sharding import Mesh

import input_pipeline
from input_pipeline.batches.training import BatchStream
from rcc_jax import build
from rcc_jax.config import method_group, networks, recorded, schema
from rcc_jax.distributed import meshes, processes
from rcc_jax.evaluation.evaluator import Evaluator
from rcc_jax.methods import Method
from rcc_jax.methods.base import Views
from rcc_jax.models.network import Network, Weights
from rcc_jax.training import optimizer, train_state, train_step
from rcc_jax.training.train_state import TrainState
from rcc_jax.workdir import checkpoint_paths, preservation, start_weights


@dataclasses.dataclass(frozen=True)
class Run:
    """The parts of a run that do not change as it trains.

    Attributes:
        config: The checked configuration.
        partition: Images and masks.
        mesh: All devices on the axis 'data'.
        method: The training method.
        network: The network as pure functions.
        optimizer, schedule: The optimizer and its learning rate.
        num_steps, epoch_steps: Length of the run and of an epoch.
        evaluator: The jitted evaluation.
    """

    config: ml_collections.ConfigDict
    partition: input_pipeline.Partition
    mesh: Mesh
    method: Method
    network: Network
    optimizer: optax.GradientTransformationExtraArgs
    schedule: optax.Schedule
    num_steps: int
    epoch_steps: int
    evaluator: Evaluator

    @classmethod
    def build(
        cls,
        config: ml_collections.ConfigDict,
        workdir: str | os.PathLike | None = None,
        *,
        images: str = "",
    ) -> "Run":
        """Checks the configuration and the data and builds the rest; compiles nothing yet.

        Args:
            config: The configuration.
            workdir: Folder of the run; the image lists recorded in it take precedence.
            images: Replaces `data.val`; '' keeps it.

        Raises:
            ConfigError, DataError: If something cannot be used; nothing is written by then.
        """
        build.check(config)
        mesh = meshes.make_mesh()
        partition = build.open_partition(config, workdir, images=images)
        num_steps, epoch_steps = build.num_steps(config, partition)
        schedule = optimizer.poly_schedule(
            config.optimizer.learning_rate, num_steps, config.optimizer.power
        )
        network = build.build_network(config)
        return cls(
            config=config,
            partition=partition,
            mesh=mesh,
            method=build.build_method(config),
            network=network,
            optimizer=optimizer.build(config.optimizer, schedule),
            schedule=schedule,
            num_steps=num_steps,
            epoch_steps=epoch_steps,
            evaluator=build.build_evaluator(config, network, meshes.make_local_mesh()),
        )

    def check_same_everywhere(self) -> None:
        """Checks that all processes were given the same command and see the same data.

        Raises:
            ConfigError: In every process, if they differ.
        """
        if processes.count() == 1:
            return
        fields = recorded.flatten(json.loads(json.dumps(method_group.resolved(self.config))))
        different = schema.matching(lambda option: option.per_process)
        own = {f"config.{name}": value for name, value in fields.items() if name not in different}
        images = {f"{part} images": name for part, name in self.partition.digests().items()}
        processes.check_same(
            {**own, **self.partition.counts(), **images},
            "Start every process with the same command and the same lists.",
        )

    @functools.cached_property
    def padded_shapes(self) -> input_pipeline.Shapes:
        """The shapes that validation images are padded to, if there are any.

        Each process reads the headers of its share of the images once. All processes must call
        this.

        Raises:
            DataError: If an image cannot be read.
        """
        most = schema.max_shapes(self.config)
        if not most:
            return input_pipeline.NO_SHAPES
        own = input_pipeline.count_sizes(
            self.partition.val,
            num_threads=self.config.data.num_threads,
            shard=(processes.index(), processes.count()),
        )
        counts = collections.Counter()
        for listed in processes.gather([[*size, images] for size, images in own.items()]):
            counts.update({(height, width): images for height, width, images in listed})
        return input_pipeline.choose_shapes(counts, most, self.evaluator.kind)

    def _state_of(self, weights: Weights, rng: jax.Array) -> TrainState:
        return train_state.create(
            weights,
            self.optimizer,
            rng,
            ema=bool(self.method.teachers),
            term_names=train_step.watched_terms(self.method),
            freeze_encoder=self.network.freeze_encoder,
            memory=self.method.memory(
                self.network.trained(weights),
                self.config.data.num_classes,
                # No step draws from this key: the key of a step is `rng` folded with the step.
                jax.random.fold_in(rng, self.num_steps),
            ),
        )

    def abstract_state(self) -> TrainState:
        """Shapes, types and sharding of the state, for restoring a checkpoint."""
        return build.abstract_of(
            lambda key: self._state_of(build.random_weights(self.config, key), key), self.mesh
        )

    def initial_state(
        self, log: Callable[[str], None], paths: Mapping[str, str] | None = None
    ) -> TrainState:
        """The state before the first step, with pretrained weights if there are any.

        Args:
            log: Called with lines of text about what was loaded.
            paths: What the fields of the first weights stand for, by the names of
                `networks.members` (see `first_weights`); None if they are paths themselves.
        """
        sharding = meshes.replicated(self.mesh)
        key = jax.random.key(self.config.seed)
        paths = networks.paths(self.config) if paths is None else paths
        weights = self._initial_weights(jax.random.fold_in(key, 0), log, paths)
        create = jax.jit(self._state_of, out_shardings=sharding)
        return create(meshes.replicate(self.mesh, weights), jax.random.fold_in(key, 1))

    def _initial_weights(
        self, key: jax.Array, log: Callable[[str], None], paths: Mapping[str, str]
    ) -> Weights:
        read, files = Weights({}, {}), {}
        for member in networks.members(self.config):
            path = paths.get(member.name, "")
            if start_weights.is_run(path):
                found, summary = start_weights.read_start(path, *self._place(member))
                log(f"starting from the {summary}")
                for line in checkpoint_paths.other_settings(self.config, path):
                    log(f"note: {line}; the weights cannot show it")
                read = found.completed(read)
            elif path:
                files[member.name] = path
        if not files and jax.tree.structure(read) == jax.tree.structure(self._abstract_weights):
            return read
        weights = jax.jit(lambda key: build.random_weights(self.config, key))(key)
        weights = read.completed(weights)
        if files:
            model = self.network.module(weights)
            build.load_pretrained(self.config, model, log, files)
            weights = Weights.of(model)
        if paths["main"] and "second" not in {**paths, **read.params}:
            weights = _with_shared_encoder(weights)
        return weights

    @functools.cached_property
    def _abstract_weights(self) -> Weights:
        return build.abstract_weights(self.config, self.mesh)

    def _place(self, member: networks.Member) -> tuple[Weights, str, str]:
        """Further arguments of `start_weights.read_start` for a network."""
        return self._abstract_weights, member.name, f"config.{member.field}"

    def check_start(self, paths: Mapping[str, str] | None = None) -> None:
        """Checks, at little cost, that `initial_state` will find the pretrained weights.

        Args:
            paths: As for `initial_state`.

        Raises:
            ConfigError: If they cannot be used.
        """
        paths, files = networks.paths(self.config) if paths is None else paths, {}
        for member in networks.members(self.config):
            path = paths.get(member.name, "")
            if start_weights.is_run(path):
                start_weights.check_start(path, *self._place(member))
            else:
                files[member.name] = path
        build.check_pretrained(self.config, files)

    def train_step(self) -> Callable[[TrainState, Any], tuple[TrainState, dict]]:
        """The jitted training step."""
        return train_step.make_train_step(
            self.network,
            self.method,
            self.optimizer,
            self.schedule,
            self.mesh,
            num_steps=self.num_steps,
            steps_per_epoch=self.epoch_steps,
            accumulation=self.config.train.accumulation,
            max_skipped=build.max_skipped(self.config),
        )

    def batches(self, start_step: int) -> BatchStream:
        """This process's rows of the training batches after `start_step`, as numpy arrays."""
        batch_size = self.config.train.batch_size
        views = self.method.views or Views()
        return input_pipeline.train_stream(
            self.partition,
            seed=self.config.seed,
            crop_size=self.config.data.crop_size,
            labeled_batch_size=batch_size * self.method.labeled_per_unlabeled,
            unlabeled_batch_size=batch_size,
            strong_views=self.method.strong_views,
            recipe=views.recipe,
            box=views.box,
            cutmix_partner=self.config.data.cutmix_partner,
            start_step=start_step,
            num_steps=self.num_steps,
            num_threads=self.config.data.num_threads,
            num_workers=self.config.data.num_workers,
            shard=(processes.index(), processes.count()),
            max_bad=build.max_bad(self.config),
        )

    def evaluation_due(self, step: int) -> bool:
        """Whether the model is evaluated after this step."""
        every = self.config.eval.every_steps or self.epoch_steps
        return step == self.num_steps or (step > 0 and step % every == 0)

    def checkpoint_due(self, step: int) -> bool:
        """Whether a checkpoint is due after this step, evaluated or not."""
        every = self.config.checkpoint.every_steps
        is_regular = every > 0 and step > 0 and step % every == 0
        return step == self.num_steps or is_regular or step in self.milestones

    @property
    def milestones(self) -> tuple[int, ...]:
        """Steps whose checkpoints are kept to the end."""
        return preservation.milestones(self.num_steps, self.config.checkpoint.milestones)


def _with_shared_encoder(weights: Weights) -> Weights:
    """The weights, where a second network starts from the encoder of the main one.

    Its decoder stays as it is: two networks that were equal would never differ.
    """
    if "second" not in weights.params:
        return weights
    # Copies, because the state is donated and no buffer can be donated twice.
    encoder = jax.tree.map(jnp.copy, weights.main.inside_encoder())
    return encoder.as_member("second").completed(weights)
