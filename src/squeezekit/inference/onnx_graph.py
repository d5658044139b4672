"""A network in an `.onnx` file of others, as one that can be trained and compressed: its nodes and its weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from squeezekit.inference.onnx_file import BrokenOnnx, check_onnx, metadata_of
from squeezekit.inference.onnx_network import KEY
from squeezekit.networks.config import MAX_PARAMETERS
from squeezekit.networks.graph import Node, Shape, layer_name, shape_made, weight_shape
from squeezekit.networks.registry import network_config
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.outside_files import read_outside_bytes
from squeezekit.system.shown_text import shown

MAX_BYTES = 1 << 29
Array = NDArray[Any]
READ = "convolutions, batch normalization behind them, sums, concatenations, ReLU, ReLU6, poolings, means and linear layers"


# Operators whose result is what they take.
ALIASES = frozenset(("Identity", "Dropout", "Flatten", "Squeeze", "Reshape"))


class Unreadable(ValueError):
    """Why a node cannot be read, in half a sentence."""


@dataclass(frozen=True)
class ImportedGraph:
    """A network, and what it expects of its images: pixels scaled to 0…1, less `mean`, divided by `std`, as far as it says.

    `weights` are those of `GraphNetwork`, by their names. mean, std: what the graph itself does to its input, 0 and 1 where
    it does nothing.
    """

    nodes: tuple[Node, ...]
    weights: Mapping[str, Array]
    channels: int
    image_size: int
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def read_onnx_graph(path: Path, image_size: int | None = None) -> ImportedGraph:
    """The network in a file; `image_size` is needed where its input leaves the side of images open.

    Raises SqueezekitError, which names the node that cannot be read.
    """
    import onnx

    content = read_outside_bytes(path, MAX_BYTES)
    try:
        check_onnx(content)
        if KEY in metadata_of(content):
            raise SqueezekitError(f"{path}: was made by squeezekit export; give the run or the .sqz file that it was made from")
        # Its own errors are of several kinds: protobuf's, and those of what it converts.
        graph = onnx.load_model_from_string(content).graph
    except BrokenOnnx as error:
        raise SqueezekitError(
            f"{path}: {error}; give an .onnx file of one image classifier, its weights inside (torch: external_data=False)"
        ) from None
    except SqueezekitError:
        raise
    except Exception as error:
        raise SqueezekitError(f"{path}: cannot be read ({' '.join(str(error).split())[:200]})") from None
    try:
        reader = _Reader.of(graph, path, image_size)
    except (ValueError, LookupError, TypeError) as error:
        raise SqueezekitError(f"{path}: holds weights that cannot be read ({' '.join(str(error).split())[:200]})") from None
    for number, node in enumerate(graph.node, 1):
        try:
            reader.read(node)
        # Of a node whose fields are missing or make no sense, pydantic, numpy and Python complain in several ways.
        except (ValueError, LookupError, TypeError, ArithmeticError, AttributeError) as error:
            name = shown(node.name or f"number {number}")
            said = error if isinstance(error, Unreadable) else "has fields that are missing or do not fit together"
            raise SqueezekitError(f"{path}: node '{name}' ({node.op_type}) {said}; what is read are {READ}") from None
    return reader.result(graph.output)


def _readers_of(graph: Any) -> tuple[dict[str, str], Counter[str]]:
    """What each other name of a value stands for, and how many operators and outputs read it."""
    origins: dict[str, str] = {}
    readers: Counter[str] = Counter()
    for node in graph.node:
        if node.op_type in ALIASES and node.input and node.output:
            origins[node.output[0]] = origins.get(node.input[0], node.input[0])
        else:
            readers.update({origins.get(name, name) for name in node.input})
            # One that reads a value twice is two.
            readers.update(origins.get(name, name) for name in set(node.input) if list(node.input).count(name) > 1)
    readers.update(origins.get(each.name, each.name) for each in graph.output)
    return origins, readers


@dataclass(frozen=True)
class _Value:
    """Where a value is made, 0 the image; `flat` where it has been made a vector, [n, c·h·w].

    `pixel`: a vector that is a map of one pixel to ONNX, [n, c, 1, 1]. `padding` (left, right, top, bottom) are zeros around it,
    which a convolution takes to its own. `steps`: of its rows and of its columns every second, third, … counts, for filters of
    1 × 1.
    """

    place: int
    flat: bool = False
    pixel: bool = False
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    steps: tuple[int, int] = (1, 1)


@dataclass
class _Reader:
    """The nodes read so far, and what their names stand for."""

    path: Path
    shapes: list[Shape]
    constants: dict[str, Array]
    values: dict[str, _Value]
    # What a name is another name of, and how many operators and outputs read what has no other.
    origins: dict[str, str]
    readers: Counter[str]
    nodes: list[Node] = field(default_factory=list)
    weights: dict[int, tuple[Array, Array]] = field(default_factory=dict)
    parameters: int = 0
    # Probabilities have been made: nothing follows.
    ended: bool = False
    # The image is multiplied by the first and the second is added.
    image_gain: Array = field(default_factory=lambda: np.ones(1))
    image_shift: Array = field(default_factory=lambda: np.zeros(1))

    @classmethod
    def of(cls, graph: Any, path: Path, image_size: int | None) -> _Reader:
        """At the beginning of a graph; raises SqueezekitError for one whose input is no image."""
        from onnx import numpy_helper

        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        inputs = [each for each in graph.input if each.name not in constants]
        if len(inputs) != 1:
            raise SqueezekitError(f"{path}: takes {len(inputs)} inputs; give a graph that takes one image")
        dims = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim]
        if len(dims) != 4 or dims[1] not in (1, 3, 4):
            asked = "×".join(str(dim or "?") for dim in dims)
            raise SqueezekitError(f"{path}: takes {asked}; give a graph that takes [n, channels, height, width]")
        side = dims[2] or image_size
        if not side or (dims[3] or side) != side or (image_size or side) != side:
            said = f"{dims[2] or '?'} × {dims[3] or '?'}"
            raise SqueezekitError(f"{path}: takes images of {said} pixels; give --image-size, the side of square ones")
        return cls(path, [(dims[1], side, side)], constants, {inputs[0].name: _Value(0)}, *_readers_of(graph))

    def read(self, node: Any) -> None:
        """Take one node in; raises Unreadable."""
        read = _READERS.get(node.op_type)
        if read is None:
            raise Unreadable("cannot be read")
        if self.ended and node.op_type not in ALIASES:
            raise Unreadable("computes with probabilities")
        if node.op_type == "Identity" and node.input[0] in self.constants:
            self.constants[node.output[0]] = self.constants[node.input[0]]
        elif node.op_type != "Constant" and all(name in self.constants for name in node.input if name):
            raise Unreadable("computes with constants alone; simplify the graph first (onnxsim)")
        else:
            read(self, node, _attributes(node))

    def result(self, outputs: Any) -> ImportedGraph:
        """What has been read; raises SqueezekitError for a graph that makes no logits."""
        last = self.values.get(outputs[0].name) if len(outputs) == 1 else None
        shape = self.shapes[-1]
        if last is None or last.place != len(self.nodes) or len(shape) != 1 or shape[0] < 2:
            raise SqueezekitError(f"{self.path}: does not end in the logits of one classifier")
        tensors: dict[str, Array] = {}
        for place, (weight, bias) in self.weights.items():
            name = layer_name(place - 1, self.nodes[place - 1])
            tensors |= {f"{name}.weight": weight, f"{name}.bias": bias}
        if self.nodes[-1].kind == "linear":
            # As many as there are classes, so that the network can learn others.
            self.nodes[-1] = self.nodes[-1].model_copy(update={"channels": 0})
        mean, std = -self.image_shift / self.image_gain, 1 / self.image_gain
        channels, side, _ = self.shapes[0]
        return ImportedGraph(
            tuple(self.nodes), tensors, channels, side, shape[0], tuple(map(float, mean)), tuple(map(float, std))
        )

    def value(self, name: str, *, padded: bool = False, stepped: bool = False) -> _Value:
        """What a name stands for that an operator takes as its image or map.

        `padded` where it can take zeros around it, `stepped` where it can leave out rows and columns.
        """
        if name not in self.values:
            raise Unreadable(f"takes '{shown(name)}', which is no map")
        if any(self.values[name].padding) and not padded:
            raise Unreadable("takes a map with zeros around it, and is no convolution")
        if self.values[name].steps != (1, 1) and not stepped:
            raise Unreadable("takes every second row or column, and is no convolution of 1 × 1")
        return self.values[name]

    def constant(self, name: str) -> Array:
        """A constant as float32 or as integers."""
        if name not in self.constants:
            raise Unreadable(f"takes '{shown(name)}', which is no constant")
        array = self.constants[name]
        return array.astype(np.float32) if array.dtype.kind == "f" else array

    def add(
        self, output: str, node: Node, weight: Array | None = None, bias: Array | None = None, *, pixel: bool = False
    ) -> None:
        """One more node, whose result has that name."""
        given = [self.shapes[place] for place in node.inputs]
        try:
            self.shapes.append(shape_made(node, given, 0))
        except ValueError as error:
            raise Unreadable(str(error)) from None
        self.nodes.append(node)
        if weight is not None:
            if weight.shape != (fitting := weight_shape(node, given[0], 0)):
                raise Unreadable(f"has weights of the shape {weight.shape} where {fitting} is needed")
            bias = np.zeros(1, np.float32) if bias is None else bias.reshape(-1)
            self.parameters += weight.size + len(weight)
            if self.parameters > MAX_PARAMETERS:
                raise Unreadable(f"is one of more than {MAX_PARAMETERS:,} parameters")
            if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
                raise Unreadable("has weights that are no finite numbers")
            self.weights[len(self.nodes)] = (np.ascontiguousarray(weight), np.array(np.broadcast_to(bias, len(weight))))
        self.values[output] = _Value(len(self.nodes), pixel=pixel)

    def read_once(self, name: str) -> bool:
        """Whether one operator alone reads a value, under whatever name."""
        return self.readers[self.origins.get(name, name)] == 1

    def scale(self, name: str, output: str, gain: Array, shift: Array) -> None:
        """Multiply each channel of a map and add to it: in the layer that makes it, if nobody else reads that, or in one more."""
        source = self.value(name)
        channels = self.shapes[source.place][0]
        gain, shift = (np.broadcast_to(each.astype(np.float32), channels) for each in (gain, shift))
        if source.place in self.weights and self.read_once(name):
            weight, bias = self.weights[source.place]
            self.weights[source.place] = (weight * gain.reshape(-1, *[1] * (weight.ndim - 1)), bias * gain + shift)
            self.values[output] = source
            return
        if source.flat or len(self.shapes[source.place]) == 1:
            raise Unreadable("scales what no linear layer of its own makes")
        made = Node(kind="convolution", inputs=(source.place,), channels=channels, groups=channels)
        self.add(output, made, gain.reshape(-1, 1, 1, 1), shift)


def _convolution(reader: _Reader, node: Any, given: Mapping[str, Any]) -> None:
    weight = reader.constant(node.input[1])
    bias = reader.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    source = reader.value(node.input[0], padded=True, stepped=True)
    if weight.ndim != 4 or source.flat:
        raise Unreadable("is not a convolution of maps")
    if len(reader.shapes[source.place]) == 1 and weight.shape[2:] == (1, 1) and given.get("group", 1) == 1:
        # A convolution of one pixel is a linear layer.
        made = Node(kind="linear", inputs=(source.place,), channels=len(weight))
        reader.add(node.output[0], made, weight[:, :, 0, 0], bias, pixel=True)
        return
    window = _window(reader, source, given, weight.shape[2:])
    if source.steps != (1, 1):
        if window["kernel"] > 1 or any(window["padding"]):
            raise Unreadable("takes every second row or column, by filters of more than a pixel or with zeros around them")
        window["stride"] *= _square(source.steps)
    made = Node(kind="convolution", inputs=(source.place,), channels=len(weight), groups=given.get("group", 1), **window)
    reader.add(node.output[0], made, weight, bias)


def _window(reader: _Reader, source: _Value, given: Mapping[str, Any], kernel: Any) -> dict[str, Any]:
    """The fields of a node with a window."""
    kernel, strides = tuple(kernel), tuple(given.get("strides", (1, 1)))
    dilations, pads = tuple(given.get("dilations", (1, 1))), tuple(given.get("pads", (0, 0, 0, 0)))
    if len(kernel) != 2 or any(len(set(each)) != 1 for each in (kernel, strides, dilations)):
        raise Unreadable("has a window, a stride or a dilation that is not square")
    size, stride, dilation = kernel[0], strides[0], dilations[0]
    top, left, bottom, right = pads
    automatic = given.get("auto_pad", b"NOTSET").decode()
    if automatic.startswith("SAME"):
        if any(source.padding):
            raise Unreadable("pads by itself what has zeros around it")
        edges = [_same(side, size, stride, dilation) for side in reader.shapes[source.place][1:]]
        (top, bottom), (left, right) = edges if automatic == "SAME_UPPER" else [(after, before) for before, after in edges]
    left, right, top, bottom = (own + zeros for own, zeros in zip((left, right, top, bottom), source.padding, strict=True))
    if given.get("ceil_mode"):
        bottom, right = (
            end + -(side + begin + end - dilation * (size - 1) - 1) % stride
            for side, begin, end in zip(reader.shapes[source.place][1:], (top, left), (bottom, right), strict=True)
        )
    return {"kernel": size, "stride": stride, "dilation": dilation, "padding": (left, right, top, bottom)}


def _square(steps: tuple[int, int]) -> int:
    """Both of them, which have to be the same."""
    if steps[0] != steps[1]:
        raise Unreadable("takes other rows than columns")
    return steps[0]


def _same(side: int, size: int, stride: int, dilation: int) -> tuple[int, int]:
    missing = max((-(-side // stride) - 1) * stride + dilation * (size - 1) + 1 - side, 0)
    return missing // 2, missing - missing // 2


def _batch_norm(reader: _Reader, node: Any, given: Mapping[str, Any]) -> None:
    gain, shift, mean, variance = (reader.constant(name) for name in node.input[1:5])
    if given.get("training_mode") or not len(gain) == len(shift) == len(mean) == len(variance):
        raise Unreadable("takes statistics of its own images, or not one of each for each channel")
    gain = gain / np.sqrt(variance + np.float32(given.get("epsilon", 1e-5)))
    reader.scale(node.input[0], node.output[0], gain, shift - mean * gain)


def _linear(reader: _Reader, node: Any, given: Mapping[str, Any]) -> None:
    if given.get("alpha", 1.0) != 1 or given.get("beta", 1.0) != 1 or given.get("transA"):
        raise Unreadable("scales or transposes what it takes")
    weight, source = reader.constant(node.input[1]), reader.value(node.input[0])
    shape = reader.shapes[source.place]
    if weight.ndim != 2 or source.pixel or (len(shape) == 3 and not source.flat):
        raise Unreadable("is not a linear layer of one vector")
    weight = weight if given.get("transB") else weight.T
    bias = reader.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    reader.add(node.output[0], Node(kind="linear", inputs=(source.place,), channels=len(weight)), weight, bias)


def _sum(reader: _Reader, node: Any, given: Mapping[str, Any]) -> None:
    names = [name for name in node.input if name not in reader.constants]
    if len(names) == 2:
        _simple("add")(reader, node, given)
        return
    _affine(reader, node, np.ones(1), _constant_of(reader, node))


def _constant_of(reader: _Reader, node: Any) -> Array:
    """The one constant that an operator takes beside a map."""
    names = [name for name in node.input if name in reader.constants]
    if len(names) != 1:
        raise Unreadable("computes with two maps")
    return reader.constant(names[0])


def _affine(reader: _Reader, node: Any, gain: Array, shift: Array) -> None:
    """Arithmetic with constants; on the image itself it is part of how pixels are scaled."""
    name = next(name for name in node.input if name not in reader.constants)
    source = reader.value(name)
    shape = (*reader.shapes[source.place], *[1] * (2 * source.pixel))
    gain, shift = (_each_channel(each, shape) for each in (gain, shift))
    if source.place != 0 or reader.nodes or not reader.read_once(name):
        reader.scale(name, node.output[0], gain, shift)
        return
    reader.image_gain, reader.image_shift = reader.image_gain * gain, reader.image_shift * gain + shift
    if not np.isfinite(reader.image_gain).all() or (reader.image_gain == 0).any():
        raise Unreadable("makes every image the same")
    reader.values[node.output[0]] = _Value(0)


def _each_channel(constant: Array, shape: Shape) -> Array:
    """One number for all channels of a value of this shape, or one for each: of a map [channels, 1, 1]; float32 [channels]."""
    aligned = (1,) * (len(shape) + 1 - constant.ndim) + constant.shape
    if constant.size != 1 and aligned != (1, shape[0], *[1] * (len(shape) - 1)):
        raise Unreadable("takes a constant that is not one number for each channel")
    return np.broadcast_to(constant.reshape(-1), shape[0]).astype(np.float32)


def _difference(reader: _Reader, node: Any, given: Mapping[str, Any]) -> None:
    _affine(reader, node, np.ones(1), -reader.constant(node.input[1]))


def _product(reader: _Reader, node: Any, given: Mapping[str, Any]) -> None:
    _affine(reader, node, _constant_of(reader, node), np.zeros(1))


def _quotient(reader: _Reader, node: Any, given: Mapping[str, Any]) -> None:
    _affine(reader, node, 1 / reader.constant(node.input[1]), np.zeros(1))


def _simple(kind: Any) -> Callable[[_Reader, Any, Mapping[str, Any]], None]:
    def read(reader: _Reader, node: Any, given: Mapping[str, Any]) -> None:
        if kind == "concatenate" and given.get("axis") not in (1, -3):
            raise Unreadable("does not join channels")
        given_values = [reader.value(name) for name in node.input]
        made = Node(kind=kind, inputs=tuple(value.place for value in given_values))
        reader.add(node.output[0], made, pixel=all(value.pixel for value in given_values))

    return read


def _clip(reader: _Reader, node: Any, given: Mapping[str, Any]) -> None:
    bounds = [reader.constant(name).item() for name in node.input[1:] if name] or [given.get("min"), given.get("max")]
    if bounds != [0.0, 6.0]:
        raise Unreadable("is not a ReLU6, from 0 to 6")
    source = reader.value(node.input[0])
    reader.add(node.output[0], Node(kind="relu6", inputs=(source.place,)), pixel=source.pixel)


def _pool(kind: Any) -> Callable[[_Reader, Any, Mapping[str, Any]], None]:
    def read(reader: _Reader, node: Any, given: Mapping[str, Any]) -> None:
        source = reader.value(node.input[0])
        window = _window(reader, source, given, given["kernel_shape"])
        if kind == "average-pool":
            if window != _window(reader, source, {**given, "ceil_mode": 0}, given["kernel_shape"]):
                raise Unreadable("counts an edge in its averages that is not there")
            if tuple(given["kernel_shape"]) == reader.shapes[source.place][1:] and not any(window["padding"]):
                reader.add(node.output[0], Node(kind="mean", inputs=(source.place,)), pixel=True)
                return
            if any(window["padding"]) and not given.get("count_include_pad"):
                raise Unreadable("counts no padding in its averages")
        reader.add(node.output[0], Node(kind=kind, inputs=(source.place,), **window))

    return read


def _mean(reader: _Reader, node: Any, given: Mapping[str, Any]) -> None:
    axes = given.get("axes") or (reader.constant(node.input[1]).tolist() if len(node.input) > 1 else [])
    if sorted(axis % 4 for axis in axes) != [2, 3]:
        raise Unreadable("is not the mean over height and width")
    _global_mean(reader, node, given)


def _global_mean(reader: _Reader, node: Any, given: Mapping[str, Any]) -> None:
    made = Node(kind="mean", inputs=(reader.value(node.input[0]).place,))
    reader.add(node.output[0], made, pixel=bool(given.get("keepdims", 1)))


def _padded(reader: _Reader, node: Any, given: Mapping[str, Any]) -> None:
    pads = given["pads"] if "pads" in given else reader.constant(node.input[1]).tolist()
    value = reader.constant(node.input[2]).item() if len(node.input) > 2 and node.input[2] else given.get("value", 0.0)
    elsewhere = len(node.input) > 3 and node.input[3] and reader.constant(node.input[3]).tolist() != [0, 1, 2, 3]
    whole = len(pads) == 8 and not (pads[0] or pads[4]) and min(pads) >= 0
    if given.get("mode", b"constant") != b"constant" or value or elsewhere or not whole:
        raise Unreadable("does not put zeros around a map, in the order of all its dimensions")
    around = (pads[3], pads[7], pads[2], pads[6])
    if not (pads[1] or pads[5]):
        reader.values[node.output[0]] = _Value(reader.value(node.input[0]).place, padding=around)
    elif any(around):
        raise Unreadable("puts zeros around a map and beside its channels")
    else:
        _more_channels(reader, node, pads[1], pads[5])


def _more_channels(reader: _Reader, node: Any, before: int, behind: int) -> None:
    """Zeros as further channels, of every second pixel or of all: a convolution whose filters are a channel each, or nothing."""
    source = reader.value(node.input[0], stepped=True)
    shape = reader.shapes[source.place]
    if len(shape) != 3 or source.flat:
        raise Unreadable("does not put channels beside those of a map")
    if (before + shape[0] + behind) * shape[0] > MAX_PARAMETERS:
        raise Unreadable(f"makes a network of more than {MAX_PARAMETERS:,} parameters")
    weight = np.pad(np.eye(shape[0], dtype=np.float32), ((before, behind), (0, 0)))[:, :, None, None]
    made = Node(kind="convolution", inputs=(source.place,), channels=len(weight), stride=_square(source.steps))
    reader.add(node.output[0], made, weight)


def _every_second(reader: _Reader, node: Any, given: Mapping[str, Any]) -> None:
    source = reader.value(node.input[0], stepped=True)
    # Before version 10 of its operators they were attributes, without steps.
    begins, ends, axes, strides = (reader.constant(name).reshape(-1).tolist() for name in node.input[1:5])
    shape, steps = reader.shapes[source.place], list(source.steps)
    for begin, end, axis, stride in zip(begins, ends, axes, strides, strict=True):
        # Dimensions are [n, channels, height, width].
        along = axis % 4 - 2
        if along < 0 or len(shape) != 3 or source.flat or begin or stride < 1 or end < shape[1 + along]:
            raise Unreadable("does not take every second row or column, from the first to the last")
        steps[along] *= stride
    reader.values[node.output[0]] = _Value(source.place, steps=(steps[0], steps[1]))


def _flattened(reader: _Reader, node: Any, given: Mapping[str, Any]) -> None:
    source = reader.value(node.input[0])
    if node.op_type == "Flatten" and given.get("axis", 1) != 1:
        raise Unreadable("does not make one vector of an image's map")
    if node.op_type == "Reshape":
        shape = reader.constant(node.input[1]).tolist()
        numbers = int(np.prod(reader.shapes[source.place]))
        if len(shape) != 2 or shape[1] not in (-1, numbers):
            raise Unreadable("does not make one vector of an image's map")
    reader.values[node.output[0]] = _Value(source.place, flat=True)


def _same_value(reader: _Reader, node: Any, given: Mapping[str, Any]) -> None:
    reader.values[node.output[0]] = reader.value(node.input[0], padded=True, stepped=True)


def _squeezed(reader: _Reader, node: Any, given: Mapping[str, Any]) -> None:
    source = reader.value(node.input[0])
    axes = given.get("axes") or (reader.constant(node.input[1]).tolist() if len(node.input) > 1 else [])
    if not source.pixel or sorted(axis % 4 for axis in axes) != [2, 3]:
        raise Unreadable("does not take away height and width of one pixel")
    reader.values[node.output[0]] = _Value(source.place)


def _constant(reader: _Reader, node: Any, given: Mapping[str, Any]) -> None:
    from onnx import numpy_helper

    if "value" not in given:
        raise Unreadable("is no tensor")
    reader.constants[node.output[0]] = numpy_helper.to_array(given["value"])


def _softmax(reader: _Reader, node: Any, given: Mapping[str, Any]) -> None:
    # Its input are the logits; only at the end of a graph does it leave them what they are.
    value = reader.value(node.input[0])
    over_classes = given.get("axis", -1) in ((1, -3) if value.pixel else (1, -1))
    if not over_classes or len(reader.shapes[value.place]) != 1 or value.place != len(reader.nodes):
        raise Unreadable("is not one over classes at the end of the graph")
    reader.values[node.output[0]] = value
    reader.ended = True


_READERS: dict[str, Callable[[_Reader, Any, Mapping[str, Any]], None]] = {
    "Conv": _convolution,
    "BatchNormalization": _batch_norm,
    "Gemm": _linear,
    "MatMul": _linear,
    "Add": _sum,
    "Sub": _difference,
    "Mul": _product,
    "Div": _quotient,
    "Concat": _simple("concatenate"),
    "Relu": _simple("relu"),
    "Clip": _clip,
    "Pad": _padded,
    "Slice": _every_second,
    "MaxPool": _pool("max-pool"),
    "AveragePool": _pool("average-pool"),
    "GlobalAveragePool": _global_mean,
    "ReduceMean": _mean,
    "Flatten": _flattened,
    "Reshape": _flattened,
    "Squeeze": _squeezed,
    "Identity": _same_value,
    "Dropout": _same_value,
    "Constant": _constant,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
}


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def build_graph(graph: ImportedGraph, mean: tuple[float, ...], std: tuple[float, ...]) -> nn.Module:
    """The network, in evaluation mode; pixels scaled to 0…1 less `mean`, divided by `std`, are what its first node takes.

    Raises SqueezekitError for one that is too large, and for scales that no image has.
    """
    config = network_config(
        "graph",
        nodes=graph.nodes,
        channels=graph.channels,
        image_size=graph.image_size,
        classes=graph.classes,
        mean=mean,
        std=std,
    )
    config.check_work()
    network = config.build()
    network.load_state_dict({name: torch.from_numpy(np.array(array, np.float32)) for name, array in graph.weights.items()})
    return network.eval()
