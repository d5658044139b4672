"""What a compression method produces: candidates, and rounds of training that end in one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from squeezekit.compression.collapse import Collapse
from squeezekit.modelfile.sqz import Sqz, Stage
from squeezekit.training.loop import Trainer


@dataclass(frozen=True)
class Candidate:
    """A compressed file that may be chosen in the end.

    `rate_weight` is the λ that it was made with (for Deep Compression 1 ÷ density), `state` what later rounds start from,
    `delta_bytes` the size of the delta from an earlier file, where that is to be small rather than the file. `collapsed` says
    that its round destroyed the network, and that this is what it began with.
    """

    name: str
    rate_weight: float
    file: Sqz
    state: dict[str, Any] = field(default_factory=dict)
    delta_bytes: int | None = None
    collapsed: bool = False

    @property
    def stage(self) -> Stage:
        """Its size and accuracy."""
        return self.file.stages[-1]

    @property
    def cost(self) -> int:
        """The bytes that are to be few: those of the file, or of the delta."""
        return self.stage.bytes if self.delta_bytes is None else self.delta_bytes


@dataclass(frozen=True)
class TrainingRound:
    """A round of training that ends in a candidate.

    `describe` says in a few words after each epoch where the network stands; `finish` makes the file and the state when the
    trainer is done; `delta_bytes` gives the size of a file's delta; `steer` is called after each step of the round with its
    number, from 1. `collapse`, if given, ends a round that destroys its network, and `undo` makes the file and the state of what
    the round began with.
    """

    name: str
    rate_weight: float
    trainer: Trainer
    describe: Callable[[], str]
    finish: Callable[[], tuple[Sqz, dict[str, Any]]]
    delta_bytes: Callable[[Sqz], int] | None = None
    steer: Callable[[int], None] | None = None
    collapse: Collapse | None = None
    undo: Callable[[], tuple[Sqz, dict[str, Any]]] | None = None

    def candidate(self) -> Candidate:
        """The candidate, when the trainer is done or the round has collapsed."""
        collapsed = self.collapse is not None and self.collapse.happened
        file, state = self.undo() if collapsed and self.undo else self.finish()
        return Candidate(self.name, self.rate_weight, file, state, self.delta_bytes and self.delta_bytes(file), collapsed)
