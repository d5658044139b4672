"""The result of a compression."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from squeezekit.modelfile.sqz import Stage


@dataclass(frozen=True)
class BeforeAfter:
    """Accuracy, 0…1, of the run's network and of the file's."""

    before: float
    after: float


@dataclass(frozen=True, repr=False)
class Compressed:
    """A finished compression: the `.sqz` file, and whether it meets the target.

    `ratio` is the run's weights in float32 ÷ `bytes`; `test` is None where there are no test images; `stages` led to the file,
    `candidates` are all files that were tried; `delta_bytes` is the size of the delta from the file given as `delta_from`.
    """

    file: str
    met_target: bool
    bytes: int
    ratio: float
    validation: BeforeAfter
    test: BeforeAfter | None
    stages: tuple[Stage, ...]
    candidates: tuple[Stage, ...]
    seconds: float
    delta_bytes: int | None = None

    def __repr__(self) -> str:
        """One line."""
        accuracy = f"validation accuracy {self.validation.before:.2%} before, {self.validation.after:.2%} after"
        met = "target met" if self.met_target else "target missed"
        return f"Compressed({self.file!r}: {self.bytes:,} bytes, {self.ratio:.1f} times smaller, {accuracy}, {met})"

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            **vars(self),
            "validation": asdict(self.validation),
            "test": self.test and asdict(self.test),
            "stages": [stage.model_dump() for stage in self.stages],
            "candidates": [stage.model_dump() for stage in self.candidates],
        }
