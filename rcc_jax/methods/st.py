"""ST: training on labels and on the pseudo masks that an earlier run predicted."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from rcc_jax.methods.supervised import Supervised


@dataclasses.dataclass(frozen=True)
class ST(Supervised):
    """The mean cross-entropy of a batch of labelled and pseudo-labelled images.

    Self-training in stages, with files between them; `configs/sweeps/stpp.py` lists them.

    1. A supervised run is the teacher.
    2. It labels every unlabelled image once: the sum of its probabilities over five scales and the
       mirror image; every pixel gets the most likely class, without a threshold.
    3. A new network trains on labels and pseudo masks alike. Pseudo-labelled images get strong
       colour changes, and with probability 1/2 a box of noise without labels. The labelled list is
       repeated to the length of the other, so about half of a batch is labelled.

    Unlike the authors' code: the data set's own crops and scales, and global BatchNorm statistics
    (theirs are per GPU); the last checkpoint labels, not the best one on the validation images
    (`checkpoint=best` of the list does that); a short labelled list is not doubled in stage 1; on
    Cityscapes the supervised run of stage 1 uses OHEM, as the baseline there does.
    """

    name: ClassVar[str] = "st"
    summary: ClassVar[str] = "labels and pseudo masks of an earlier run, in stages"
    reference: ClassVar[str] = "the baseline of Yang et al., CVPR 2022, arXiv 2106.05095"
    # OHEM would choose the pixels at which the pseudo masks are most likely wrong.
    recipes: ClassVar = {"cityscapes": {"labeled_loss": "ce"}}
    stages: ClassVar[str] = "configs/sweeps/stpp.py"

    @property
    def pseudo_images(self) -> str:
        return "all"
