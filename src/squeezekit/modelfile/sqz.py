"""What a `.sqz` file holds: everything needed to classify, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field, ValidationError
from torch import nn

from squeezekit.acceleration.folding import build_folded
from squeezekit.codec.encodings import Array, Quantized
from squeezekit.codec.tensors import decode_stored_tensors, encode_tensors
from squeezekit.modelfile.activation_ranges import ActivationRanges
from squeezekit.modelfile.class_names import check_class_names
from squeezekit.modelfile.coded_text import decode_json, encode_json
from squeezekit.modelfile.container import (
    ACTIVATION_RANGES,
    NETWORK,
    NONE_OF_THESE,
    PROBABILITY_CALIBRATION,
    PROVENANCE,
    RESIZE,
    SELF_CHECK,
    STAGES,
    WEIGHTS,
    join_sections,
    split_sections,
)
from squeezekit.modelfile.none_of_these import NoneOfThese
from squeezekit.modelfile.probability_calibration import ProbabilityCalibration
from squeezekit.modelfile.provenance import Provenance
from squeezekit.modelfile.section import JsonSection
from squeezekit.modelfile.self_check import SelfCheck
from squeezekit.networks.config import MAX_PARAMETERS, NetworkConfig
from squeezekit.networks.registry import first_problem, network_class
from squeezekit.networks.stored_names import as_stored, network_as_read
from squeezekit.networks.without_memory import without_memory
from squeezekit.system import atomic_io
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.outside_files import read_outside_bytes

# Five a parameter, of as many as a network may have: no file of ours is larger.
MAX_BYTES = 5 * MAX_PARAMETERS
MAX_STAGES = 1000


class Stage(JsonSection):
    """One stage of compression: how small and how accurate the network was after it.

    `bytes` are those of the whole file, `density` is the share of weights that are not zero, `bits` those of the file per weight,
    `accuracy` that on the validation images, 0…1.
    """

    title = "its stages"

    name: str = Field(max_length=1000)
    bytes: int = Field(ge=0, lt=1 << 48)
    density: float = Field(ge=0, le=1)
    bits: float = Field(ge=0, le=1e6)
    accuracy: float = Field(ge=0, le=1)


@dataclass(frozen=True)
class Sqz:
    """The content of a `.sqz` file.

    `weights` are those of `network`, by their names. The rest is optional; `other_sections` are sections that this version does
    not know, by tag, kept as they are.
    """

    network: NetworkConfig
    classes: tuple[str, ...]
    weights: Mapping[str, Array | Quantized]
    stages: tuple[Stage, ...] = ()
    provenance: Provenance | None = None
    probability_calibration: ProbabilityCalibration | None = None
    self_check: SelfCheck | None = None
    activation_ranges: ActivationRanges | None = None
    none_of_these: NoneOfThese | None = None
    other_sections: Mapping[str, bytes] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The file; the same content gives the same bytes. Raises SqueezekitError for content that no reader would take."""
        check_class_names(self.classes, self.network.classes)
        _check_finite(self.weights)
        about = {"network": as_stored(self.network.model_dump(mode="json")), "classes": list(self.classes), "resize": RESIZE}
        required = {NETWORK: encode_json(about), WEIGHTS: encode_tensors(self.weights)}
        return join_sections({**required, **self._optional_sections(), **self.other_sections})

    def _optional_sections(self) -> dict[str, bytes]:
        contents: dict[str, Any] = {
            STAGES: [stage.model_dump() for stage in self.stages] or None,
            PROVENANCE: self.provenance and self.provenance.model_dump(mode="json"),
            PROBABILITY_CALIBRATION: self.probability_calibration and self.probability_calibration.model_dump(),
            SELF_CHECK: self.self_check and self.self_check.model_dump(mode="json"),
            ACTIVATION_RANGES: self.activation_ranges and self.activation_ranges.model_dump(mode="json"),
            NONE_OF_THESE: self.none_of_these and self.none_of_these.model_dump(mode="json"),
        }
        return {tag: encode_json(content) for tag, content in contents.items() if content is not None}

    def with_accuracy(self, name: str, accuracy: float) -> Sqz:
        """The same with one more accuracy, 0…1, in its provenance, which it must have."""
        assert self.provenance is not None
        accuracies = {**self.provenance.accuracy, name: accuracy}
        return replace(self, provenance=self.provenance.model_copy(update={"accuracy": accuracies}))

    def write(self, path: Path) -> int:
        """Write the file, all or nothing; returns its size in bytes."""
        data = self.to_bytes()
        atomic_io.write_bytes(path, data)
        return len(data)

    def build(self) -> nn.Module:
        """The network with its weights, in evaluation mode."""
        network = build_folded(self.network)
        network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in self.arrays().items()})
        return network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def arrays(self) -> dict[str, Array]:
        """The weights as float32 arrays."""
        return {name: part.dequantize() if isinstance(part, Quantized) else part for name, part in self.weights.items()}


def read_sqz(path: Path) -> Sqz:
    """Read a file; raises SqueezekitError, naming it, for one that is not a whole `.sqz` file of this version."""
    data = read_outside_bytes(path, MAX_BYTES)
    try:
        return from_bytes(data)
    except SqueezekitError as error:
        raise SqueezekitError(f"{path}: {error}") from None


def from_bytes(data: bytes) -> Sqz:
    """The content of a file; raises SqueezekitError for one that is not a whole `.sqz` file of this version."""
    sections = split_sections(data)
    network, classes = _read_network(decode_json(sections.pop(NETWORK)))
    weights = decode_stored_tensors(sections.pop(WEIGHTS), _shapes(network))
    _check_weights(weights)
    tags = (STAGES, PROVENANCE, PROBABILITY_CALIBRATION, SELF_CHECK, ACTIVATION_RANGES, NONE_OF_THESE)
    known = {tag: decode_json(sections.pop(tag)) for tag in tags if tag in sections}
    calibration = known.get(PROBABILITY_CALIBRATION)
    return Sqz(
        network,
        classes,
        weights,
        stages=_read_stages(known[STAGES]) if STAGES in known else (),
        provenance=Provenance.read(known[PROVENANCE]) if PROVENANCE in known else None,
        probability_calibration=ProbabilityCalibration.read(calibration) if PROBABILITY_CALIBRATION in known else None,
        self_check=SelfCheck.read_for(known[SELF_CHECK], len(classes)) if SELF_CHECK in known else None,
        activation_ranges=ActivationRanges.read_for(known[ACTIVATION_RANGES], weights) if ACTIVATION_RANGES in known else None,
        none_of_these=NoneOfThese.read_for(known[NONE_OF_THESE], len(classes)) if NONE_OF_THESE in known else None,
        other_sections=sections,
    )


def _read_stages(content: Any) -> tuple[Stage, ...]:
    if not isinstance(content, list) or len(content) > MAX_STAGES:
        raise SqueezekitError("damaged: its stages are no list of ours; get the file again")
    return tuple(Stage.read(stage) for stage in content)


def _read_network(content: Any) -> tuple[NetworkConfig, tuple[str, ...]]:
    try:
        fields = network_as_read(content["network"])
        network = network_class(fields["name"]).model_validate(fields)
        network.check_work()
        classes, resize = content["classes"], content["resize"]
    except ValidationError as error:
        raise SqueezekitError(f"its network: {first_problem(error)}; get the file again") from None
    except (KeyError, TypeError, RecursionError):
        raise SqueezekitError("damaged: it does not say which network it holds; get the file again") from None
    if not isinstance(classes, list):
        raise SqueezekitError("damaged: its classes are no list; get the file again")
    check_class_names(classes, network.classes)
    if resize != RESIZE:
        raise SqueezekitError("resizes pictures in a way that this squeezekit does not know; install a newer one")
    return network, tuple(classes)


def _shapes(network: NetworkConfig) -> dict[str, tuple[int, ...]]:
    with without_memory():
        return {name: tuple(tensor.shape) for name, tensor in build_folded(network).state_dict().items()}


def _check_weights(weights: Mapping[str, Array | Quantized]) -> None:
    if any(not isinstance(part, Quantized) and part.dtype != np.float32 for part in weights.values()):
        raise SqueezekitError("damaged: its weights are not float32; get the file again")
    _check_finite(weights)


def _check_finite(weights: Mapping[str, Array | Quantized]) -> None:
    # Quantized ones are at most 2**24 steps of at most 2**63.
    for name, part in weights.items():
        if not isinstance(part, Quantized) and not np.isfinite(part).all():
            raise SqueezekitError(f"holds weights that are no finite numbers, in '{name}'; train the network again")
