"""What has been read of a network in an `.onnx` file: the nodes and weights so far, and what each name stands for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squeezekit.networks.config import MAX_PARAMETERS
from squeezekit.networks.graph import Node, Shape, layer_name, shape_made, weight_shape
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.shown_text import shown

Array = NDArray[Any]
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
class Value:
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
class GraphReader:
    """The nodes read so far, and what their names stand for."""

    path: Path
    shapes: list[Shape]
    constants: dict[str, Array]
    values: dict[str, Value]
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
    def of(cls, graph: Any, path: Path, image_size: int | None) -> GraphReader:
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
        return cls(path, [(dims[1], side, side)], constants, {inputs[0].name: Value(0)}, *_readers_of(graph))

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

    def value(self, name: str, *, padded: bool = False, stepped: bool = False) -> Value:
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
        self.values[output] = Value(len(self.nodes), pixel=pixel)

    def rename(self, name: str, output: str, value: Value) -> None:
        """The result of an operator that adds no node: who reads it reads what it is made from."""
        origin = self._origin(name)
        self.readers[origin] += self.readers[output] - 1
        self.origins[output] = origin
        self.values[output] = value

    def read_once(self, name: str) -> bool:
        """Whether one operator alone reads a value, under whatever name."""
        return self.readers[self._origin(name)] == 1

    def _origin(self, name: str) -> str:
        while name in self.origins:
            name = self.origins[name]
        return name

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
