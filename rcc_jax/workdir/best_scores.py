"""The best evaluation of each protocol. No JAX."""

import math
from collections.abc import Mapping

# Prefix of the name of a protocol's best checkpoint, as in best:whole.
BEST_OF = "best:"


class BestScores:
    """The best score of each protocol; scores of different protocols are never compared.

    Attributes:
        best: Step and score of the best evaluation, by protocol; of equal scores the later one.
        last_protocol: Protocol of the last evaluation; None before the first.
    """

    def __init__(
        self,
        best: Mapping[str | None, tuple[int, float]] | None = None,
        last_protocol: str | None = None,
    ):
        self.best = dict(best or {})
        self.last_protocol = last_protocol

    def note(self, step: int, protocol: str | None, score: float | None) -> None:
        """Adds an evaluation, later than all before it; a score of None or nan does not count."""
        self.last_protocol = protocol
        if score is None or math.isnan(score):
            return
        if protocol not in self.best or score >= self.best[protocol][1]:
            self.best[protocol] = (step, score)

    def of(self, protocol: str | None) -> tuple[int | None, float | None]:
        """Step and score of the best evaluation of a protocol; None and None without one."""
        return self.best.get(protocol, (None, None))

    def change(self, protocol: str) -> str:
        """A message if the next evaluation uses another protocol than the last one, else ''."""
        if self.last_protocol in (None, protocol):
            return ""
        line = f"evaluations are now '{protocol}' and no longer '{self.last_protocol}'"
        step, score = self.of(self.last_protocol)
        if step is not None:
            kept = f"--checkpoint={BEST_OF}{self.last_protocol}"
            line += f", whose best, {score:.2f} at step {step}, is kept as {kept}"
        step, score = self.of(protocol)
        if step is not None:
            return f"{line}; the best new score so far is {score:.2f} at step {step}"
        return f"{line}; the best score starts anew"
