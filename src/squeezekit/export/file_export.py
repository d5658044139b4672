"""What an exporter says of the one file that it wrote."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from squeezekit.system.presentation import Presented


@dataclass(frozen=True)
class FileExport(Presented):
    """What was written; `validation` is the accuracy 0…1 `before` and `after` in integers, empty where no images are at hand.

    It is that of the integer plan, which the file holds; what runs the file may round otherwise.
    """

    file: str
    bytes: int
    validation: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The result in sentences for a reader."""
        return [f"{self.file}: {self.bytes:,} bytes"]
