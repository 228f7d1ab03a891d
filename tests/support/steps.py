"""A small network with everything that a training step needs; shared by tests and guards."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AxisType, Mesh

from rcc_jax.distributed import meshes
from rcc_jax.methods import METHODS
from rcc_jax.models import DeepLabV3Plus
from rcc_jax.models.layers import BatchNorm
from rcc_jax.models.network import Network, Weights
from rcc_jax.options import options
from rcc_jax.training import optimizer, train_state, train_step
from rcc_jax.workdir.checkpoints import Checkpoints

NUM_CLASSES, SIZE = 5, 17
STEPS_PER_EPOCH = 5


def make_mesh(count):
    """The first devices on the axis 'data'."""
    return Mesh(np.array(jax.devices()[:count]), ("data",), axis_types=(AxisType.Auto,))


def make_batch(method, rows=8, seed=0, size=SIZE):
    """A batch as the input pipeline makes it, of noise."""
    rng = np.random.default_rng(seed)

    def image(count):
        return rng.integers(0, 256, (count, size, size, 3)).astype(np.uint8)

    labeled = image(rows * method.labeled_per_unlabeled)
    labels = labeled[..., 0] // (256 // NUM_CLASSES + 1)
    labels[:, :3] = 255
    batch = {"labeled": {"image": labeled, "label": labels}}
    if method.strong_views:
        names = ["weak", *(f"strong{i + 1}" for i in range(method.strong_views))]
        for stream in ("unlabeled",) if method.views.box == "none" else ("unlabeled", "partner"):
            valid = np.ones((rows, size, size), bool)
            valid[:, rng.integers(2 * size // 3 - 2, size) :] = False
            batch[stream] = {"valid": valid, **{name: image(rows) for name in names}}
        corners = np.sort(rng.integers(0, size, (rows, method.strong_views, 2, 2)), axis=2)
        batch["unlabeled"]["boxes"] = corners.reshape(rows, method.strong_views, 4).astype(np.int32)
    return batch


def make_method(name="rcc", **changes):
    """A method by name, with a threshold that a small network reaches."""
    own = options(METHODS[name])
    usual = {"confidence_threshold": 0.3, "ohem_min_kept": 300, "queue_size": 40}
    return METHODS[name](**{k: v for k, v in usual.items() if k in own} | changes)


class SmallNetwork(nnx.Module):
    """Two convolutions with BatchNorm between, called like the real network."""

    def __init__(self, dtype, freeze_bn, rngs, width=12):
        types = {"dtype": dtype, "param_dtype": dtype, "rngs": rngs}
        self.backbone = nnx.Conv(3, width, (3, 3), use_bias=False, **types)
        self.norm = BatchNorm(width, frozen=freeze_bn, dtype=dtype)
        self.classifier = nnx.Conv(width, NUM_CLASSES, (3, 3), **types)
        self.dtype, self.merged_features = dtype, width

    def __call__(self, images, *, train):
        return self.decode(self.encode(images, train=train), images.shape[1:3], train=train)

    def encode(self, images, *, train):
        return nnx.relu(self.norm(self.backbone(images), train=train))

    def decode(self, features, size, *, train):
        return self.classify(self.merge(features, train=train), size, train=train)

    def merge(self, features, *, train):
        return features

    def classify(self, merged, size, *, train):
        return self.classifier(merged)


def deeplab(key):
    return DeepLabV3Plus(
        NUM_CLASSES,
        "resnet10",
        "v1",
        width=8,
        decoder_channels=16,
        aspp_rates=(1, 2, 3),
        rngs=nnx.Rngs(key),
    )


@functools.cache
def initial_weights(build):
    """Parameters and statistics as numpy; one call is slow, so a test makes few."""

    def create(key):
        _, params, stats = nnx.split(build(key), nnx.Param, nnx.BatchStat)
        return nnx.to_pure_dict(params), nnx.to_pure_dict(stats)

    create = jax.jit(create) if build is deeplab else create
    return jax.device_get(create(jax.random.key(1)))


def small(key, *, dtype, method=None, freeze_bn=False):
    """The module of a method, or a network; a second network of another kind is narrower."""

    def make(rngs, backbone=None):
        return SmallNetwork(dtype, freeze_bn, rngs, width=8 if backbone else 12)

    rngs = nnx.Rngs(key)
    return make(rngs) if method is None else method.network(make, rngs)


class FragileNetwork(SmallNetwork):
    """Its logits are NaN where a batch is all white."""

    def __call__(self, images, *, train):
        logits = super().__call__(images, train=train)
        return logits + jnp.where(images.min() > 2, jnp.nan, 0)


def fragile(key):
    return FragileNetwork(jnp.float32, False, nnx.Rngs(key))


RULES: dict[str, dict[str, float]] = {
    "sgd": {"momentum": 0.9, "weight_decay": 1e-4},
    "adamw": {"beta1": 0.9, "beta2": 0.999, "weight_decay": 0.01},
}


class Setup:
    """A network with everything that a step needs."""

    def __init__(
        self,
        method,
        devices=1,
        dtype=jnp.float32,
        accumulation=1,
        max_skipped=0,
        build=None,
        num_steps=20,
        steps_per_epoch=STEPS_PER_EPOCH,
        freeze_encoder=False,
        size=SIZE,
        rule="sgd",
        **network,
    ):
        self.size = size
        self.method, self.mesh, self.dtype = method, make_mesh(devices), dtype
        self.schedule = optimizer.poly_schedule(0.05, num_steps)
        self.optimizer = getattr(optimizer, rule)(self.schedule, head_multiplier=2.0, **RULES[rule])
        self.build = build or functools.partial(small, method=method, dtype=dtype, **network)
        self.network = Network(
            nnx.graphdef(nnx.eval_shape(lambda: self.build(jax.random.key(0)))),
            dtype,
            freeze_encoder=freeze_encoder,
        )
        self.step = train_step.make_train_step(
            self.network,
            method,
            self.optimizer,
            self.schedule,
            self.mesh,
            num_steps=num_steps,
            steps_per_epoch=steps_per_epoch,
            accumulation=accumulation,
            max_skipped=max_skipped,
        )

    def state(self):
        """The initial state, placed as a step returns it, so that a second step is not compiled."""
        params, stats = initial_weights(self.build)
        state = train_state.create(
            Weights(*jax.tree.map(jnp.asarray, (params, stats))),
            self.optimizer,
            jax.random.key(1),
            ema=bool(self.method.teachers),
            term_names=train_step.watched_terms(self.method),
            freeze_encoder=self.network.freeze_encoder,
            memory=self.method.memory(
                self.network.trained(Weights(*jax.tree.map(jnp.asarray, (params, stats)))),
                NUM_CLASSES,
                jax.random.key(2),
            ),
        )
        return jax.device_put(state, meshes.replicated(self.mesh))

    def run(self, steps, folder=None, stop_at=0):
        """The state after some steps and the scalars of each.

        With a folder, the state is saved there after `stop_at` steps and restored.
        """
        state, log = self.state(), []
        for step in range(steps):
            if folder and step == stop_at:
                state = self._restored(state, folder)
            state, scalars = self.step(state, make_batch(self.method, seed=step, size=self.size))
            log.append(jax.device_get(scalars))
        return jax.device_get(dataclasses.replace(state, rng=jax.random.key_data(state.rng))), log

    def _restored(self, state, folder):
        sharding = meshes.replicated(self.mesh)
        shapes = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
            jax.eval_shape(self.state),
        )
        with Checkpoints(folder) as checkpoints:
            checkpoints.save(int(state.step), state.saved(), wait=True)
            return train_state.TrainState(**checkpoints.restore(shapes.saved()))
