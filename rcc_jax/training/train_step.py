"""One training step: the passes through the network, gradients, update, EMA and the watch."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rcc_jax import methods, views
from rcc_jax.training.train_state import TrainState, Weights

Batch = dict[str, dict[str, jax.Array]]


def interleave(first: jax.Array, second: jax.Array) -> jax.Array:
    """Two batches [B, ...] as one [2 B, ...] whose rows alternate.

    With the rows spread over devices every device pairs its own rows, so unlike a concatenation
    this moves nothing between devices.
    """
    return jnp.stack([first, second], axis=1).reshape(-1, *first.shape[1:])


def separate(joined: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The inverse of `interleave`."""
    pairs = joined.reshape(-1, 2, *joined.shape[1:])
    return pairs[:, 0], pairs[:, 1]


class Network:
    """A split NNX network as pure functions of its weights and uint8 images [B, H, W, 3]."""

    def __init__(self, graphdef: nnx.GraphDef, dtype=jnp.float32):
        self.graphdef = graphdef
        self.dtype = dtype

    def predict(
        self, weights: Weights, images: jax.Array, sizes: jax.Array | None = None
    ) -> jax.Array:
        """Logits [B, H, W, K] in evaluation mode; `sizes` [B, 2] are those in a padded batch."""
        model = nnx.merge(self.graphdef, weights.params, weights.stats)
        # A network that knows no padding works as long as there is none.
        padding = {} if sizes is None else {"sizes": sizes}
        return model(views.normalize(images, self.dtype), train=False, **padding)

    def student(self, weights: Weights, method: methods.Method, batch: Batch, pasted, key):
        """The two training passes of UniMatch.

        The weak pass sees labelled and weak views (and dropped features), the strong pass the
        CutMix-ed strong views; BatchNorm statistics move in this order.

        Returns:
            The student's `Logits`, with its own weak logits, and the moved statistics.
        """
        model = nnx.merge(self.graphdef, weights.params, weights.stats)
        labeled = views.normalize(batch["labeled"]["image"], self.dtype)
        if not method.strong_views:
            logits = methods.Logits(labeled=model(labeled, train=True))
            return logits, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

        unlabeled, partner = batch["unlabeled"], batch["partner"]
        weak = interleave(labeled, views.normalize(unlabeled["weak"], self.dtype))
        perturbed = None
        if method.feature_perturbation:
            clean, dropped = model(weak, train=True, perturb_rngs=nnx.Rngs(dropout=key))
            perturbed = separate(dropped)[1]
        else:
            clean = model(weak, train=True)
        labeled_logits, weak_logits = separate(clean)

        names = [f"strong{i + 1}" for i in range(method.strong_views)]
        mixed = [
            views.normalize(views.paste(mask, partner[name], unlabeled[name]), self.dtype)
            for mask, name in zip(pasted, names, strict=True)
        ]
        if len(mixed) == 1:
            strong = (model(mixed[0], train=True),)
        else:
            strong = separate(model(interleave(*mixed), train=True))
        logits = methods.Logits(
            labeled=labeled_logits, strong=strong, perturbed=perturbed, weak=weak_logits
        )
        return logits, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))


def _targets(method: methods.Method, batch: Batch) -> methods.Targets:
    labels = batch["labeled"]["label"].astype(jnp.int32)
    if not method.strong_views:
        return methods.Targets(labels=labels)
    boxes = batch["unlabeled"]["boxes"]
    height, width = batch["unlabeled"]["valid"].shape[1:]
    return methods.Targets(
        labels=labels,
        valid=batch["unlabeled"]["valid"],
        partner_valid=batch["partner"]["valid"],
        pasted=tuple(
            views.box_masks(boxes[:, i], height, width) for i in range(method.strong_views)
        ),
    )


def _split(batch: Batch, parts: int, mesh: Mesh) -> Batch:
    """[B, ...] to [parts, B / parts, ...]; every device keeps rows of each part."""
    sharding = NamedSharding(mesh, PartitionSpec(None, "data"))

    def split(rows):
        rows = jnp.moveaxis(rows.reshape(-1, parts, *rows.shape[1:]), 1, 0)
        return jax.lax.with_sharding_constraint(rows, sharding)

    return jax.tree.map(split, batch)


def loss_and_gradients(
    network: Network,
    method: methods.Method,
    state: TrainState,
    batch: Batch,
    denominators: methods.Denominators,
    key: jax.Array,
    parts: int,
) -> tuple[jax.Array, dict[str, jax.Array], dict, dict]:
    """Loss, terms, gradients and moved BatchNorm statistics of a batch or a part of it."""
    targets = _targets(method, batch)
    teacher = {}
    if method.strong_views:
        source = state.weights if state.ema is None else state.ema
        teacher["partner"] = network.predict(source, batch["partner"]["weak"])
        if state.ema is not None:
            teacher["weak"] = network.predict(source, batch["unlabeled"]["weak"])
    teacher = jax.lax.stop_gradient(teacher)

    def loss_fn(params):
        weights = state.weights.replace(params=params)
        logits, stats = network.student(weights, method, batch, targets.pasted, key)
        logits = _with_teacher(logits, teacher)
        loss, terms = methods.loss_terms(method, logits, targets, denominators, parts=parts)
        return loss, (terms, stats)

    (loss, (terms, stats)), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
        state.weights.params
    )
    return loss, terms, gradients, stats


def _with_teacher(logits: methods.Logits, teacher: dict[str, jax.Array]) -> methods.Logits:
    return dataclasses.replace(logits, **teacher)


def _accumulate(network, method, state, batch, key, parts, mesh):
    """Sums of loss, terms and gradients over the parts; BatchNorm statistics chain."""
    denominators = methods.count_pixels(_targets(method, batch))
    if parts == 1:
        return loss_and_gradients(network, method, state, batch, denominators, key, 1)

    def run(stats, part_and_key):
        part, part_key = part_and_key
        inner = state.replace(weights=state.weights.replace(stats=stats))
        loss, terms, gradients, stats = loss_and_gradients(
            network, method, inner, part, denominators, part_key, parts
        )
        return stats, (loss, terms, gradients)

    def body(carry, part_and_key):
        stats, sums = carry
        stats, outputs = run(stats, part_and_key)
        return (stats, jax.tree.map(jnp.add, sums, outputs)), None

    inputs = (_split(batch, parts, mesh), jax.random.split(key, parts))
    first = jax.tree.map(lambda x: x[0], inputs)
    shapes = jax.eval_shape(run, state.weights.stats, first)[1]
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    (stats, (loss, terms, gradients)), _ = jax.lax.scan(body, (state.weights.stats, zeros), inputs)
    return loss, terms, gradients, stats


def _average(ema: Weights, weights: Weights, decay: float, step: jax.Array) -> Weights:
    # The ramp lets the average forget the random start: it is a plain mean at first.
    decay = jnp.minimum(decay, 1 - 1 / (step + 1))

    def average(old, new):
        rate = decay.astype(old.dtype)
        return rate * old + (1 - rate) * new

    return jax.tree.map(average, ema, weights)


def _settle(
    old: TrainState, new: TrainState, scalars: dict[str, jax.Array], max_skipped: int
) -> TrainState:
    """The state after a step: the new one, or the old one where a watched scalar is not finite.

    Such a step changes nothing but the counts. After `max_skipped` of them in a row the next one
    ends the training: the state stays as it was before that step, whatever follows.
    """
    finite = jnp.stack([jnp.isfinite(scalars[name]) for name in old.bad_terms]).all()
    ended = old.bad_step > 0
    ends = ~ended & ~finite & (old.skipped_in_row >= max_skipped)
    frozen, noted = ended | ends, ~ended & ~finite

    def choose(new_leaf, old_leaf):
        # Numbers of steps go on: a learning rate belongs to its step.
        counts = jnp.issubdtype(new_leaf.dtype, jnp.integer)
        return jnp.where(frozen if counts else frozen | ~finite, old_leaf, new_leaf)

    moving = ("step", "weights", "ema", "opt_state")
    return old.replace(
        **{name: jax.tree.map(choose, getattr(new, name), getattr(old, name)) for name in moving},
        bad_step=jnp.where(ends, new.step, old.bad_step),
        bad_terms={
            name: jnp.where(noted, scalars[name].astype(jnp.float32), before)
            for name, before in old.bad_terms.items()
        },
        skipped=old.skipped + (noted & ~ends),
        skipped_in_row=jnp.where(
            frozen, old.skipped_in_row, jnp.where(finite, 0, old.skipped_in_row + 1)
        ),
    )


def watched_terms(method: methods.Method) -> tuple[str, ...]:
    """Names of the scalars of a step that must be finite."""
    names = ["loss", "gradient_norm", "loss_labeled"]
    names += [f"loss_strong{i + 1}" for i in range(method.strong_views)]
    if method.feature_perturbation:
        names.append("loss_perturbed")
    if method.consensus != "none":
        names.append("loss_consensus")
    return tuple(names)


def make_train_step(
    network: Network,
    method: methods.Method,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    mesh: Mesh,
    *,
    accumulation: int = 1,
    max_skipped: int = 0,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """The jitted step `(state, batch) -> (state, scalars)`; the state is donated.

    Args:
        network: The split network.
        method: What is summed.
        optimizer: The optimizer.
        schedule: Learning rate, only to be reported.
        mesh: Mesh with the axis 'data', over which the rows of the batch are spread.
        accumulation: Number of parts that the batch is worked through in. Equal to one part only
            where BatchNorm is frozen and the labelled loss is 'ce': otherwise batch statistics and
            the choice of hard pixels are those of each part.
        max_skipped: Number of steps in a row that may have a non-finite loss or gradient; they
            change nothing. The next one ends the training: the state stays as it was before it, and
            names it in `bad_step`.

    Returns:
        The step. Batches are those of the input pipeline. Scalars: 'loss', 'loss_*', 'kept_ratio',
        'learning_rate', 'gradient_norm' and, where steps may be skipped, 'skipped_steps', their
        number so far; all are global, whatever the number of devices.
    """

    def train_step(state: TrainState, batch: Batch):
        key = jax.random.fold_in(state.rng, state.step)
        loss, terms, gradients, stats = _accumulate(
            network, method, state, batch, key, accumulation, mesh
        )
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.weights.params)
        weights = Weights(optax.apply_updates(state.weights.params, updates), stats)
        scalars = {
            "loss": loss,
            **terms,
            "learning_rate": jnp.asarray(schedule(state.step)),
            "gradient_norm": optax.tree.norm(gradients),
        }
        ema = state.ema
        if ema is not None:
            ema = _average(ema, weights, method.ema_decay, state.step)
        new = state.replace(step=state.step + 1, weights=weights, ema=ema, opt_state=opt_state)
        new = _settle(state, new, scalars, max_skipped)
        if max_skipped:
            scalars["skipped_steps"] = new.skipped
        return new, scalars

    replicated, rows = (
        NamedSharding(mesh, PartitionSpec()),
        NamedSharding(mesh, PartitionSpec("data")),
    )
    return jax.jit(
        train_step,
        donate_argnums=0,
        in_shardings=(replicated, rows),
        out_shardings=(replicated, replicated),
    )
