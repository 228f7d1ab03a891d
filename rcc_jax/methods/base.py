"""The complete interface between a training method and the trainer.

A method is one frozen dataclass in one file, whose fields are those of `config.method`. State with
a gradient is part of the network, state without one of the memory; see docs/extending.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from rcc_jax.methods.fields import ema_option, ramped

if TYPE_CHECKING:
    from flax import nnx
    from jax import Array

Batch = Mapping[str, Mapping[str, "Array"]]
PyTree = Any


@dataclasses.dataclass(frozen=True)
class Views:
    """The views that the input pipeline draws of an unlabelled image.

    Attributes:
        strong: Number of strong views, 1 or 2, each with its own CutMix box.
        recipe: Colour changes of the strong views, a name in `photometric.RECIPES`.
        box: Distribution of the CutMix boxes, a name in `boxes.BOXES`; 'none': no partner.
    """

    strong: int = 2
    recipe: str = "unimatch"
    box: str = "unimatch"


class Clock(NamedTuple):
    """The progress of the training. Ramps are functions of it, so that resuming is exact.

    Attributes:
        step: Number of finished steps, a traced int32 scalar.
        steps_per_epoch, num_steps: Length of an epoch and of the run in steps.
    """

    step: Array
    steps_per_epoch: int
    num_steps: int


@dataclasses.dataclass(frozen=True)
class Teacher:
    """An exponential moving average (EMA) of the student's weights and BatchNorm statistics.

    Attributes:
        decay: The weight of the old average in a step, as a function of the clock.
        labels: Whether `nets.teacher` uses the average; if not, it is only evaluated.
    """

    decay: Callable[[Clock], Array]
    labels: bool = True


class Student(Protocol):
    """The network in training mode; each call updates the BatchNorm statistics in turn."""

    module: nnx.Module

    def __call__(self, images: Array) -> Array:
        """Logits [B, H, W, K] of uint8 images [B, H, W, 3]."""

    def member(self, name: str) -> Student:
        """A member of the module, such as a network that a method has added."""

    def encode(self, images: Array) -> PyTree:
        """Features of uint8 images, every leaf [B, ...]."""

    def decode(self, features: PyTree, size: tuple[int, int]) -> Array:
        """Logits [B, H, W, K] of features, at a size (H, W)."""


class Networks(Protocol):
    """The networks that a loss may use."""

    student: Student

    @property
    def second(self) -> Student:
        """The second network of a `Pair`, in training mode."""

    def teacher(self, images: Array) -> Array:
        """Logits of the EMA teacher, else the student, in evaluation mode without a gradient."""

    def read_teacher(self, images: Array, function: Callable[[Any, Array], PyTree]) -> PyTree:
        """A function of the teacher's `Method.network` and the normalised images, no gradient."""

    def probe(self, source: str | PyTree, images: Array) -> Array:
        """Logits in evaluation mode, without a gradient.

        Args:
            source: 'student', 'ema' or the 'second' network, with the weights before the step; or
                weights that the memory holds, as `Method.memory` and `Method.update` get them.
            images: uint8 [B, H, W, 3].
        """


class Result(NamedTuple):
    """The result of a batch, or of a part of one.

    Attributes:
        loss: Scalar to differentiate.
        terms: Scalars to log, by the names in `Method.terms`. A step is skipped if one called
            'loss_*' is not finite. Terms are added up over the parts of a batch.
        observations: What `Method.update` needs of the whole batch, on all devices. A pytree of
            sums and counts if the method accumulates: it is added up over the parts of a batch.
    """

    loss: Array
    terms: dict[str, Array]
    observations: PyTree = ()


@dataclasses.dataclass(frozen=True)
class Method:
    """A training method: its settings, and the loss that it computes from a batch.

    Class attributes:
        name: Its name in `config.method.name`.
        summary: One line for tables of methods.
        reference: Where the method was published.
        views: Views of the unlabelled images. None to train on labelled images only; a step then
            takes twice as many of them.
        ema_rule: The decay as a function of the clock, from `ema_decay`: `ramped`, `constant` or
            `copied_first`.
        ema_labels: Whether the EMA teacher labels; if not, it is only evaluated.
        labeled_by: The network of the module that labels what `main` learns, for pictures: 'main',
            or the 'second' one of a `models.pair.Pair`.
        recipe_threshold: Whether the recipe of a data set sets `confidence_threshold`. False if it
            masks no pixels, changes with the training, or is the same for all data.
        recipes: Values of fields that replace those of a data set's recipe, by its name.
        accumulates: Whether a batch may be split into parts. False for a loss that depends on
            statistics of the whole batch.
        least_images: Fewest unlabelled images of such a part.
        stages: The list for `--mode=sweep` whose earlier stages make the pseudo masks
            (`config.data.pseudo`) that the method trains on; '' if it needs none.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    reference: ClassVar[str]
    views: ClassVar[Views | None] = None
    ema_rule: ClassVar[staticmethod] = staticmethod(ramped)
    ema_labels: ClassVar[bool] = True
    labeled_by: ClassVar[str] = "main"
    recipe_threshold: ClassVar[bool] = True
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    accumulates: ClassVar[bool] = True
    least_images: ClassVar[int] = 1
    stages: ClassVar[str] = ""

    ema_decay: float = ema_option(0.0)

    @classmethod
    def recipe(cls, data: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """The `recipes` of a data set; a method whose values depend on other fields overrides it.

        Args:
            data: Name of the data set.
            given: Values of the method's fields; an absent or empty one stands for the default.
        """
        return cls.recipes.get(data, {})

    @property
    def strong_views(self) -> int:
        """Number of strong views per unlabelled image; 0 without unlabelled images."""
        return self.views.strong if self.views else 0

    @property
    def labeled_per_unlabeled(self) -> int:
        """Labelled images per unlabelled one in a step; 2 if there are no unlabelled images."""
        return 1 if self.views else 2

    @property
    def pseudo_images(self) -> str:
        """Which images of `config.data.pseudo` join the labelled ones: 'all', 'reliable', or ''."""
        return ""

    @property
    def teachers(self) -> tuple[Teacher, ...]:
        """The EMA teachers; at most one at a time, see `on_duty`."""
        if not self.ema_decay:
            return ()
        return (Teacher(self.ema_rule(self.ema_decay), labels=self.ema_labels),)

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the scalars in `Result.terms`."""
        raise NotImplementedError

    def faults(self, num_classes: int | None) -> Iterator[str]:
        """Yields a message for each reason why the fields do not fit each other or the classes.

        Args:
            num_classes: Number of classes K; None if it is not known yet.
        """
        yield from ()

    def threshold(self, memory: PyTree | None) -> float:
        """The confidence from which pseudo labels count, for pictures; 0 if it decides nothing."""
        return 0.0

    def shown(self, logits: Array, memory: PyTree | None) -> Array:
        """The teacher's logits [B, H, W, K] as pseudo labels are made from them, for pictures."""
        return logits

    def network(self, make: Callable[..., nnx.Module], rngs: nnx.Rngs) -> nnx.Module:
        """The module to train.

        A method that adds a head returns a module with two members: the head, and as `main` the
        network itself, which predicts, is exported and takes pretrained weights. The module then
        has the methods `encode`, `decode` and `__call__(images, *, train)`.

        A method with two networks returns a `models.pair.Pair` of `main` and `second`. The second
        takes the encoder that `main` starts from and keeps a decoder of its own. If it has another
        backbone, the method has the fields `second_backbone` and `second_pretrained`, which name
        that and its own first weights; crops are then multiples for both.

        Args:
            make: Makes the configured network, or with a name as `backbone` one with that encoder.
            rngs: Source of the initial values.
        """
        return make(rngs)

    def memory(self, weights: PyTree, num_classes: int, key: Array) -> PyTree | None:
        """The initial state that is carried from step to step without a gradient, or None.

        It consists of arrays of fixed shapes, is part of the checkpoint and the same on every
        device. A skipped step does not change it.

        Args:
            weights: The initial weights of the student, without those of a frozen encoder.
            num_classes: Number of classes K.
            key: Key for random initial values.
        """
        return None

    def on_duty(self, averaged: PyTree, memory: PyTree, clock: Clock) -> tuple[PyTree, PyTree]:
        """The EMA teacher and the memory with which a step begins.

        A method whose EMA teachers take turns keeps the resting ones in its memory, and exchanges
        them here. The one that it returns labels and follows the student in this step, and is
        evaluated after it. A skipped step undoes the exchange.

        Args:
            averaged: The EMA teacher after the previous step, without a frozen encoder, or None.
            memory: The memory after the previous step.
            clock: The clock of the step.
        """
        return averaged, memory

    def counts(self, batch: Batch) -> PyTree:
        """Denominators of the loss over the WHOLE batch; known before the forward passes."""
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
            batch: Global rows of the streams 'labeled' ('image', 'label') and, if the method has
                `views`, 'unlabeled' ('weak', 'strong1', ..., 'valid', 'boxes') and, if they have
                boxes, 'partner' (the CutMix partner: 'weak', 'strong1', ..., 'valid').
            memory: The memory after the previous step.
            counts: `counts` of the whole batch.
            parts: Number of parts that the batch is split into; `batch` is one of them.
            clock: The clock of the step.
            key: Key for the random draws of this part.
        """
        raise NotImplementedError

    def update(self, memory: PyTree, observations: PyTree, weights: PyTree, clock: Clock) -> PyTree:
        """The memory after a step; called once, after the optimizer.

        Args:
            memory: The memory before the step.
            observations: Those of the whole batch.
            weights: The new weights of the student, without those of a frozen encoder.
            clock: The clock of the step.
        """
        return memory
