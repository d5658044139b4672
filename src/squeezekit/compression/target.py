"""The target of a compression, and which rate weight to try next to meet it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from squeezekit.modelfile.sqz import Stage
from squeezekit.system.errors import SqueezekitError

MAX_ROUNDS = 10
# Points of accuracy.
FAR_TOO_MUCH = 10.0


class NextRound(NamedTuple):
    """The rate weight of a round of training, and the index of the round it starts from, None for the run itself."""

    rate_weight: float
    start: int | None


@dataclass(frozen=True)
class Target:
    """At most `max_drop` points of validation accuracy below `accuracy_before` (0…1), and at most `max_bytes` bytes.

    None means no limit. Raises SqueezekitError for limits that make no sense.
    """

    accuracy_before: float
    max_drop: float | None
    max_bytes: int | None

    def __post_init__(self) -> None:
        if self.max_drop is not None and not 0 <= self.max_drop <= 100:
            raise SqueezekitError(f"--max-drop {self.max_drop:g}: give points of accuracy, 0 to 100")
        if self.max_bytes is not None and self.max_bytes < 1:
            raise SqueezekitError(f"--max-bytes {self.max_bytes}: give a number of bytes, 1 or more")

    def drop(self, stage: Stage) -> float:
        """Points of accuracy lost."""
        return round(100 * (self.accuracy_before - stage.accuracy), 4)

    def met(self, stage: Stage) -> bool:
        """Whether a file meets the target."""
        return self.accurate_enough(stage) and not self.too_large(stage)

    def destroyed(self, stage: Stage) -> bool:
        """Whether far too much is lost for training to regain, whatever the target."""
        return self.drop(stage) > FAR_TOO_MUCH

    def answered(self, stage: Stage) -> bool:
        """Whether a file is of use: one that meets the target, or at least its size without being destroyed."""
        return not self.too_large(stage) and (not self.destroyed(stage) or (self.max_drop is not None and self.met(stage)))

    def too_large(self, stage: Stage) -> bool:
        """Whether there is a target size and a file exceeds it."""
        return self.max_bytes is not None and stage.bytes > self.max_bytes

    def accurate_enough(self, stage: Stage) -> bool:
        """Whether a file meets the target of accuracy."""
        return self.max_drop is None or self.drop(stage) <= self.max_drop

    def small_enough(self, stage: Stage) -> bool:
        """Whether there is a target size and a file meets it."""
        return self.max_bytes is not None and stage.bytes <= self.max_bytes

    def best(self, stages: Sequence[Stage], costs: Sequence[int] | None = None, losses: Sequence[float] | None = None) -> int:
        """The index of the best file.

        Of those that meet the target it is the smallest (by `costs`, if given), or with a target size the most accurate, or that
        of the least of `losses`. If none meets the target, it is the one that comes closest, one that is destroyed behind others.
        """

        def rank(index: int) -> tuple[float, ...]:
            stage = stages[index]
            useless = float(self.destroyed(stage) and not self.met(stage))
            excess = 0.0 if self.max_drop is None else max(self.drop(stage) - self.max_drop, 0.0)
            if self.max_bytes is not None:
                worse = -stage.accuracy if losses is None else losses[index]
                return (useless, max(stage.bytes - self.max_bytes, 0), excess, worse, stage.bytes)
            return (useless, excess, stage.bytes if costs is None else costs[index])

        return min(range(len(stages)), key=rank)

    def next_rate_weight(
        self, rounds: Sequence[tuple[float, Stage]], first: float, growth: float, reached: float = 0.0
    ) -> NextRound | None:
        """The next round of training, after `rounds` of (rate weight, stage); None when done.

        The rate weight begins with `first` and grows by the factor `growth` until a round goes too far: it loses too much
        accuracy, is small enough, or has no weight left that is not zero. Then it is once the geometric mean of the last two.
        Where the first round goes too far already, `reached`, at which no training is needed, stands for one before it.
        """
        far = [i for i, (_, stage) in enumerate(rounds) if self.too_far(stage)]
        not_far = [i for i in range(len(rounds)) if i not in far]
        start = max(not_far, key=lambda i: rounds[i][0], default=None)
        if len(rounds) >= MAX_ROUNDS or (far and len(rounds) > far[0] + 1):
            return None
        if not far:
            return NextRound(first if start is None else growth * rounds[start][0], start)
        first_far = rounds[far[0]][0]
        below = (reached or first_far / growth**2) if start is None else rounds[start][0]
        return NextRound(math.sqrt(first_far * below), start) if below < first_far else None

    def too_far(self, stage: Stage) -> bool:
        """Whether it makes no sense to quantise more coarsely."""
        return not self.accurate_enough(stage) or not stage.density or self.small_enough(stage)
