"""What a compression method must be able to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from squeezekit.compression.candidate import Candidate, TrainingRound


class Method(Protocol):
    """A way to compress a run until a target is met: first candidates without training (PTQ), then rounds of training."""

    max_ptq_candidates: int

    def next_ptq(self, ptq: Sequence[Candidate]) -> Candidate | None:
        """The next candidate without training, after those; None when there is none."""
        ...

    def next_round(self, ptq: Sequence[Candidate], rounds: Sequence[Candidate], epochs: int) -> TrainingRound | None:
        """The next round of training, of so many epochs, after those candidates; None when done."""
        ...
