"""What is in a `.sqz` file, and how many bytes each part of it takes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from squeezekit.codec.encodings import Quantized, encoding_of
from squeezekit.codec.tensors import coded_sizes
from squeezekit.modelfile.check_image import TOLERANCE
from squeezekit.modelfile.container import split_sections
from squeezekit.modelfile.none_of_these import NoneOfThese
from squeezekit.modelfile.probability_calibration import ProbabilityCalibration
from squeezekit.modelfile.provenance import Provenance
from squeezekit.modelfile.sqz import Sqz, Stage, read_sqz
from squeezekit.networks.config import NetworkConfig
from squeezekit.system.paths import expanded


@dataclass(frozen=True)
class TensorSize:
    """One tensor of the file.

    `encoding` is the title of its encoding, `numbers` the size of the tensor, `density` the share of them that is not zero;
    `bytes` are those of its code, `bits` the same per number.
    """

    name: str
    encoding: str
    shape: tuple[int, ...]
    numbers: int
    density: float
    bytes: int
    bits: float


@dataclass(frozen=True)
class Inspection:
    """A whole file.

    `numbers` are those of all tensors, `bits` those of the file per number, `sections` the bytes of each section by tag.
    `self_check` is True if the network gives the expected logits, None if the file has no self-check. `activation_ranges` are the
    least and the largest output of each convolution, by its name.
    """

    bytes: int
    numbers: int
    bits: float
    network: NetworkConfig
    classes: tuple[str, ...]
    tensors: tuple[TensorSize, ...]
    sections: dict[str, int]
    stages: tuple[Stage, ...]
    provenance: Provenance | None
    probability_calibration: ProbabilityCalibration | None
    self_check: bool | None
    activation_ranges: dict[str, tuple[float, float]] | None
    none_of_these: NoneOfThese | None

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            **vars(self),
            "network": self.network.model_dump(mode="json"),
            "tensors": [asdict(tensor) for tensor in self.tensors],
            "stages": [stage.model_dump() for stage in self.stages],
            "provenance": self.provenance and self.provenance.model_dump(mode="json"),
            "probability_calibration": self.probability_calibration and self.probability_calibration.model_dump(),
            "none_of_these": self.none_of_these and self.none_of_these.model_dump(mode="json"),
        }


def inspect(path: str | Path) -> Inspection:
    """Inspect a `.sqz` file; raises SqueezekitError for one that cannot be read."""
    path = expanded(path)
    sqz = read_sqz(path)
    data = path.read_bytes()
    tensors = _tensor_sizes(sqz)
    numbers = sum(tensor.numbers for tensor in tensors)
    return Inspection(
        bytes=len(data),
        numbers=numbers,
        bits=8 * len(data) / numbers,
        network=sqz.network,
        classes=sqz.classes,
        tensors=tensors,
        sections={tag: len(content) for tag, content in split_sections(data).items()},
        stages=sqz.stages,
        provenance=sqz.provenance,
        probability_calibration=sqz.probability_calibration,
        self_check=sqz.self_check.difference(sqz.build(), sqz.network) < TOLERANCE if sqz.self_check else None,
        activation_ranges=_activation_ranges(sqz),
        none_of_these=sqz.none_of_these,
    )


def _activation_ranges(sqz: Sqz) -> dict[str, tuple[float, float]] | None:
    if sqz.activation_ranges is None:
        return None
    names = [name.removesuffix(".weight") for name, tensor in sqz.weights.items() if len(tensor.shape) == 4]
    return dict(zip(names, zip(sqz.activation_ranges.low, sqz.activation_ranges.high, strict=True), strict=True))


def _tensor_sizes(sqz: Sqz) -> tuple[TensorSize, ...]:
    found = []
    for (name, tensor), size in zip(sqz.weights.items(), coded_sizes(sqz.weights).values(), strict=True):
        numbers = prod(tensor.shape)
        nonzero = int(np.count_nonzero(tensor.integers if isinstance(tensor, Quantized) else tensor))
        encoding = encoding_of(tensor).title
        found.append(TensorSize(name, encoding, tensor.shape, numbers, nonzero / numbers, size, 8 * size / numbers))
    return tuple(found)
