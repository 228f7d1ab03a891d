"""Mean Teacher: the student repeats the probabilities of its own average."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from rcc_jax.methods.base import Result, Views
from rcc_jax.methods.fields import consistency_option, constant, ema_option
from rcc_jax.methods.lazy import jnp, losses, passes
from rcc_jax.methods.supervised import Supervised

if TYPE_CHECKING:
    from jax import Array


class Counts(NamedTuple):
    """Numbers of labelled pixels, and of labelled and valid unlabelled ones."""

    labeled: Array
    all: Array


@dataclasses.dataclass(frozen=True)
class MeanTeacher(Supervised):
    """L_x + w * L_mt, where L_mt is the squared difference of the probabilities.

    L_mt is the mean over the classes and over the pixels of labelled and unlabelled images. Both
    networks see the same weak view, so the weights are the only perturbation. This is the 'MT' row
    of most tables, whose source is the code of CPS. There, the teacher is in training mode with
    BatchNorm statistics of its own; here it is in evaluation mode with the averaged statistics, and
    padding does not count. There, the teacher is averaged before the step's update, here after it.
    There, the student is evaluated. Here, both are, and tables, prediction and export take the
    teacher.
    """

    name: ClassVar[str] = "mean_teacher"
    summary: ClassVar[str] = "the probabilities of an EMA teacher on the same view"
    reference: ClassVar[str] = "Tarvainen and Valpola, NeurIPS 2017; code of CPS, CVPR 2021"
    # The pipeline draws at least one strong view; this one is the weak view itself.
    views: ClassVar[Views] = Views(strong=1, recipe="none", box="none")
    recipes: ClassVar = {"cityscapes": {"ohem_min_kept": 50_000}}  # Those of CPS.
    ema_rule: ClassVar[staticmethod] = staticmethod(constant)

    ema_decay: float = ema_option(0.99)
    consistency_weight: float = consistency_option(100.0)

    @property
    def terms(self) -> tuple[str, ...]:
        return ("loss_labeled", "loss_consistency")

    def counts(self, batch) -> Counts:
        labeled = passes.labels(batch) != losses.IGNORED
        valid = batch["unlabeled"]["valid"]
        return Counts(passes.count(labeled), passes.count(jnp.stack([labeled, valid])))

    def loss(self, nets, batch, memory, *, counts, parts, clock, key) -> Result:
        x, u = batch["labeled"]["image"], batch["unlabeled"]["weak"]
        both = passes.interleave(x, u)
        labeled, weak = passes.separate(nets.student(both))
        of_labeled, of_weak = passes.separate(nets.teacher(both))
        labels = passes.labels(batch)
        supervised = self.labeled_term(labeled, labels, counts, parts)
        found = losses.masked_sum(
            losses.squared_difference(labeled, of_labeled), labels != losses.IGNORED
        ) + losses.masked_sum(losses.squared_difference(weak, of_weak), batch["unlabeled"]["valid"])
        consistency = found / counts.all / labeled.shape[-1]
        terms = {"loss_labeled": supervised, "loss_consistency": consistency}
        return Result(supervised + self.consistency_weight * consistency, terms)
