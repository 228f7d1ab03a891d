"""CC: UniMatch whose teacher and student agree on the class consensus itself."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from rcc_jax.methods.unimatch import UniMatch
from rcc_jax.methods.with_consensus import consensus_option


@dataclasses.dataclass(frozen=True)
class CC(UniMatch):
    """(L_x + L_reg + lambda * L_CC) / 2, where L_x + L_reg are UniMatch's.

    L_CC compares the class consensus J of teacher and student (eq. 4 to 8), averaged over the
    pixels of each strong view and over the two views. CutMix is applied to the teacher's logits as
    to the strong view. The same as `unimatch` with consensus=l2.
    """

    name: ClassVar[str] = "cc"
    summary: ClassVar[str] = "UniMatch + strict agreement on the class consensus"
    reference: ClassVar[str] = "Mai, Sun, Wu, AAAI 2025, equation 8"

    consensus: str = consensus_option("l2", ("l2", "ce", "kl"))
