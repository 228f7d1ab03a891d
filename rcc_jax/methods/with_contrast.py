"""U2PL's representation head, memory of negatives and contrastive term, for methods that add it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from rcc_jax.methods.base import Method
from rcc_jax.methods.lazy import contrast, jax, jnp, losses, passes, representation, ring
from rcc_jax.options import option

if TYPE_CHECKING:
    from jax import Array

    from rcc_jax.methods.base import Clock, Networks
    from rcc_jax.methods.contrast import Doubt
    from rcc_jax.methods.ring import Push, Ring

# Share of the unlabelled pixels that count as unreliable in the first epoch.
UNRELIABLE = 0.2


class Teaching(NamedTuple):
    """What a teacher says of labelled and unlabelled images, whose rows alternate.

    Attributes:
        logits: [2 B, H, W, K].
        vectors: [2 B, h, w, D] of the head.
    """

    logits: Array
    vectors: Array


class Watched:
    """A student whose merged features are kept, call by call, for the head."""

    def __init__(self, student: Any):
        self.module = student.module
        self.merged: list[Array] = []
        self._student = student

    def __call__(self, images: Array) -> Array:
        return self.decode(self.encode(images), (images.shape[1], images.shape[2]))

    def encode(self, images: Array) -> Any:
        """As `Student.encode`."""
        return self._student.encode(images)

    def decode(self, features: Any, size: tuple[int, int]) -> Array:
        """As `Student.decode`."""
        self.merged.append(self.module.main.merge(features, train=True))
        return self.module.main.classify(self.merged[-1], size, train=True)


@dataclasses.dataclass(frozen=True)
class WithContrast(Method):
    """The fields and the term L_c of U2PL.

    For a class c that pixels of the batch have,

        l_c = mean over anchors a of -log(e(a, m_c) / (e(a, m_c) + sum over negatives n of e(a, n)))

    with e(a, b) = exp(cos(a, b) / 0.5), and L_c is the mean of l_c. With H the entropy of the
    teacher's probabilities and a share s of the unlabelled pixels, which falls from 0.2 to 0 in
    steps of epochs: anchors are the student's vectors of pixels of (pseudo) label c that are
    labelled, or whose H is in the lowest share s, and of which the teacher gives c more than 0.3;
    m_c is the mean of the teacher's vectors of such pixels whatever that probability. Negatives
    are teacher's vectors of pixels that are surely not of class c: labelled ones of another class
    which the teacher takes for c as its first to third guess, and unlabelled ones with H in the
    highest share s and c as the fourth to twentieth guess. The newest `queue_size` of a class are
    kept. A class has 256 anchors a step with 50 negatives each.

    The authors' code differs from the paper in two ways, which `contrast_rule='released'` repeats:
    no labelled pixel is ever a negative and unlabelled ones are only if their own pseudo label is
    c; and anchors of the i-th class meet the negatives of the i-th class in the batch, so that most
    classes are not trained. Here, at most 1024 new negatives of a class enter its memory in a step,
    as directions in bfloat16; there, all of them. There, class 0 keeps 50,000 instead of 30,000.
    """

    # A step reads the percentiles, means and negatives of its own batch.
    accumulates: ClassVar[bool] = False

    contrast_weight: float = option(
        0.1,
        "Weight w of the contrastive term.",
        at_least=0,
        short="contrast",
        symbol="w_c",
    )
    contrast_rule: str = option(
        "paper",
        "Negatives of the contrastive term: those of the 'paper', or those that the 'released' "
        "code of its authors finds.",
        choices=("paper", "released"),
        short="rule",
    )
    queue_size: int = option(
        30_000,
        "Number of negatives that are kept per class; each takes 512 bytes on every device and in "
        "every checkpoint.",
        at_least=1,
        short="queue",
        symbol="queue",
    )

    @property
    def terms(self) -> tuple[str, ...]:
        return (*super().terms, "loss_contrast")

    def network(self, make, rngs):
        return representation.WithRepresentation(make(rngs), rngs)

    def memory(self, weights, num_classes: int, key) -> Ring:
        return ring.empty(num_classes, self.queue_size, representation.FEATURES)

    def update(self, memory, observations, weights, clock) -> Ring:
        return ring.pushed(memory, observations)

    def teaching(self, nets: Networks, images: Array) -> Teaching:
        """The teacher in evaluation mode, with its head."""
        return Teaching(*nets.read_teacher(images, representation.evaluated))

    def unreliable(self, clock: Clock) -> Array:
        """The share s of unlabelled pixels that count as unreliable in this epoch."""
        epoch = clock.step // clock.steps_per_epoch
        done = jnp.minimum(epoch * clock.steps_per_epoch / clock.num_steps, 1)
        return UNRELIABLE * (1 - done)

    def contrast(
        self,
        student: Array,
        teaching: Teaching,
        labels: Array,
        pseudo_labels: Array,
        doubt: Doubt,
        memory: Ring,
        key: Array,
    ) -> tuple[Array, Push]:
        """L_c and the new negatives.

        Args:
            student: [2 B, h, w, D] vectors of labelled and unlabelled images, whose rows alternate.
            teaching: The teacher of the same images.
            labels: [B, H, W] classes of the labelled images, 255 = ignored.
            pseudo_labels: The same of the unlabelled ones.
            doubt: The entropy of the unlabelled images.
            memory: The negatives of earlier steps.
            key: Key for the draws.
        """
        known = labels != losses.IGNORED
        every = jnp.ones_like(known)
        wide = contrast.Pixels(
            passes.interleave(labels, pseudo_labels),
            passes.interleave(every, ~every),
            *(passes.interleave(known, each) for each in doubt),
            teaching.logits,
        )
        pixels = jax.tree.map(lambda x: _flat(representation.at_quarter(x), x.ndim - 3), wide)
        student, teacher = (_flat(x, 1) for x in (student, teaching.vectors))
        found = contrast.parts(pixels, self.contrast_rule)
        of_push, of_loss = jax.random.split(key)
        most = min(contrast.PUSHED, self.queue_size)
        push = contrast.new_negatives(found, teacher, most, of_push)
        loss = contrast.loss(student, teacher, found, memory, push, of_loss, self.contrast_rule)
        return loss, push


def _flat(x: Array, last_axes: int) -> Array:
    """[B, h, w] or [B, h, w, C] as [N] or [N, C]."""
    return x.reshape(-1, *x.shape[x.ndim - last_axes :])
