"""The `.sqz` file: everything needed to classify, and where it came from.

Layout (docs/sqz-format.md): magic, version, sections, SHA-256 of all that. A section has a tag of four letters; an upper-case
first letter says that no reader can do without it, a lower-case one that a reader may skip it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import nn

from squeezekit.acceleration.folding import build_folded
from squeezekit.codec.byte_model import MOST_BYTES, code_text, fresh_text
from squeezekit.codec.encodings import Quantized
from squeezekit.codec.range_coder import decoder, encoder, exhausted, finished
from squeezekit.codec.tensors import BITS_PER_BYTE, FREE_BITS, Array, decode_parts, encode_tensors
from squeezekit.codec.varint import Fields
from squeezekit.modelfile.activation_ranges import ActivationRanges
from squeezekit.modelfile.probability_calibration import ProbabilityCalibration
from squeezekit.modelfile.provenance import Provenance
from squeezekit.modelfile.section import Section
from squeezekit.modelfile.self_check import SelfCheck
from squeezekit.networks.config import NetworkConfig
from squeezekit.networks.registry import first_problem, network_class
from squeezekit.networks.stored_names import as_stored, network_as_read
from squeezekit.system import atomic_io
from squeezekit.system.errors import SqueezekitError

MAGIC = b"SQZ\x1a"
VERSION = 1
DIGEST_BYTES = 32
NETWORK, WEIGHTS = "Netw", "Wght"
STAGES, ORIGIN, CONFIDENCE, SELF_CHECK, RANGES = "stag", "orig", "conf", "chck", "rang"
MOST_SECTIONS = 256
# The one rule for pictures, that of images/picture.py.
RESIZE = "centre square, antialiased bilinear"


class Stage(Section):
    """One step of compression: how small and how good the network was after it.

    `density` is the share of weights that are not zero, `bits` those of the file divided by the number of weights, `accuracy`
    that on the validation images, 0…1.
    """

    subject = "its stages"

    name: str
    bytes: int
    density: float
    bits: float
    accuracy: float


@dataclass(frozen=True)
class Sqz:
    """What a `.sqz` file holds.

    `weights` are those of `network`, by their names. The rest is optional; `others` are sections that this version does not
    know, by tag, kept as they are.
    """

    network: NetworkConfig
    classes: tuple[str, ...]
    weights: Mapping[str, Array | Quantized]
    stages: tuple[Stage, ...] = ()
    origin: Provenance | None = None
    confidence: ProbabilityCalibration | None = None
    self_check: SelfCheck | None = None
    ranges: ActivationRanges | None = None
    others: Mapping[str, bytes] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The file; the same content gives the same bytes."""
        about = {"network": as_stored(self.network.model_dump(mode="json")), "classes": list(self.classes), "resize": RESIZE}
        return joined({NETWORK: write_json(about), WEIGHTS: encode_tensors(self.weights), **self._known(), **self.others})

    def _known(self) -> dict[str, bytes]:
        contents = {
            STAGES: [stage.model_dump() for stage in self.stages] or None,
            ORIGIN: self.origin and self.origin.model_dump(mode="json"),
            CONFIDENCE: self.confidence and self.confidence.model_dump(),
            SELF_CHECK: self.self_check and self.self_check.model_dump(mode="json"),
            RANGES: self.ranges and self.ranges.model_dump(mode="json"),
        }
        return {tag: write_json(content) for tag, content in contents.items() if content is not None}

    def with_accuracy(self, name: str, accuracy: float) -> Sqz:
        """With one more accuracy, 0…1, in what is known of its origin."""
        assert self.origin is not None
        origin = self.origin.model_copy(update={"accuracy": {**self.origin.accuracy, name: accuracy}})
        return replace(self, origin=origin)

    def write(self, path: Path) -> int:
        """Write the file, all or nothing; returns its size in bytes."""
        data = self.to_bytes()
        atomic_io.write_bytes(path, data)
        return len(data)

    def build(self) -> nn.Module:
        """The network with its weights, ready for use."""
        network = build_folded(self.network)
        network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in self.arrays().items()})
        return network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def arrays(self) -> dict[str, Array]:
        """The weights as float32 arrays."""
        return {name: part.dequantized() if isinstance(part, Quantized) else part for name, part in self.weights.items()}


def read_sqz(path: Path) -> Sqz:
    """Read a file; raises SqueezekitError, naming it, for one that is not a whole `.sqz` of this version."""
    try:
        return from_bytes(path.read_bytes())
    except OSError as error:
        raise SqueezekitError(f"{path}: cannot be read ({error.strerror}); give a .sqz file") from None
    except SqueezekitError as error:
        raise SqueezekitError(f"{path}: {error}") from None


def from_bytes(data: bytes) -> Sqz:
    """The content of a file; raises SqueezekitError."""
    sections = sections_of(data)
    network, classes = _about(read_json(sections.pop(NETWORK)))
    weights = decode_parts(sections.pop(WEIGHTS))
    _check_weights(network, weights)
    known = {tag: read_json(sections.pop(tag)) for tag in (STAGES, ORIGIN, CONFIDENCE, SELF_CHECK, RANGES) if tag in sections}
    return Sqz(
        network,
        classes,
        weights,
        stages=_stages(known[STAGES]) if STAGES in known else (),
        origin=Provenance.read(known[ORIGIN]) if ORIGIN in known else None,
        confidence=ProbabilityCalibration.read(known[CONFIDENCE]) if CONFIDENCE in known else None,
        self_check=SelfCheck.fitting(known[SELF_CHECK], len(classes)) if SELF_CHECK in known else None,
        ranges=ActivationRanges.fitting(known[RANGES], weights) if RANGES in known else None,
        others=sections,
    )


def _stages(content: Any) -> tuple[Stage, ...]:
    if not isinstance(content, list):
        raise SqueezekitError("damaged: its stages are no list; get the file again")
    return tuple(Stage.read(stage) for stage in content)


def joined(sections: Mapping[str, bytes]) -> bytes:
    """The file of these sections, by tag."""
    fields = Fields(MAGIC, len(MAGIC))
    fields.write_integer(VERSION)
    fields.write_integer(len(sections))
    for tag, data in sections.items():
        fields.write(tag.encode("ascii"))
        fields.write_integer(len(data))
        fields.write(data)
    return bytes(fields) + hashlib.sha256(bytes(fields)).digest()


def sections_of(data: bytes) -> dict[str, bytes]:
    """The bytes of each section, by tag; raises SqueezekitError for what is no whole `.sqz` of this version."""
    if not data.startswith(MAGIC):
        raise SqueezekitError("not a .sqz file; give one that squeezekit compress has made")
    fields = Fields(data[:-DIGEST_BYTES], len(MAGIC))
    version = fields.read_integer()
    if version != VERSION:
        raise SqueezekitError(f"a .sqz file of version {version}; this squeezekit reads version {VERSION}, install a newer one")
    if hashlib.sha256(data[:-DIGEST_BYTES]).digest() != data[-DIGEST_BYTES:]:
        raise SqueezekitError("damaged: its digest is not that of its content; get the file again")
    sections: dict[str, bytes] = {}
    for _ in range(fields.read_integer()):
        tag = fields.read(4).decode("latin-1")
        if not (tag.isascii() and tag.isalpha()) or tag in sections or len(sections) == MOST_SECTIONS:
            raise SqueezekitError("damaged: its sections make no sense; get the file again")
        sections[tag] = fields.read(fields.read_integer())
        if tag[0].isupper() and tag not in (NETWORK, WEIGHTS):
            raise SqueezekitError(f"needs a reader that knows its section '{tag}'; install a newer squeezekit")
    if not fields.at_end or not {NETWORK, WEIGHTS} <= set(sections):
        raise SqueezekitError("damaged: its sections are not all there; get the file again")
    return sections


def _about(about: Any) -> tuple[NetworkConfig, tuple[str, ...]]:
    try:
        fields = network_as_read(about["network"])
        network = network_class(fields["name"]).model_validate(fields)
        classes, resize = tuple(about["classes"]), about["resize"]
    except ValidationError as error:
        raise SqueezekitError(f"its network: {first_problem(error)}; get the file again") from None
    except (KeyError, TypeError, RecursionError):
        raise SqueezekitError("damaged: it does not say which network it holds; get the file again") from None
    if not all(isinstance(name, str) for name in classes) or not len(set(classes)) == len(classes) == network.classes:
        raise SqueezekitError("damaged: its classes are not those of its network; get the file again")
    if resize != RESIZE:
        raise SqueezekitError("resizes pictures in a way that this squeezekit does not know; install a newer one")
    return network, classes


def _check_weights(network: NetworkConfig, weights: Mapping[str, Array | Quantized]) -> None:
    # Without memory: a small file can name a huge network.
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in build_folded(network).state_dict().items()}
    if {name: tuple(part.shape) for name, part in weights.items()} != expected:
        raise SqueezekitError("damaged: its weights are not those of its network; get the file again")
    if any(not isinstance(part, Quantized) and part.dtype != np.float32 for part in weights.values()):
        raise SqueezekitError("damaged: its weights are no float32; get the file again")


def write_json(content: Any) -> bytes:
    """JSON, compact, keys in order, coded as text."""
    return write_text(json.dumps(content, separators=(",", ":"), sort_keys=True, ensure_ascii=False, allow_nan=False).encode())


def write_text(text: bytes) -> bytes:
    """UTF-8, coded."""
    coder = encoder(MOST_BYTES * len(text))
    code_text(coder, *fresh_text(), np.frombuffer(text, np.uint8).copy())
    fields = Fields()
    fields.write_integer(len(text))
    fields.write(finished(coder))
    return bytes(fields)


def read_json(data: bytes) -> Any:
    """What `write_json` wrote; raises SqueezekitError."""
    try:
        return json.loads(read_text(data), parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        raise SqueezekitError("damaged: a text in it is not JSON; get the file again") from None


def read_text(data: bytes) -> bytes:
    """What `write_text` wrote; raises SqueezekitError."""
    fields = Fields(data)
    length, budget = fields.read_integer(), FREE_BITS + BITS_PER_BYTE * len(data)
    if 8 * length > budget:
        raise SqueezekitError("damaged: a text in it is too long; get the file again")
    octets, coder = np.zeros(length, np.uint8), decoder(data[fields.position :], budget)
    code_text(coder, *fresh_text(), octets)
    if exhausted(coder):
        raise SqueezekitError("damaged: a text in it is cut short; get the file again")
    return octets.tobytes()


def _finite(text: str) -> float:
    """JSON has no other numbers, and they could not be written again."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number
