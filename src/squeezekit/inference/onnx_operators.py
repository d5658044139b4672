"""What each operator of an `.onnx` file becomes: a node of a network, part of a layer that is there, or another name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from squeezekit.inference.onnx_reader import ALIASES, Array, GraphReader, Unreadable, Value
from squeezekit.networks.config import MAX_PARAMETERS
from squeezekit.networks.graph import Node, Shape

Operator = Callable[[GraphReader, Any, Mapping[str, Any]], None]


def read_node(reader: GraphReader, node: Any) -> None:
    """Take one node in; raises Unreadable, and what fields that make no sense raise."""
    operator = _OPERATORS.get(node.op_type)
    if operator is None:
        raise Unreadable("cannot be read")
    if reader.ended and node.op_type not in ALIASES:
        raise Unreadable("computes with probabilities")
    if node.op_type == "Identity" and node.input[0] in reader.constants:
        reader.constants[node.output[0]] = reader.constants[node.input[0]]
    elif node.op_type != "Constant" and all(name in reader.constants for name in node.input if name):
        raise Unreadable("computes with constants alone; simplify the graph first (onnxsim)")
    else:
        operator(reader, node, _attributes(node))


def _convolution(reader: GraphReader, node: Any, given: Mapping[str, Any]) -> None:
    weight = reader.constant(node.input[1])
    bias = reader.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    source = reader.value(node.input[0], padded=True, stepped=True)
    if weight.ndim != 4 or source.flat:
        raise Unreadable("is not a convolution of maps")
    if len(reader.shapes[source.place]) == 1 and weight.shape[2:] == (1, 1) and given.get("group", 1) == 1:
        # A convolution of one pixel is a linear layer, unless there are more around it.
        if any(source.padding) or any(given.get("pads", ())):
            raise Unreadable("has zeros around one pixel")
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


def _window(reader: GraphReader, source: Value, given: Mapping[str, Any], kernel: Any) -> dict[str, Any]:
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


def _batch_norm(reader: GraphReader, node: Any, given: Mapping[str, Any]) -> None:
    gain, shift, mean, variance = (reader.constant(name) for name in node.input[1:5])
    if given.get("training_mode") or not len(gain) == len(shift) == len(mean) == len(variance):
        raise Unreadable("takes statistics of its own images, or not one of each for each channel")
    gain = gain / np.sqrt(variance + np.float32(given.get("epsilon", 1e-5)))
    reader.scale(node.input[0], node.output[0], gain, shift - mean * gain)


def _linear(reader: GraphReader, node: Any, given: Mapping[str, Any]) -> None:
    if given.get("alpha", 1.0) != 1 or given.get("beta", 1.0) != 1 or given.get("transA"):
        raise Unreadable("scales or transposes what it takes")
    weight, source = reader.constant(node.input[1]), reader.value(node.input[0])
    shape = reader.shapes[source.place]
    if weight.ndim != 2 or source.pixel or (len(shape) == 3 and not source.flat):
        raise Unreadable("is not a linear layer of one vector")
    weight = weight if given.get("transB") else weight.T
    bias = reader.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    reader.add(node.output[0], Node(kind="linear", inputs=(source.place,), channels=len(weight)), weight, bias)


def _sum(reader: GraphReader, node: Any, given: Mapping[str, Any]) -> None:
    names = [name for name in node.input if name not in reader.constants]
    if len(names) == 2:
        _simple("add")(reader, node, given)
        return
    _affine(reader, node, np.ones(1), _constant_of(reader, node))


def _constant_of(reader: GraphReader, node: Any) -> Array:
    """The one constant that an operator takes beside a map."""
    names = [name for name in node.input if name in reader.constants]
    if len(names) != 1:
        raise Unreadable("computes with two maps")
    return reader.constant(names[0])


def _affine(reader: GraphReader, node: Any, gain: Array, shift: Array) -> None:
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
    reader.values[node.output[0]] = Value(0)


def _each_channel(constant: Array, shape: Shape) -> Array:
    """One number for all channels of a value of this shape, or one for each: of a map [channels, 1, 1]; float32 [channels]."""
    aligned = (1,) * (len(shape) + 1 - constant.ndim) + constant.shape
    if constant.size != 1 and aligned != (1, shape[0], *[1] * (len(shape) - 1)):
        raise Unreadable("takes a constant that is not one number for each channel")
    return np.broadcast_to(constant.reshape(-1), shape[0]).astype(np.float32)


def _difference(reader: GraphReader, node: Any, given: Mapping[str, Any]) -> None:
    _affine(reader, node, np.ones(1), -reader.constant(node.input[1]))


def _product(reader: GraphReader, node: Any, given: Mapping[str, Any]) -> None:
    _affine(reader, node, _constant_of(reader, node), np.zeros(1))


def _quotient(reader: GraphReader, node: Any, given: Mapping[str, Any]) -> None:
    _affine(reader, node, 1 / reader.constant(node.input[1]), np.zeros(1))


def _simple(kind: Any) -> Operator:
    def read(reader: GraphReader, node: Any, given: Mapping[str, Any]) -> None:
        if kind == "concatenate" and given.get("axis") not in (1, -3):
            raise Unreadable("does not join channels")
        given_values = [reader.value(name) for name in node.input]
        made = Node(kind=kind, inputs=tuple(value.place for value in given_values))
        reader.add(node.output[0], made, pixel=all(value.pixel for value in given_values))

    return read


def _clip(reader: GraphReader, node: Any, given: Mapping[str, Any]) -> None:
    bounds = [reader.constant(name).item() for name in node.input[1:] if name] or [given.get("min"), given.get("max")]
    if bounds != [0.0, 6.0]:
        raise Unreadable("is not a ReLU6, from 0 to 6")
    source = reader.value(node.input[0])
    reader.add(node.output[0], Node(kind="relu6", inputs=(source.place,)), pixel=source.pixel)


def _pool(kind: Any) -> Operator:
    def read(reader: GraphReader, node: Any, given: Mapping[str, Any]) -> None:
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


def _mean(reader: GraphReader, node: Any, given: Mapping[str, Any]) -> None:
    axes = given.get("axes") or (reader.constant(node.input[1]).tolist() if len(node.input) > 1 else [])
    if sorted(axis % 4 for axis in axes) != [2, 3]:
        raise Unreadable("is not the mean over height and width")
    _global_mean(reader, node, given)


def _global_mean(reader: GraphReader, node: Any, given: Mapping[str, Any]) -> None:
    made = Node(kind="mean", inputs=(reader.value(node.input[0]).place,))
    reader.add(node.output[0], made, pixel=bool(given.get("keepdims", 1)))


def _padded(reader: GraphReader, node: Any, given: Mapping[str, Any]) -> None:
    pads = given["pads"] if "pads" in given else reader.constant(node.input[1]).tolist()
    value = reader.constant(node.input[2]).item() if len(node.input) > 2 and node.input[2] else given.get("value", 0.0)
    elsewhere = len(node.input) > 3 and node.input[3] and reader.constant(node.input[3]).tolist() != [0, 1, 2, 3]
    whole = len(pads) == 8 and not (pads[0] or pads[4]) and min(pads) >= 0
    if given.get("mode", b"constant") != b"constant" or value or elsewhere or not whole:
        raise Unreadable("does not put zeros around a map, in the order of all its dimensions")
    around = (pads[3], pads[7], pads[2], pads[6])
    if not (pads[1] or pads[5]):
        reader.rename(node.input[0], node.output[0], replace(reader.value(node.input[0]), padding=around))
    elif any(around):
        raise Unreadable("puts zeros around a map and beside its channels")
    else:
        _more_channels(reader, node, pads[1], pads[5])


def _more_channels(reader: GraphReader, node: Any, before: int, behind: int) -> None:
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


def _every_second(reader: GraphReader, node: Any, given: Mapping[str, Any]) -> None:
    source = reader.value(node.input[0], stepped=True)
    if len(node.input) != 5 or not all(node.input):
        raise Unreadable("does not say along which axes, and by which steps")
    begins, ends, axes, strides = (reader.constant(name).reshape(-1).tolist() for name in node.input[1:5])
    shape, steps = reader.shapes[source.place], list(source.steps)
    for begin, end, axis, stride in zip(begins, ends, axes, strides, strict=True):
        # Dimensions are [n, channels, height, width].
        along = axis % 4 - 2
        if along < 0 or len(shape) != 3 or source.flat or begin or not 1 <= stride <= shape[1 + along] or end < shape[1 + along]:
            raise Unreadable("does not take every second row or column, from the first to the last")
        steps[along] = min(steps[along] * stride, shape[1 + along])
    reader.rename(node.input[0], node.output[0], replace(source, steps=(steps[0], steps[1])))


def _flattened(reader: GraphReader, node: Any, given: Mapping[str, Any]) -> None:
    source = reader.value(node.input[0])
    if node.op_type == "Flatten" and given.get("axis", 1) != 1:
        raise Unreadable("does not make one vector of an image's map")
    if node.op_type == "Reshape":
        shape = reader.constant(node.input[1]).tolist()
        numbers = int(np.prod(reader.shapes[source.place]))
        if len(shape) != 2 or shape[1] not in (-1, numbers):
            raise Unreadable("does not make one vector of an image's map")
    reader.values[node.output[0]] = Value(source.place, flat=True)


def _same_value(reader: GraphReader, node: Any, given: Mapping[str, Any]) -> None:
    reader.values[node.output[0]] = reader.value(node.input[0], padded=True, stepped=True)


def _squeezed(reader: GraphReader, node: Any, given: Mapping[str, Any]) -> None:
    source = reader.value(node.input[0])
    axes = given.get("axes") or (reader.constant(node.input[1]).tolist() if len(node.input) > 1 else [])
    if not source.pixel or sorted(axis % 4 for axis in axes) != [2, 3]:
        raise Unreadable("does not take away height and width of one pixel")
    reader.values[node.output[0]] = Value(source.place)


def _constant(reader: GraphReader, node: Any, given: Mapping[str, Any]) -> None:
    from onnx import numpy_helper

    if "value" not in given:
        raise Unreadable("is no tensor")
    reader.constants[node.output[0]] = numpy_helper.to_array(given["value"])


def _softmax(reader: GraphReader, node: Any, given: Mapping[str, Any]) -> None:
    # Its input are the logits; only at the end of a graph does it leave them what they are.
    value = reader.value(node.input[0])
    over_classes = given.get("axis", -1) in ((1, -3) if value.pixel else (1, -1))
    if not over_classes or len(reader.shapes[value.place]) != 1 or value.place != len(reader.nodes):
        raise Unreadable("is not one over classes at the end of the graph")
    reader.values[node.output[0]] = value
    reader.ended = True


_OPERATORS: dict[str, Operator] = {
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
