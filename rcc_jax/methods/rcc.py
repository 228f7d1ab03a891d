"""RCC: UniMatch whose teacher and student rank the pairs of classes alike."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from rcc_jax.methods.cc import CC
from rcc_jax.methods.lazy import consensus
from rcc_jax.options import option

if TYPE_CHECKING:
    from jax import Array


@dataclasses.dataclass(frozen=True)
class RCC(CC):
    """(L_x + L_reg + lambda * L_RCC) / 2 (eq. 12): the relaxed form of CC.

    L_RCC compares the soft ranks of the consensus instead of the consensus itself (eq. 9 to 11).
    """

    name: ClassVar[str] = "rcc"
    summary: ClassVar[str] = "UniMatch + relaxed agreement: the same ranks of class pairs"
    reference: ClassVar[str] = "Mai, Sun, Wu, AAAI 2025, DOI 10.1609/aaai.v39i6.32646"

    consensus_kind: str = option(
        "rank",
        "How two consensus vectors are compared: by their soft ranks.",
        choices=("rank",),
        short="kind",
    )
    temperature: float = option(
        1.0, "Temperature tau of the soft ranks.", above=0, short="tau", symbol="tau"
    )

    def pixel_consensus(self, teacher: Array, student: Array) -> Array:
        return consensus.pixel_rcc_loss(
            teacher, student, top_n=self.top_n, temperature=self.temperature
        )
