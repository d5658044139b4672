"""The result of a compression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from squeezekit.compression.context import Judges
from squeezekit.modelfile.sqz import Stage
from squeezekit.system.presentation import Row, Tabular, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class BeforeAfter:
    """Accuracy, 0…1, of the run's network and of the file's."""

    before: float
    after: float


@dataclass(frozen=True, repr=False)
class Compressed(Tabular):
    """A finished compression: the `.sqz` file, and whether it meets the target.

    `validation` is the accuracy of the images that chose: where none validated the run (`judged_by` "training"), it flatters.
    `ratio` is the run's weights in float32 ÷ `bytes`; `test` is None where there are no test images; `stages` led to the file,
    `candidates` are all files that were tried; `delta_bytes` is the size of the delta from the file given as `delta_from`.
    `to_frame()` has a row for each candidate.
    """

    file: str
    met_target: bool
    bytes: int
    ratio: float
    judged_by: Judges
    validation: BeforeAfter
    test: BeforeAfter | None
    stages: tuple[Stage, ...]
    candidates: tuple[Stage, ...]
    seconds: float
    delta_bytes: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            **vars(self),
            "validation": asdict(self.validation),
            "test": self.test and asdict(self.test),
            "stages": [stage.model_dump() for stage in self.stages],
            "candidates": [stage.model_dump() for stage in self.candidates],
        }

    def plot(self) -> Figure:
        """Bytes against validation accuracy of every candidate, and of what was written."""
        from squeezekit.system.figures import sizes_figure

        tried = [(stage.bytes, stage.accuracy) for stage in self.candidates]
        return sizes_figure({"candidates": tried, "written": [(self.bytes, self.validation.after)]}, f"{self.judged_by} accuracy")

    def _shown(self) -> Row:
        delta = {} if self.delta_bytes is None else {"delta bytes": self.delta_bytes}
        accuracies = {f"{self.judged_by} accuracy": self.validation, "test accuracy": self.test}
        changes = {name: f"{percent(of.before)} → {percent(of.after)}" for name, of in accuracies.items() if of}
        return {"file": self.file, "bytes": self.bytes, "ratio": self.ratio, **delta, **changes, "met target": self.met_target}

    def _records(self) -> Sequence[Row]:
        return [stage.model_dump() for stage in self.candidates]
