"""The options of a compression, checked together."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from squeezekit.system.errors import SqueezekitError
from squeezekit.training.run_folder import Run

DEFAULT_MAX_DROP = 0.5


@dataclass(frozen=True)
class CompressOptions:
    """Options of `compress`, which describes them; raises SqueezekitError for those that do not go together."""

    method: str
    max_drop: float | None
    max_bytes: int | None
    epochs: int | None
    minutes: float | None
    teacher: Path | None
    device: str
    rate_weight: float | None
    delta_from: str | Path | None

    def __post_init__(self) -> None:
        deep = self.method == "deep-compression"
        if self.epochs is not None and self.epochs < 1:
            raise SqueezekitError(f"--epochs {self.epochs}: give at least 1")
        if self.minutes is not None and not 0 <= self.minutes < math.inf:
            raise SqueezekitError(f"--minutes {self.minutes:g}: give a number, 0 or more")
        if self.rate_weight is not None and (deep or not 0 < self.rate_weight < math.inf):
            raise SqueezekitError(
                f"--rate-weight {self.rate_weight:g}: give a number above 0, and no other --method than squeezekit"
            )
        if self.delta_from is not None and (self.max_bytes or self.rate_weight or self.teacher or deep):
            raise SqueezekitError("--delta-from: leave out --max-bytes, --rate-weight, --teacher and --method")
        if deep and (self.teacher or self.device not in ("auto", "cpu")):
            raise SqueezekitError("--method deep-compression trains on the CPU, with labels; leave out --teacher and --device")

    @property
    def effective_max_drop(self) -> float | None:
        """The given one, or the default where nothing else limits the file."""
        limited = self.max_drop is not None or self.max_bytes is not None or self.rate_weight is not None
        return self.max_drop if limited else DEFAULT_MAX_DROP

    @property
    def training_device(self) -> str:
        """Deep Compression trains on the CPU."""
        return "cpu" if self.method == "deep-compression" else self.device

    def settings(self, reference: bytes | None) -> dict[str, Any]:
        """What must be the same when a job is resumed."""
        return {
            "method": self.method,
            "max_drop": self.effective_max_drop,
            "max_bytes": self.max_bytes,
            "teacher": self.teacher and Run(self.teacher).weights_digest(),
            "rate_weight": self.rate_weight,
            "delta_from": reference and hashlib.sha256(reference).hexdigest(),
        }
