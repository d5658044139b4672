"""A plan as the tensors and operators of a TensorFlow Lite file.

Feature maps are int8 [1, height, width, channels]: a byte of the plan less 128, with the plan's scale. A filter's scale is what
its gain makes it, so that the ratio of scales by which a runtime multiplies a sum is the plan's gain. What follows the last
feature map is in floats: its mean over positions and the last layer. Numbers of fields, operators and types are those of
schema.fbs, version 3 (https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squeezekit.export.flatbuffer import Table
from squeezekit.integer.plan import (
    LOW_BITS,
    IntegerConvolution,
    IntegerHead,
    IntegerPlan,
    IntegerPooling,
)
from squeezekit.system.errors import SqueezekitError

BYTE_OFFSET = 128  # From bytes of the plan to int8.
PIXEL_SCALE = 1 / 255
MAX_WEIGHT, MAX_FINER = 127, 1 << 30  # Of int8 weights; of sums of int32, with a bit to spare.
# A sum whose product lies halfway between two bytes becomes the larger one, as in the plan, in whichever way a runtime rounds.
ABOVE_TIES = 1 + 2.0**-22
SCHEMA_VERSION = 3
SAME, VALID = np.int8(0), np.int8(1)
TYPES = {"float32": np.int8(0), "int32": np.int8(2), "int8": np.int8(9)}
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Operator(Enum):
    """Its number, that of its options in their union, and its oldest version for the types that it is used with."""

    ADD = (0, 11, 2)
    CONCATENATION = (2, 10, 2)
    CONV_2D = (3, 1, 3)
    DEPTHWISE_CONV_2D = (4, 2, 3)
    DEQUANTIZE = (6, 38, 2)
    FULLY_CONNECTED = (9, 8, 1)
    MAX_POOL_2D = (17, 5, 2)
    PAD = (34, 22, 2)
    MEAN = (40, 27, 1)


class Axis(IntEnum):
    """Of feature maps."""

    ROW = 1
    COLUMN = 2
    CHANNEL = 3


class Graph:
    """Tensors and operators as they are added; tensors are known by their numbers."""

    def __init__(self) -> None:
        # A tensor of buffer 0 is no constant.
        self._buffers: list[Table] = [{}]
        self._tensors: list[Table] = []
        self._operators: list[Table] = []
        self._kinds: list[Operator] = []
        self.shapes: list[tuple[int, ...]] = []

    def feature_map(self, name: str, shape: Sequence[int], scale: float, zero: int) -> int:
        """A new tensor of int8 [1, height, width, channels]; `zero` is the plan's zero point."""
        return self._tensor(name, shape, "int8", _quantization([scale], zero - BYTE_OFFSET))

    def floats(self, name: str, shape: Sequence[int]) -> int:
        """A new tensor of floats."""
        return self._tensor(name, shape, "float32")

    def constant(self, name: str, content: NDArray[Any], quantization: Table | None = None) -> int:
        """A tensor that is the same for every image; `content` is float32, int32 or int8."""
        self._buffers.append({0: np.ascontiguousarray(content).tobytes()})
        return self._tensor(name, content.shape, content.dtype.name, quantization, len(self._buffers) - 1)

    def add(self, kind: Operator, inputs: Sequence[int], output: int, options: Table | None = None) -> int:
        """One more operator; returns its output."""
        if kind not in self._kinds:
            self._kinds.append(kind)
        place, (_, union, _) = np.uint32(self._kinds.index(kind)), kind.value
        numbers = {1: np.array(inputs, np.int32), 2: np.array([output], np.int32)}
        self._operators.append({0: place, **numbers, 3: np.uint8(union), 4: options or {}})
        return output

    def table(self, first: int, last: int, description: str, metadata: tuple[str, bytes]) -> Table:
        """The file's root table: a graph from tensor `first` to tensor `last`, and a named block of metadata."""
        kinds = [kind.value for kind in self._kinds]
        # Readers of old files look at field 0, which has a byte.
        codes = [{0: np.int8(number), 2: np.int32(version), 3: np.int32(number)} for number, _, version in kinds]
        ends = {1: np.array([first], np.int32), 2: np.array([last], np.int32)}
        graph = {0: self._tensors, **ends, 3: self._operators, 4: "main"}
        name, content = metadata
        buffers, described = [*self._buffers, {0: content}], {0: name, 1: np.uint32(len(self._buffers))}
        return {0: np.uint32(SCHEMA_VERSION), 1: codes, 2: [graph], 3: description, 4: buffers, 6: [described]}

    def _tensor(self, name: str, shape: Sequence[int], kind: str, quantization: Table | None = None, buffer: int = 0) -> int:
        table = {0: np.array(shape, np.int32), 1: TYPES[kind], 2: np.uint32(buffer), 3: name}
        self._tensors.append(table if quantization is None else {**table, 4: quantization})
        self.shapes.append(tuple(shape))
        return len(self._tensors) - 1


def _quantization(scales: Sequence[float] | Floats, zero: int = 0, axis: int = 0) -> Table:
    """A step q means scale · (q - zero), with one scale or with one for each index of an axis."""
    found = np.array(scales, np.float32)
    return {2: found, 3: np.full(len(found), zero, np.int64), 6: np.int32(axis)}


def graph_of(plan: IntegerPlan) -> tuple[Graph, int, int]:
    """The graph of a plan, with the numbers of its first and last tensor: int8 [1, side, side, channels] -> [1, classes], floats.

    Raises SqueezekitError for networks that see an image twice.
    """
    if plan.mirrored:
        raise SqueezekitError("a network that classifies an image and its mirror image has no TensorFlow Lite form; export to C")
    walk = _Walk(plan)
    return walk.graph, walk.first, walk.last


class _Walk:
    """From step to step of a plan."""

    def __init__(self, plan: IntegerPlan) -> None:
        self.graph, self._plan = Graph(), plan
        self._scales = {0: PIXEL_SCALE}
        self.first = self._feature_map("image", 0)
        # The tensors of feature maps, and of the parts of one whose channels several convolutions make.
        self._tensors, self._parts = {0: self.first}, list[int]()
        for number, step in enumerate(plan.steps):
            if isinstance(step, IntegerConvolution):
                self._convolution(f"layer{number}", step)
            elif isinstance(step, IntegerPooling):
                self._scales[step.target] = self._scales[step.source]
                self._tensors[step.target] = self._pooled(f"layer{number}", self._tensors[step.source], step.target, step.size)
            elif isinstance(step, IntegerHead):
                self.last = self._head(step)

    def _feature_map(self, name: str, index: int, **changed: int) -> int:
        """A tensor like a feature map of the plan, but for what is `changed`."""
        here = self._plan.feature_maps[index]
        sizes = {"height": here.height, "width": here.width, "channels": here.channels, "zero": here.zero, **changed}
        zero = sizes.pop("zero")
        return self.graph.feature_map(name, (1, *sizes.values()), self._scales[index], zero)

    def _convolution(self, name: str, step: IntegerConvolution) -> None:
        plan, residual = self._plan, step.residual
        target = plan.feature_maps[step.target]
        scale = target.scale
        if residual is not None:
            # So that the ratio of scales is the residual's gain, which has 16 bits; half a step of it counts for nothing.
            scale = self._scales[residual.source] * 2.0**residual.shift / max(residual.gain, 0.5)
        self._scales[step.target] = scale
        height, width = plan.sum_shape(step)
        zero = _zero_before_residual(step, plan)
        filters = len(step.weights)
        part = self._feature_map(name, step.target, height=height, width=width, channels=filters, zero=zero)
        self._filtered(name, step, part, zero)
        self._parts.append(part)
        if step.first + filters < target.channels:
            return
        parts, self._parts = self._parts, []
        made = parts[0]
        if len(parts) > 1:
            made = self._feature_map(f"{name}_joined", step.target, height=height, width=width, zero=zero)
            self._joined(parts, made, Axis.CHANNEL)
        if residual is not None:
            added = self._feature_map(f"{name}_added", step.target)
            made = self.graph.add(Operator.ADD, [made, self._tensors[residual.source]], added)
        self._tensors[step.target] = self._pooled(name, made, step.target, 2) if step.pooled else made

    def _filtered(self, name: str, step: IntegerConvolution, target: int, zero: int) -> None:
        """A convolution alone, its ReLU being that int8 ends at the zero point."""
        source, padding = self._with_border(name, step)
        weights, bias, multipliers = _filters(step, self._plan.feature_maps[step.source].zero, zero)
        scales = multipliers * ABOVE_TIES * self._scales[step.target] / self._scales[step.source]
        kind, axis, options = Operator.CONV_2D, 0, {0: padding, 1: np.int32(step.stride), 2: np.int32(step.stride)}
        if step.depthwise:
            kind, axis, options = Operator.DEPTHWISE_CONV_2D, 3, {**options, 3: np.int32(1)}
            weights = weights.transpose(3, 1, 2, 0)
        inputs = [source, *self._weights(name, weights, bias, scales, self._scales[step.source], axis)]
        self.graph.add(kind, inputs, target, options)

    def _weights(
        self, name: str, weights: NDArray[np.int8], bias: Floats, scales: Floats, source: float, axis: int = 0
    ) -> list[int]:
        """Constants of filters, and of biases in steps of the sums."""
        return [
            self.graph.constant(f"{name}_weights", weights, _quantization(scales, axis=axis)),
            self.graph.constant(f"{name}_bias", bias.astype(np.int32), _quantization(scales * source)),
        ]

    def _with_border(self, name: str, step: IntegerConvolution) -> tuple[int, np.int8]:
        """A convolution's source with the border that it needs, and the padding that the operator has to add."""
        source, here = self._tensors[step.source], self._plan.feature_maps[step.source]
        p = step.padding
        if p == 0:
            return source, VALID
        if step.source == 0:
            return self._framed(source, step.border, p), VALID
        # The operator adds zeros on both sides alike, one more at the end of an odd number.
        outside = max((-(-here.height // step.stride) - 1) * step.stride + step.kernel - here.height, 0)
        if outside // 2 == p:
            return source, SAME
        padded = self._feature_map(f"{name}_padded", step.source, height=here.height + 2 * p, width=here.width + 2 * p)
        amounts = self.graph.constant(f"{name}_paddings", np.array([[0, 0], [p, p], [p, p], [0, 0]], np.int32))
        return self.graph.add(Operator.PAD, [source, amounts], padded), VALID

    def _framed(self, image: int, border: tuple[int, ...], p: int) -> int:
        """The image in a frame of its mean's bytes, one a channel, which no zero point stands for."""
        for axis in (Axis.ROW, Axis.COLUMN):
            shape = list(self.graph.shapes[image])
            edge = np.empty((*shape[:axis], p, *shape[axis + 1 :]), np.int8)
            edge[...] = np.array(border) - BYTE_OFFSET
            constant = self.graph.constant(f"edge{axis:d}", edge, _quantization([PIXEL_SCALE], -BYTE_OFFSET))
            shape[axis] += 2 * p
            framed = self.graph.feature_map(f"framed{axis:d}", shape, PIXEL_SCALE, 0)
            image = self._joined([constant, image, constant], framed, axis)
        return image

    def _joined(self, parts: list[int], target: int, axis: Axis) -> int:
        return self.graph.add(Operator.CONCATENATION, parts, target, {0: np.int32(axis)})

    def _pooled(self, name: str, source: int, target: int, size: int) -> int:
        """Max-pooling of stride 2, whose windows begin at the first byte and are cut off at the last."""
        side = self.graph.shapes[source][Axis.ROW]
        padding = VALID if side >= size and (side - size) % 2 == 0 else SAME
        sides = {1: np.int32(2), 2: np.int32(2), 3: np.int32(size), 4: np.int32(size)}
        made = self._feature_map(f"{name}_pooled", target)
        return self.graph.add(Operator.MAX_POOL_2D, [source], made, {0: padding, **sides})

    def _head(self, head: IntegerHead) -> int:
        """From the last feature map to logits, in floats: a plan does not know the range of logits, and they are few."""
        source = self._plan.feature_maps[head.source]
        # The logit of one step of a sum, at each position.
        values = (head.gain * 2.0 ** -(head.shift + self._plan.fraction) * source.height * source.width).astype(np.float64)
        if head.relu:
            return self._mean("logits", self._scores(head, values))
        mean = self._mean("mean", self._tensors[head.source])
        weights = head.weights * (values / (self._scales[head.source] * 2.0**head.drop))[:, None]
        bias = (head.bias / (source.height * source.width) + source.zero / 2.0**head.drop * _sums(head.weights)) * values
        constants = [
            self.graph.constant(f"head_{name}", x.astype(np.float32)) for name, x in (("weights", weights), ("bias", bias))
        ]
        return self.graph.add(Operator.FULLY_CONNECTED, [mean, *constants], self.graph.floats("logits", (1, len(weights))))

    def _mean(self, name: str, source: int) -> int:
        """Of each channel of a feature map: floats [1, channels]."""
        shape = self.graph.shapes[source]
        floats = self.graph.add(Operator.DEQUANTIZE, [source], self.graph.floats(f"{name}_of", shape))
        axes = self.graph.constant(f"{name}_axes", np.array([Axis.ROW, Axis.COLUMN], np.int32))
        return self.graph.add(Operator.MEAN, [floats, axes], self.graph.floats(name, (1, shape[Axis.CHANNEL])))

    def _scores(self, head: IntegerHead, values: Floats) -> int:
        """The last filters and ReLU at each position: int8, of the range that calibration images showed."""
        source, scale = self._plan.feature_maps[head.source], self._scales[head.source]
        made = self.graph.feature_map("scores", (1, source.height, source.width, len(head.weights)), head.high / 255 or 1.0, 0)
        weights, bias = head.weights[:, None, None, :], (head.bias + source.zero * _sums(head.weights)).astype(np.float64)
        constants = self._weights("head", weights, bias, values / scale, scale)
        options = {0: VALID, 1: np.int32(1), 2: np.int32(1)}
        return self.graph.add(Operator.CONV_2D, [self._tensors[head.source], *constants], made, options)


def _zero_before_residual(step: IntegerConvolution, plan: IntegerPlan) -> int:
    """The zero point of what a convolution gives; the residual brings the rest of the target's."""
    target, residual = plan.feature_maps[step.target], step.residual
    if residual is None:
        return target.zero
    # The offset rounds to nearest as well.
    steps = (residual.offset + plan.feature_maps[residual.source].zero * residual.gain) >> residual.shift
    return target.zero - steps + residual.below


def _filters(step: IntegerConvolution, source_zero: int, zero: int) -> tuple[NDArray[np.int8], Floats, Floats]:
    """Weights, biases without zero points, and by what sums are multiplied: one for each filter."""
    # A filter whose gain is 0 gives byte 0, whatever its sum.
    used = step.gain > 0
    weights = np.where(used[:, None, None, None], step.weights, 0).astype(np.int8)
    bias = np.where(used, step.bias + source_zero * _sums(weights), 0).astype(np.float64)
    multipliers = np.where(used, step.gain / 2.0 ** (LOW_BITS + step.shift), 1.0)
    finer = _finer(weights, np.abs(bias) + zero / multipliers)
    multipliers = multipliers / finer
    return weights * finer[:, None, None, None], bias * finer - np.rint(zero / multipliers), multipliers


def _finer(weights: NDArray[np.int8], bias: Floats) -> NDArray[np.int8]:
    """By which whole number each filter's step can be divided, as far as int8 weights and int32 sums go.

    Many runtimes round a sum twice, first to a whole number near its product with a multiplier of 31 bits: the finer the steps
    of sums, the less that moves. Weights of a compressed file are often of few steps.
    """
    largest = np.abs(weights).max((1, 2, 3)).astype(np.int64)
    bounds = 255 * _sums(np.abs(weights)) + np.abs(np.ceil(bias)).astype(np.int64)
    found = np.minimum(MAX_WEIGHT // np.maximum(largest, 1), MAX_FINER // np.maximum(bounds, 1))
    finer: NDArray[np.int8] = np.maximum(found, 1).astype(np.int8)
    return finer


def _sums(weights: NDArray[np.int8]) -> Integers:
    """Of each filter's weights."""
    found: Integers = weights.astype(np.int64).reshape(len(weights), -1).sum(1)
    return found
