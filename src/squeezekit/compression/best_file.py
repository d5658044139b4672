"""The best file so far, which is written at once, so that whoever stops a compression has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from squeezekit.compression.candidate import Candidate
from squeezekit.compression.job_state import JobState, kept
from squeezekit.compression.target import Target
from squeezekit.modelfile.sqz import Sqz


@dataclass
class BestFile:
    """Keeps the best candidate of `job`, by `target`, written at `path`; `loss_of` judges where accuracies are too coarse.

    `bytes` are those of the file.
    """

    path: Path
    target: Target
    job: JobState
    loss_of: Callable[[Candidate], float] | None = None
    written: Candidate | None = None
    bytes: int = 0

    def update(self) -> None:
        """Write the best candidate, if it is another one than before."""
        candidates = self.job.candidates
        if not candidates:
            return
        stages, costs = [each.stage for each in candidates], [each.cost for each in candidates]
        best = candidates[self.target.best(stages, costs, self.loss_of and [*map(self.loss_of, candidates)])]
        if best is not self.written:
            self.bytes = self.write(best.file)
            self.written = best

    def write(self, file: Sqz) -> int:
        """Write a file there; returns its bytes."""
        with kept(self.path):
            return file.write(self.path)

    def in_words(self) -> str:
        """What is there, for someone who has stopped the compression."""
        if self.written is None:
            return ""
        stage = self.written.stage
        return f"{self.path} is the best so far, {self.bytes:,} bytes, accuracy {stage.accuracy:.2%}; "
