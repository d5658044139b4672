"""What a compressed file promises, and how hard to press to keep it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from squeezekit.modelfile.sqz import Stage
from squeezekit.system.errors import SqueezekitError

MOST_ROUNDS = 10


@dataclass(frozen=True)
class Target:
    """At most `max_drop` points of validation accuracy below `before` (0…1), and at most `max_bytes` bytes; None: any."""

    before: float
    max_drop: float | None
    max_bytes: int | None

    def __post_init__(self) -> None:
        if self.max_drop is not None and not 0 <= self.max_drop <= 100:
            raise SqueezekitError(f"--max-drop {self.max_drop:g}: give points of accuracy, 0 to 100")
        if self.max_bytes is not None and self.max_bytes < 1:
            raise SqueezekitError(f"--max-bytes {self.max_bytes}: give a number of bytes")

    def drop(self, stage: Stage) -> float:
        """Points of accuracy lost."""
        return round(100 * (self.before - stage.accuracy), 4)

    def kept(self, stage: Stage) -> bool:
        """Whether a file keeps the promise."""
        accurate = self.max_drop is None or self.drop(stage) <= self.max_drop
        return accurate and (self.max_bytes is None or stage.bytes <= self.max_bytes)

    def best(self, stages: Sequence[Stage], costs: Sequence[int] | None = None) -> int:
        """Which of the files to hand out: of those that keep the promise, the smallest (by `costs`, if given), or where bytes are
        promised the most accurate; if none does, the one that comes nearest to it.
        """

        def rank(index: int) -> tuple[float, ...]:
            stage = stages[index]
            excess = 0.0 if self.max_drop is None else max(self.drop(stage) - self.max_drop, 0.0)
            if self.max_bytes is not None:
                return (max(stage.bytes - self.max_bytes, 0), excess, -stage.accuracy, stage.bytes)
            return (excess, stage.bytes if costs is None else costs[index])

        return min(range(len(stages)), key=rank)

    def next_pressure(self, rounds: Sequence[tuple[float, Stage]], first: float, growth: float) -> tuple[float, int] | None:
        """The pressure of the next round of training and the round it starts from, -1 for the run itself; None when done.

        Pressure begins with `first` and grows by a factor until a round goes too far: it breaks the promise of accuracy, is small
        enough, or has (next to) no weight left. Then once between the two.
        """
        far = [i for i, (_, stage) in enumerate(rounds) if self._far(stage)]
        near = [i for i in range(len(rounds)) if i not in far]
        start = max(near, key=lambda i: rounds[i][0], default=-1)
        if len(rounds) >= MOST_ROUNDS or (far and len(rounds) > far[0] + 1):
            return None
        if not far:
            return (first if start < 0 else growth * rounds[start][0]), start
        first_far = rounds[far[0]][0]
        return math.sqrt(first_far * (rounds[start][0] if start >= 0 else first_far / growth**2)), start

    def _far(self, stage: Stage) -> bool:
        broken = self.max_drop is not None and self.drop(stage) > self.max_drop
        return broken or not stage.density or (self.max_bytes is not None and stage.bytes <= self.max_bytes)
