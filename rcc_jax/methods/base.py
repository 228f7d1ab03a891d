"""The whole contract between a training method and the trainer.

A method is one frozen dataclass in one file. Its fields are the fields `config.method.*`; its
`loss` reads like the paper. What has a gradient is a member of the network, what has none lives in
the memory. docs/extending.md writes a new method step by step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from rcc_jax.methods.lazy import jnp
from rcc_jax.options import option

if TYPE_CHECKING:
    from flax import nnx
    from jax import Array

Batch = Mapping[str, Mapping[str, "Array"]]
PyTree = Any


@dataclasses.dataclass(frozen=True)
class Views:
    """What the input pipeline draws for an unlabelled image.

    Attributes:
        strong: Number of strong views, 1 or 2, each with another CutMix box.
        recipe: Colour changes of the strong views, a name of
            `input_pipeline.batches.photometric.RECIPES`.
        box: Law of the CutMix boxes, a name of `input_pipeline.batches.views.BOXES`.
    """

    strong: int = 2
    recipe: str = "unimatch"
    box: str = "unimatch"


class Clock(NamedTuple):
    """Where the training stands. Ramps and schedules are functions of it, so resuming is exact.

    Attributes:
        step: Number of finished steps, an int32 scalar that is traced.
        steps_per_epoch, num_steps: Length of an epoch and of the run in steps.
    """

    step: Array
    steps_per_epoch: int
    num_steps: int


@dataclasses.dataclass(frozen=True)
class Teacher:
    """An average of the student's weights and BatchNorm statistics over the steps (EMA).

    Attributes:
        decay: The share of the old average that stays after a step, as a function of the clock.
        labels: Whether `nets.teacher` uses it. Otherwise it is only evaluated.
    """

    decay: Callable[[Clock], Array]
    labels: bool = True


class Student(Protocol):
    """The network in training mode; BatchNorm statistics move with every call, in that order."""

    module: nnx.Module

    def __call__(self, images: Array) -> Array:
        """Logits [B, H, W, K] of uint8 images [B, H, W, 3]."""

    def encode(self, images: Array) -> PyTree:
        """Features of uint8 images, every leaf [B, ...]."""

    def decode(self, features: PyTree, size: tuple[int, int]) -> Array:
        """Logits [B, H, W, K] of features, at a size (H, W)."""


class Networks(Protocol):
    """What a loss may pass images through."""

    student: Student

    def teacher(self, images: Array) -> Array:
        """Logits of the EMA teacher, else of the student; evaluation mode, without a gradient."""

    def probe(self, name: str, images: Array) -> Array:
        """Logits of 'student' or 'ema' before the step; evaluation mode, without a gradient."""


class Result(NamedTuple):
    """What a batch, or a part of one, comes to.

    Attributes:
        loss: Scalar that is differentiated.
        terms: Scalars to log, by the names in `Method.terms`. Those called 'loss_*' are watched: a
            step in which one is not finite changes nothing. Terms of the parts of a batch are
            added up.
        observations: Sums and counts for `Method.update`, a pytree that is added up over the parts
            of a batch; over devices they are global already.
    """

    loss: Array
    terms: dict[str, Array]
    observations: PyTree = ()


@dataclasses.dataclass(frozen=True)
class Method:
    """A training method: its fields as plain numbers, and what it computes from a batch.

    Class attributes:
        name: As in `config.method.name`.
        summary: One line for tables of methods.
        reference: Where the method was published.
        views: What is drawn for unlabelled images; None for labelled images alone, of which a
            step then takes twice as many.
        accumulates: Whether a batch may be split into parts. False for a loss that depends on
            statistics of the whole batch.
        min_classes: The fewest classes that it makes sense for.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    reference: ClassVar[str]
    views: ClassVar[Views | None] = None
    accumulates: ClassVar[bool] = True
    min_classes: ClassVar[int] = 2

    ema_decay: float = option(
        0.0,
        "Decay of the EMA teacher, for example 0.996; 0 = no such teacher, the student labels.",
        at_least=0,
        below=1,
        short="ema",
        symbol="EMA",
    )

    @property
    def strong_views(self) -> int:
        """Strong views of an unlabelled image; 0 without unlabelled images."""
        return self.views.strong if self.views else 0

    @property
    def labeled_per_unlabeled(self) -> int:
        """Labelled images a step for each unlabelled one; alone they are twice as many."""
        return 1 if self.views else 2

    @property
    def teachers(self) -> tuple[Teacher, ...]:
        """The averages that are kept; at most one is supported."""
        return (Teacher(ramped(self.ema_decay)),) if self.ema_decay else ()

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the scalars in `Result.terms`."""
        raise NotImplementedError

    def faults(self, num_classes: int | None) -> Iterator[str]:
        """Reasons why fields do not fit each other or the classes, as messages.

        Args:
            num_classes: Number of classes K; None where it is not known yet.
        """
        if num_classes is not None and num_classes < self.min_classes:
            yield (
                f"config.method.name = {self.name!r} compares pairs of classes and needs at least "
                f"{self.min_classes} classes, but config.data.num_classes = {num_classes}; use "
                "config.method.name=unimatch."
            )

    def network(self, make: Callable[[nnx.Rngs], nnx.Module], rngs: nnx.Rngs) -> nnx.Module:
        """The module that is trained.

        Another head is another member of it: then the module has the network itself as the member
        `main`, which predicts, is exported and takes pretrained weights, and it has the methods
        `encode` and `decode` and `__call__(images, *, train)`.

        Args:
            make: Makes the configured network.
            rngs: Source of the initial values.
        """
        return make(rngs)

    def memory(self, weights: PyTree, num_classes: int, key: Array) -> PyTree | None:
        """What is kept from step to step without a gradient, or None.

        Arrays of fixed shapes; they are part of the checkpoint, the same on every device, and stay
        as they are in a step that is skipped.

        Args:
            weights: The initial weights of the student.
            num_classes: Number of classes K.
            key: For random initial values.
        """
        return None

    def counts(self, batch: Batch) -> PyTree:
        """Denominators of the loss, known before the passes, over the WHOLE batch."""
        raise NotImplementedError

    def loss(
        self,
        nets: Networks,
        batch: Batch,
        memory: PyTree | None,
        *,
        counts: PyTree,
        parts: int,
        clock: Clock,
        key: Array,
    ) -> Result:
        """The loss of a batch.

        Args:
            nets: The networks.
            batch: Global rows of the streams 'labeled' ('image', 'label'), and with `views`
                'unlabeled' ('weak', 'strong1', ..., 'valid', 'boxes') and 'partner' (the CutMix
                partner: 'weak', 'strong1', ..., 'valid').
            memory: Of the step before.
            counts: `counts` of the whole batch.
            parts: Number of parts that the batch is split into; `batch` is one of them.
            clock: Of the step.
            key: For random draws of this part.
        """
        raise NotImplementedError

    def update(self, memory: PyTree, observations: PyTree, weights: PyTree, clock: Clock) -> PyTree:
        """The memory after a step; called once, after the optimizer.

        Args:
            memory: Of the step before.
            observations: Sums over the whole batch.
            weights: The new weights of the student.
            clock: Of the step.
        """
        return memory


def ramped(decay: float) -> Callable[[Clock], Array]:
    """A decay that starts at 0 and grows: at first a plain mean, which forgets the random start."""

    def at(clock: Clock) -> Array:
        return jnp.minimum(decay, 1 - 1 / (clock.step + 1))

    return at
