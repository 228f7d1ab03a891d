"""ST++: ST that begins with the images on which earlier copies of the teacher agree."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from rcc_jax.methods.st import ST
from rcc_jax.options import option


@dataclasses.dataclass(frozen=True)
class STPP(ST):
    """ST in two rounds, the reliable half of the unlabelled images first.

    The teacher keeps copies after 1/3, 2/3 and all of its steps. An image is as reliable as the
    first two agree with the last: the mean of mIoU(copy 1, copy 3) and mIoU(copy 2, copy 3), each
    over the classes that occur in either map (section 3.3). The teacher labels the reliable half,
    a second network trains on it (`images=reliable`) and labels the other half, and a third one
    trains on all images (`images=all`), which is the result.

    Unlike the authors' code, besides what `ST` names: copies are kept after thirds of the steps,
    not of the epochs, which is the same up to an epoch.
    """

    name: ClassVar[str] = "stpp"
    summary: ClassVar[str] = "ST in two rounds, the images with stable predictions first"
    reference: ClassVar[str] = "Yang et al., CVPR 2022, arXiv 2106.05095"

    images: str = option(
        "all",
        "The pseudo-labelled images: 'all', or the 'reliable' half, which is the second of the "
        "three trainings.",
        choices=("all", "reliable"),
        short="images",
    )

    @property
    def pseudo_images(self) -> str:
        return self.images
