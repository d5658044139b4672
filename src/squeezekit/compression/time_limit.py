"""When a compression is to be done, and how many epochs of training that leaves to a round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from squeezekit.system.console import clock, say

# Without --minutes: so long where an epoch of a round takes REFERENCE_EPOCH seconds or less, and longer as it takes longer.
DEFAULT_MINUTES, REFERENCE_EPOCH = 5.0, 10.0
# Of the time: for PTQ at most, where training can follow; and for everything before the last file is made.
PTQ_SHARE, USED = 0.4, 0.95
# A round of a smaller share of its epochs only loses accuracy.
LEAST_OF_A_ROUND = 0.15


@dataclass
class TimeLimit:
    """`minutes` for everything; None: by the time that an epoch takes, which `timed` measures, or none unless `limited`.

    `epochs` is the most that a round has.
    """

    minutes: float | None
    epochs: int
    timed: Callable[[], float]
    limited: bool = True
    _epoch: float | None = None

    def ptq_is_over(self, elapsed: float) -> bool:
        """Whether PTQ that has a candidate should leave the rest of the time to training."""
        return bool(self.minutes) and elapsed > 60 * PTQ_SHARE * (self.minutes or 0)

    def over(self, elapsed: float) -> bool:
        """Whether no round can begin any more."""
        return self.minutes is not None and elapsed >= 60 * self.minutes

    def took(self, seconds: float, epochs: int) -> None:
        """Learn from a round how long an epoch takes."""
        if epochs:
            self._epoch = seconds / epochs

    def fitting_epochs(self, elapsed: float) -> int:
        """How many epochs the next round can have; 0 where that would be too few."""
        if self.minutes is None and not self.limited:
            return self.epochs
        self._epoch = self._epoch or self.timed()
        if self.minutes is None:
            self.minutes = DEFAULT_MINUTES * max(self._epoch / REFERENCE_EPOCH, 1)
            say(f"an epoch takes about {clock(self._epoch)}: done after {clock(60 * self.minutes)} (--minutes)")
        fit = int((USED * 60 * self.minutes - elapsed) / self._epoch)
        return min(fit, self.epochs) if fit >= max(LEAST_OF_A_ROUND * self.epochs, 1) else 0

    def left(self, elapsed: float) -> str:
        """What is left of the time, to be said after something else; nothing where there is no limit."""
        return "" if self.minutes is None else f", {clock(max(60 * self.minutes - elapsed, 0))} left"
