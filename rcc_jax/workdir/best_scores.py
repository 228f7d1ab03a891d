"""The best evaluation of each protocol; no JAX."""

import math
from collections.abc import Mapping

# Names the best checkpoint of a protocol: best:whole.
BEST_OF = "best:"


class BestScores:
    """Compares the scores of one protocol with each other, and with no others.

    Attributes:
        best: Step and score of the best evaluation by protocol, the later one of equals.
        last_protocol: That of the last evaluation; None where there is none.
    """

    def __init__(
        self,
        best: Mapping[str | None, tuple[int, float]] | None = None,
        last_protocol: str | None = None,
    ):
        self.best = dict(best or {})
        self.last_protocol = last_protocol

    def note(self, step: int, protocol: str | None, score: float | None) -> None:
        """Takes an evaluation that is later than those before; None or nan is no score."""
        self.last_protocol = protocol
        if score is None or math.isnan(score):
            return
        if protocol not in self.best or score >= self.best[protocol][1]:
            self.best[protocol] = (step, score)

    def of(self, protocol: str | None) -> tuple[int | None, float | None]:
        """Step and score of the best evaluation of a protocol; None and None without one."""
        return self.best.get(protocol, (None, None))

    def change(self, protocol: str) -> str:
        """What to say where the next evaluation is of this protocol; '' where the last one was."""
        if self.last_protocol in (None, protocol):
            return ""
        line = f"evaluations are now '{protocol}' and no longer '{self.last_protocol}'"
        step, score = self.of(self.last_protocol)
        if step is not None:
            kept = f"--checkpoint={BEST_OF}{self.last_protocol}"
            line += f", whose best, {score:.2f} at step {step}, is kept as {kept}"
        step, score = self.of(protocol)
        if step is not None:
            return f"{line}; the best of the new ones so far is {score:.2f} at step {step}"
        return f"{line}; the best score starts anew"
