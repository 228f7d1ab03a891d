"""One training step: the method's loss, its gradient, the update, EMA teacher and memory."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rcc_jax.methods.base import Batch, Clock, Method
from rcc_jax.models.network import Network, Student, Weights
from rcc_jax.training.nonfinite import Verdict, judge
from rcc_jax.training.train_state import TrainState


class Gradients(NamedTuple):
    """Results of a batch or of a part of it; those of the parts are added up."""

    loss: jax.Array
    terms: dict[str, jax.Array]
    observations: Any
    params: dict[str, Any]


class _Networks:
    """The networks of a step, as `methods.base.Networks` describes them."""

    def __init__(self, network: Network, method: Method, state: TrainState, student: Student):
        self.student = student
        self._network = network
        self._weights = {"student": state.weights, "ema": state.averaged}
        self._teacher = "ema" if any(each.labels for each in method.teachers) else "student"

    def teacher(self, images: jax.Array) -> jax.Array:
        return self.probe(self._teacher, images)

    def read_teacher(self, images: jax.Array, function: Callable[[Any, jax.Array], Any]) -> Any:
        return jax.lax.stop_gradient(
            self._network.read(self._weights[self._teacher], images, function)
        )

    @property
    def second(self) -> Student:
        return self.student.member("second")

    def probe(self, source: str | Weights, images: jax.Array) -> jax.Array:
        # The student's passes do not change these weights. In a later part of an accumulated batch
        # the statistics of BatchNorm are those that the earlier parts left.
        member = "main"
        if not isinstance(source, str):
            weights = source.completed(self._weights["student"])
        elif source == "second":
            weights, member = self._weights["student"], source
        else:
            weights = self._weights[source]
        return jax.lax.stop_gradient(self._network.predict(weights, images, member=member))


def gradients_of(
    network: Network,
    method: Method,
    state: TrainState,
    batch: Batch,
    **loss_arguments: Any,
) -> tuple[Gradients, dict[str, Any]]:
    """Loss, terms and gradients of a batch or a part of it, and the new BatchNorm statistics.

    A frozen encoder has no gradient, and none is computed.

    Args:
        network: The network.
        method: The method.
        state: The state before the step.
        batch: Rows of the batch.
        **loss_arguments: `counts`, `parts`, `clock` and `key` of `Method.loss`.
    """
    trained = network.trained(state.weights)

    def loss_fn(params):
        student = network.student(trained.replace(params=params).completed(state.weights))
        nets = _Networks(network, method, state, student)
        result = method.loss(nets, batch, state.memory, **loss_arguments)
        return result.loss, (result, student.stats())

    (_, (result, stats)), params = jax.value_and_grad(loss_fn, has_aux=True)(trained.params)
    return Gradients(*result, params), stats


def _split(batch: Batch, parts: int, mesh: Mesh) -> Batch:
    """[B, ...] to [parts, B / parts, ...]; every device keeps rows of each part."""
    sharding = NamedSharding(mesh, PartitionSpec(None, "data"))

    def split(rows):
        rows = jnp.moveaxis(rows.reshape(-1, parts, *rows.shape[1:]), 1, 0)
        return jax.lax.with_sharding_constraint(rows, sharding)

    return jax.tree.map(split, batch)


def _accumulate(network, method, state, batch, clock, key, parts, mesh):
    """Sums the gradients over the parts of a batch; each part updates BatchNorm in turn."""
    shared = {"counts": method.counts(batch), "parts": parts, "clock": clock}
    if parts == 1:
        return gradients_of(network, method, state, batch, **shared, key=key)

    def run(stats, part_and_key):
        part, part_key = part_and_key
        inner = state.replace(weights=state.weights.replace(stats=stats))
        found, stats = gradients_of(network, method, inner, part, **shared, key=part_key)
        return stats, found

    def body(carry, part_and_key):
        stats, sums = carry
        stats, found = run(stats, part_and_key)
        return (stats, jax.tree.map(jnp.add, sums, found)), None

    inputs = (_split(batch, parts, mesh), jax.random.split(key, parts))
    first = jax.tree.map(lambda x: x[0], inputs)
    shapes = jax.eval_shape(run, state.weights.stats, first)[1]
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    (stats, sums), _ = jax.lax.scan(body, (state.weights.stats, zeros), inputs)
    return sums, stats


def _average(ema: Weights, weights: Weights, decay: jax.Array) -> Weights:
    def average(old, new):
        rate = decay.astype(old.dtype)
        return rate * old + (1 - rate) * new

    return jax.tree.map(average, ema, weights)


def watched_terms(method: Method) -> tuple[str, ...]:
    """Names of the scalars of a step that must be finite."""
    return ("loss", "gradient_norm", *(x for x in method.terms if x.startswith("loss_")))


def _check(method: Method, accumulation: int) -> None:
    if accumulation > 1 and not method.accumulates:
        raise ValueError(f"{method.name} needs whole batches, accumulation is {accumulation}")
    if len(method.teachers) > 1:
        raise ValueError(f"{method.name} has {len(method.teachers)} teachers; at most one is kept")


def _optimized(
    network: Network,
    optimizer: optax.GradientTransformationExtraArgs,
    state: TrainState,
    gradients: Any,
    stats: Any,
    verdict: Verdict,
) -> tuple[Weights, Any]:
    """The weights and the optimizer's state after a step that counts, or as they were before."""
    trained = network.trained(state.weights).params
    updates, opt_state = optimizer.update(
        gradients, state.opt_state, trained, choose=verdict.choose, advance=verdict.advance
    )
    weights = Weights(optax.apply_updates(trained, updates), stats).completed(state.weights)
    return verdict.choose(weights, state.weights), opt_state


def _followed(
    method: Method, begun: TrainState, weights: Weights, observations: Any, clock: Clock
) -> tuple[Weights | None, Any]:
    """EMA teacher and memory after the step to the new weights."""
    ema, memory = begun.ema, begun.memory
    for teacher in method.teachers:
        ema = _average(ema, weights, teacher.decay(clock))
    if memory is not None:
        memory = method.update(memory, observations, weights, clock)
    return ema, memory


def make_train_step(
    network: Network,
    method: Method,
    optimizer: optax.GradientTransformationExtraArgs,
    schedule: optax.Schedule,
    mesh: Mesh,
    *,
    num_steps: int,
    steps_per_epoch: int,
    accumulation: int = 1,
    max_skipped: int = 0,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """The jitted step `(state, batch) -> (state, scalars)`; the state is donated.

    Args:
        network: The split network.
        method: The method.
        optimizer: One of `training.optimizer`, whose update takes choices.
        schedule: Learning rate by step, used only for logging.
        mesh: Mesh with the axis 'data', over which the rows of the batch are spread.
        num_steps: Length of the run, for the method's clock.
        steps_per_epoch: Length of an epoch, for the method's clock.
        accumulation: Number of parts that a batch is split into. Each has its own batch statistics,
            hard pixels and key; without these, several parts give the same result as one.
        max_skipped: Number of steps in a row that may have a non-finite loss or gradient; they
            are skipped. The next one ends the training: the state stays as it was before that step
            and records its number in `bad_step`.

    Returns:
        The step. It takes batches of the input pipeline. Its scalars are 'loss', the method's
        terms, 'learning_rate', 'gradient_norm' and, if steps may be skipped, 'skipped_steps' (their
        number so far). All are global, for any number of devices.

    Raises:
        ValueError: If a batch is to be split but the method needs whole batches, or if it has
            more than one teacher.
    """
    _check(method, accumulation)

    def train_step(state: TrainState, batch: Batch):
        key = jax.random.fold_in(state.rng, state.step)
        clock = Clock(state.step, steps_per_epoch, num_steps)
        ema, memory = method.on_duty(state.ema, state.memory, clock)
        begun = state.replace(ema=ema, memory=memory)
        found, stats = _accumulate(network, method, begun, batch, clock, key, accumulation, mesh)
        scalars = {
            "loss": found.loss,
            **found.terms,
            "learning_rate": jnp.asarray(schedule(state.step)),
            "gradient_norm": optax.tree.norm(found.params),
        }
        verdict = judge(state, scalars, max_skipped)
        weights, opt_state = _optimized(network, optimizer, state, found.params, stats, verdict)
        moved = network.trained(weights)
        ema, memory = _followed(method, begun, moved, found.observations, clock)
        new = state.replace(
            step=verdict.advance(state.step + 1, state.step),
            weights=weights,
            ema=verdict.choose(ema, state.ema),
            opt_state=opt_state,
            memory=verdict.choose(memory, state.memory),
            **verdict.noted(state, scalars),
        )
        if max_skipped:
            scalars["skipped_steps"] = new.skipped
        return new, scalars

    replicated, rows = (
        NamedSharding(mesh, spec) for spec in (PartitionSpec(), PartitionSpec("data"))
    )
    return jax.jit(
        train_step,
        donate_argnums=0,
        in_shardings=(replicated, rows),
        out_shardings=(replicated, replicated),
    )
