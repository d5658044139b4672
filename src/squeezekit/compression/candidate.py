"""What a way to compress must be able to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from squeezekit.modelfile.sqz import Sqz, Stage
from squeezekit.training.loop import Trainer


@dataclass(frozen=True)
class Trial:
    """Something that was tried: its name, how hard it pressed, the file that came of it, and what others go on from.

    `cost` is what is to be small, where that is not the file: the bytes of a delta.
    """

    name: str
    pressure: float
    file: Sqz
    state: dict[str, Any] = field(default_factory=dict)
    cost: int | None = None

    @property
    def stage(self) -> Stage:
        """How small and how good it is."""
        return self.file.stages[-1]

    @property
    def bytes(self) -> int:
        """What is to be small."""
        return self.stage.bytes if self.cost is None else self.cost


@dataclass(frozen=True)
class Round:
    """A trial that needs training first: `finish` makes the file and the state when the trainer is done.

    `note` says after each epoch where the network stands; `cost` gives a trial's; `steer` is told the number of each step
    of the round when it is done.
    """

    name: str
    pressure: float
    trainer: Trainer
    note: Callable[[], str]
    finish: Callable[[], tuple[Sqz, dict[str, Any]]]
    cost: Callable[[Sqz], int] | None = None
    steer: Callable[[int], None] | None = None

    def trial(self) -> Trial:
        """What came of it."""
        file, state = self.finish()
        return Trial(self.name, self.pressure, file, state, self.cost and self.cost(file))


class Method(Protocol):
    """A way to compress a subject until a promise is kept."""

    most_roundings: int

    def rounding(self, roundings: Sequence[Trial]) -> Trial | None:
        """The next trial that needs no training, after those; None when there is none."""
        ...

    def following(self, roundings: Sequence[Trial], rounds: Sequence[Trial]) -> Round | None:
        """The next round after those, None when done."""
        ...
