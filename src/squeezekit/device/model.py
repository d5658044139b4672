"""A `.sqz` file as a device reads it: its classes, its network in integers, and what makes answers of logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ..integer.parts import Structure
from ..integer.plan import IntegerPlan
from ..integer.plan_builder import build_plan
from ..integer.structure import structure_of
from ..modelfile.check_image import MOST_SEEDS
from ..modelfile.class_names import check_class_names
from ..modelfile.container import (
    ACTIVATION_RANGES,
    NETWORK,
    NONE_OF_THESE,
    PROBABILITY_CALIBRATION,
    RESIZE,
    SELF_CHECK,
    WEIGHTS,
    parse_json,
    split_sections,
)
from ..system.errors import SqueezekitError
from ..system.outside_files import read_outside_bytes
from .coded_numbers import Tensor, decode_tensors, decode_text
from .weights import DeviceArrays

# As an update takes them; what squeezekit makes for a device has half a megabyte at most.
MAX_BYTES = 1 << 24
MAX_OUTPUT, MAX_NUMBER, MAX_FLOAT = 1e9, 1 << 31, 3.5e38
# Multiply-adds that an image may take, a minute of a slow core, and numbers in all feature maps, which may be there at once.
MAX_MACS, MAX_VALUES = 1 << 36, 3 << 25
FRACTION = 6  # Of the biases and the least logit of a rule for none of these.


@dataclass(frozen=True)
class KnownRule:
    """Which pictures are of one of the classes: no logit is below `least`, and a row's weights · logits + bias is at least 0.

    Without `weights`, the one bias is added to the largest logit. Biases and `least` are in units of 2**-6.
    """

    weights: tuple[tuple[int, ...], ...]
    biases: tuple[int, ...]
    least: int

    def knows(self, logits: list[int], fraction: int) -> bool:
        """Whether a picture with these logits, in units of 2**-fraction, is known."""
        if min(logits) < (self.least << fraction) >> FRACTION:
            return False
        biases = [(bias << fraction) >> FRACTION for bias in self.biases]
        if not self.weights:
            return max(logits) + biases[0] >= 0
        return any(
            sum(weight * logit for weight, logit in zip(row, logits, strict=True)) + bias >= 0
            for row, bias in zip(self.weights, biases, strict=True)
        )


@dataclass(frozen=True)
class DeviceModel:
    """What a file holds; `seeds` and `expected` are those of its self-check, the logits in floats, one row a seed.

    `tensors` are the weights in floats.
    """

    classes: tuple[str, ...]
    structure: Structure
    plan: IntegerPlan
    temperature: float
    threshold: float
    known_rule: KnownRule | None
    seeds: tuple[int, ...]
    expected: tuple[tuple[float, ...], ...]
    tensors: Mapping[str, Tensor]


def read_model(path: Path) -> DeviceModel:
    """Read a file; raises SqueezekitError, naming it, for one that is no whole `.sqz` file, or has no integer form."""
    data = read_outside_bytes(path, MAX_BYTES)
    try:
        return _of_bytes(data)
    except SqueezekitError as error:
        raise type(error)(f"{path}: {error}") from None


def _of_bytes(data: bytes) -> DeviceModel:
    sections = split_sections(data)
    about, tensors = _table(_json(sections, NETWORK), "its network"), decode_tensors(sections[WEIGHTS])
    if about.get("resize") != RESIZE:
        raise SqueezekitError("resizes pictures in a way that this squeezekit does not know; install a newer one")
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    structure, classes = structure_of(_table(about.get("network"), "its network"), shapes), about.get("classes")
    if not isinstance(classes, list):
        raise SqueezekitError("damaged: its classes are no list; get the file again")
    check_class_names(classes, structure.classes)
    plan = build_plan(structure, DeviceArrays(tensors), _spans(_json(sections, ACTIVATION_RANGES), tensors))
    if plan.macs > MAX_MACS or sum(each.bytes for each in plan.feature_maps) > MAX_VALUES:
        raise SqueezekitError("its network takes more memory or time than a device has; make it or its images smaller")
    temperature, threshold = _confidence(_json(sections, PROBABILITY_CALIBRATION))
    rule = _known_rule(_json(sections, NONE_OF_THESE), structure.classes) if NONE_OF_THESE in sections else None
    seeds, expected = _self_check(_json(sections, SELF_CHECK), structure.classes)
    return DeviceModel(tuple(classes), structure, plan, temperature, threshold, rule, seeds, expected, tensors)


def _json(sections: Mapping[str, bytes], tag: str) -> Any:
    """The content of a section; of one that is not there, an empty table."""
    return parse_json(decode_text(sections[tag])) if tag in sections else {}


def _spans(content: Any, tensors: Mapping[str, Tensor]) -> dict[str, tuple[float, float]]:
    """The least and the largest output of each convolution, which stand in the order of their weights."""
    if not content:
        raise SqueezekitError("has no activation ranges, which integers need; compress its run again with squeezekit")
    names = [name.removesuffix(".weight") for name, tensor in tensors.items() if len(tensor.shape) == 4]
    title, table = "its activation ranges", _table(content, "its activation ranges")
    low, high = (_numbers(table.get(name), -MAX_OUTPUT, MAX_OUTPUT, title) for name in ("low", "high"))
    if not len(low) == len(high) == len(names) or any(a > b for a, b in zip(low, high, strict=True)):
        raise SqueezekitError("damaged: its activation ranges do not fit its network; get the file again")
    return dict(zip(names, zip(low, high, strict=True), strict=True))


def _confidence(content: Any) -> tuple[float, float]:
    """Temperature and threshold."""
    title = "its probability calibration"
    table = _table(content, title)
    (temperature,) = _numbers([table.get("temperature", 1.0)], 1e-3, 1e3, title)
    (threshold,) = _numbers([table.get("threshold", 0.0)], 0, 1, title)
    return temperature, threshold


def _known_rule(content: Any, classes: int) -> KnownRule:
    title = "its rule for none of these"
    table = _table(content, title)
    biases = _numbers(table.get("biases"), -MAX_NUMBER, MAX_NUMBER, title, whole=True)
    (least,) = _numbers([table.get("least")], -MAX_NUMBER, MAX_NUMBER, title, whole=True)
    if not table.get("weights") and len(biases) == 1:
        return KnownRule((), biases, least)
    rows = _rows(table.get("weights"), len(biases), classes, 127, title, whole=True)
    return KnownRule(rows, biases, least) if rows else _refuse(title)


def _self_check(content: Any, classes: int) -> tuple[tuple[int, ...], tuple[tuple[float, ...], ...]]:
    title = "its self-check"
    table = _table(content, title)
    seeds = _numbers(table.get("seeds", []), 0, 2**32 - 1, title, whole=True)
    if len(seeds) > MOST_SEEDS:
        _refuse(title)
    return seeds, _rows(table.get("logits", []), len(seeds), classes, MAX_FLOAT, title)


def _rows(content: Any, count: int, columns: int, most: float, title: str, *, whole: bool = False) -> tuple[tuple[Any, ...], ...]:
    if not isinstance(content, list) or len(content) != count:
        _refuse(title)
    rows = tuple(_numbers(row, -most, most, title, whole=whole) for row in content)
    return rows if all(len(row) == columns for row in rows) else _refuse(title)


def _numbers(content: Any, least: float, most: float, title: str, *, whole: bool = False) -> tuple[Any, ...]:
    kinds = (int,) if whole else (int, float)
    if not isinstance(content, list) or not all(type(each) in kinds and least <= each <= most for each in content):
        _refuse(title)
    return tuple(content)


def _table(content: Any, title: str) -> dict[str, Any]:
    return content if isinstance(content, dict) else _refuse(title)


def _refuse(title: str) -> NoReturn:
    raise SqueezekitError(f"damaged: {title} is none of ours; get the file again")
