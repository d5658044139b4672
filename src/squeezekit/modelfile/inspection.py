"""What is in a `.sqz` file, and where its bytes go."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from squeezekit.codec.encodings import Quantized, encoding_of
from squeezekit.codec.tensors import costs
from squeezekit.modelfile.self_check import TOLERANCE
from squeezekit.modelfile.sqz import Sqz, read_sqz, sections_of


@dataclass(frozen=True)
class Part:
    """One array of the file: how it is written, the share of its numbers that is not zero, and what they cost."""

    name: str
    form: str
    shape: tuple[int, ...]
    numbers: int
    density: float
    bytes: int
    bits: float


@dataclass(frozen=True)
class Inspection:
    """A file. `sections` are bytes by tag; `self_check` says whether the network answers as expected, None without one;
    `ranges` are the least and the largest output of each convolution, by name.
    """

    bytes: int
    numbers: int
    bits: float
    network: dict[str, Any]
    classes: tuple[str, ...]
    parts: list[Part]
    sections: dict[str, int]
    stages: list[dict[str, Any]]
    origin: dict[str, Any] | None
    confidence: dict[str, float] | None
    self_check: bool | None
    ranges: dict[str, tuple[float, float]] | None

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def inspect(path: str | Path) -> Inspection:
    """Look into a `.sqz` file; raises SqueezekitError."""
    path = Path(path).expanduser()
    sqz = read_sqz(path)
    data = path.read_bytes()
    parts = _parts(sqz)
    numbers = sum(part.numbers for part in parts)
    return Inspection(
        bytes=len(data),
        numbers=numbers,
        bits=8 * len(data) / numbers,
        network=sqz.network.model_dump(mode="json"),
        classes=sqz.classes,
        parts=parts,
        sections={tag: len(content) for tag, content in sections_of(data).items()},
        stages=[stage.model_dump() for stage in sqz.stages],
        origin=sqz.origin.model_dump(mode="json") if sqz.origin else None,
        confidence=sqz.confidence.model_dump() if sqz.confidence else None,
        self_check=sqz.self_check.difference(sqz.build(), sqz.network) < TOLERANCE if sqz.self_check else None,
        ranges=_ranges(sqz),
    )


def _ranges(sqz: Sqz) -> dict[str, tuple[float, float]] | None:
    if sqz.ranges is None:
        return None
    names = [name.removesuffix(".weight") for name, part in sqz.weights.items() if len(part.shape) == 4]
    return dict(zip(names, zip(sqz.ranges.low, sqz.ranges.high, strict=True), strict=True))


def _parts(sqz: Sqz) -> list[Part]:
    parts = []
    for (name, tensor), cost in zip(sqz.weights.items(), costs(sqz.weights).values(), strict=True):
        numbers = prod(tensor.shape)
        used = int(np.count_nonzero(tensor.integers if isinstance(tensor, Quantized) else tensor))
        parts.append(Part(name, encoding_of(tensor).title, tensor.shape, numbers, used / numbers, cost, 8 * cost / numbers))
    return parts
