"""RCC: UniMatch whose teacher and student rank the pairs of classes alike."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from rcc_jax.methods.unimatch import UniMatch
from rcc_jax.methods.with_consensus import consensus_option


@dataclasses.dataclass(frozen=True)
class RCC(UniMatch):
    """(L_x + L_reg + lambda * L_RCC) / 2 (eq. 12), where L_x + L_reg are UniMatch's.

    L_RCC compares the soft ranks of the consensus instead of the consensus itself (eq. 9 to 11).
    The same as `unimatch` with consensus=rank.
    """

    name: ClassVar[str] = "rcc"
    summary: ClassVar[str] = "UniMatch + relaxed agreement: the same ranks of class pairs"
    reference: ClassVar[str] = "Mai, Sun, Wu, AAAI 2025, DOI 10.1609/aaai.v39i6.32646"

    consensus: str = consensus_option("rank", ("rank",))
