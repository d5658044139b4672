"""The structure of a network that was made elsewhere, node by node: which of its nodes make up what is computed at once.

Convolutions take the ReLU behind them along, and the sum that they are a part of; those of one feature map whose channels are
joined become one part. Nothing here needs PyTorch or NumPy: a device reads files by it, too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

from ..system.errors import SqueezekitError
from .parts import ConvolutionLayer, GraphLayers, GraphPooling, NetworkPart, PoolingLayer, Structure
from .stored_fields import MAX_KERNEL, StoredFields, StoredWeights, damaged

MAX_NODES, MAX_STRIDE = 2000, 4
# So that where they lie in memory is found out in a moment.
MAX_PARTS = 256
# By kind, how many maps a node reads at least and at most.
READ = {"concatenate": (1, 256), "add": (2, 2)} | dict.fromkeys(
    ("convolution", "relu", "relu6", "max-pool", "average-pool", "mean", "linear"), (1, 1)
)
RELU6 = 6.0


def graph_structure(fields: StoredFields, weights: StoredWeights) -> Structure:
    """The structure of nodes, which have the fields of `networks.graph.Node`.

    Raises SqueezekitError, naming the first node that has no integer form.
    """
    nodes = fields.values["nodes"]
    if not isinstance(nodes, list | tuple) or len(nodes) > MAX_NODES:
        raise damaged("nodes")
    read = [StoredNode.read(number, node) for number, node in enumerate(nodes, 1)]
    used = {number for node in read for number in node.inputs}
    if idle := next((node for node in read[:-1] if node.number not in used), None):
        raise idle.refused(" that nothing reads")
    walk = _Walk(read, weights, fields.image()[0])
    if walk.classifier is None:
        raise read[-1].refused() if read else damaged("nodes")
    return Structure(*fields.image(), parts=tuple(walk.parts), classifier=walk.classifier, rectified=walk.rectified)


@dataclass(frozen=True)
class StoredNode:
    """A node as a file holds it, `number` from 1 on; `inputs` are earlier ones, 0 the image."""

    number: int
    kind: str
    inputs: tuple[int, ...]
    kernel: int
    stride: int
    dilation: int
    groups: int
    padding: tuple[int, ...]

    @classmethod
    def read(cls, number: int, node: Any) -> StoredNode:
        """One that somebody else may have written; raises SqueezekitError."""
        if not isinstance(node, Mapping) or not isinstance(kind := node.get("kind"), str) or kind not in READ:
            raise _unknown(number)
        inputs, padding = node.get("inputs"), node.get("padding", (0, 0, 0, 0))
        counts = [node.get(name, 1) for name in ("kernel", "stride", "dilation", "groups")]
        if not (isinstance(inputs, list | tuple) and isinstance(padding, list | tuple) and len(padding) == 4):
            raise _unknown(number)
        least, most = READ[kind]
        if not least <= len(inputs) <= most or len(set(map(str, inputs))) < len(inputs):
            raise _refused(number, kind, " of fewer or more maps than it has a form for")
        whole = [*inputs, *padding, *(count - 1 if type(count) is int else -1 for count in counts)]
        if not all(type(each) is int and 0 <= each < 1 << 16 for each in whole) or max(inputs) >= number:
            raise _unknown(number)
        kernel, stride, dilation, groups = counts
        return cls(number, kind, tuple(inputs), kernel, stride, dilation, groups, tuple(padding))

    def refused(self, why: str = "") -> SqueezekitError:
        """This node has no integer form."""
        return _refused(self.number, self.kind, why)


class _Walk:
    """From node to node. A convolution waits for what comes behind it, until something reads its feature map."""

    def __init__(self, nodes: list[StoredNode], weights: StoredWeights, side: int) -> None:
        self._weights, self._last = weights, len(nodes)
        self._readers = Counter(number for node in nodes for number in node.inputs)
        self.parts = list[NetworkPart]()
        self.classifier: ConvolutionLayer | None = None
        self.rectified = False
        # By node: its place, the part that waits, or the node whose mean it is. By place: the side of its feature map.
        self._places, self._waiting, self._means = {0: 0}, dict[int, GraphLayers](), dict[int, int]()
        self._sides = [side]
        kinds = {
            "convolution": self._convolution,
            "relu": self._relu,
            "relu6": self._relu,
            "add": self._sum,
            "concatenate": self._joined,
            "max-pool": self._pooled,
            "average-pool": self._mean,
            "mean": self._mean,
            "linear": self._linear,
        }
        for node in nodes:
            kinds[node.kind](node)
            if len(self.parts) > MAX_PARTS:
                raise node.refused(f" behind {MAX_PARTS} maps")

    def _place(self, node: StoredNode, number: int) -> int:
        """Where the feature map is that a node reads, which is made now at the latest."""
        if number in self._waiting:
            side = self._side(node, number)
            self._places[number] = self._append(self._waiting.pop(number), side)
        if number not in self._places:
            raise node.refused()
        return self._places[number]

    def _side(self, node: StoredNode, number: int) -> int:
        """That of the feature map that a node reads."""
        if part := self._waiting.get(number):
            layer = part.convolutions[0]
            return (self._sides[part.source] + 2 * layer.padding - layer.kernel) // layer.stride + 1
        return self._sides[self._place(node, number)]

    def _append(self, part: NetworkPart, side: int) -> int:
        self.parts.append(part)
        self._sides.append(side)
        return len(self.parts)

    def _alone(self, number: int) -> GraphLayers | None:
        """The part that waits, of a node that one other alone reads."""
        return self._waiting.get(number) if self._readers[number] == 1 else None

    def _convolution(self, node: StoredNode) -> None:
        if len(set(node.padding)) > 1 or node.padding[0] >= node.kernel:
            raise node.refused(" whose borders are not alike, or as wide as its filters")
        if node.kernel > MAX_KERNEL or node.stride > MAX_STRIDE or node.dilation > 1:
            raise node.refused(f" of filters above {MAX_KERNEL} x {MAX_KERNEL}, more than {MAX_STRIDE} apart, or dilated")
        layer = self._weights.take(f"steps.{node.number - 1}")
        depthwise = node.groups > 1 and layer.shape[1] == 1 and node.groups == layer.filters
        if node.groups > 1 and (not depthwise or node.inputs[0] == 0):
            raise node.refused(" in groups, other than a channel and a filter each of a feature map")
        if layer.kernel != node.kernel:
            raise _unknown(node.number)
        placed = ConvolutionLayer(layer.name, layer.shape, node.stride, node.padding[0], depthwise)
        self._waiting[node.number] = GraphLayers(self._place(node, node.inputs[0]), (placed,))

    def _relu(self, node: StoredNode) -> None:
        number, most = node.inputs[0], RELU6 if node.kind == "relu6" else math.inf
        part = self._alone(number)
        if part is None or part.rectified:
            raise node.refused(" that no convolution alone stands before")
        if part.added is not None and most == RELU6:
            raise node.refused(" of a sum")
        del self._waiting[number]
        self._waiting[node.number] = replace(part, rectified=True, most=most)

    def _sum(self, node: StoredNode) -> None:
        """Two maps, the later one of a convolution that nothing else reads: to its bytes the other's are added."""
        for number, other in permutations(sorted(node.inputs, reverse=True)):
            part = self._alone(number)
            if part and not part.rectified and len(part.convolutions) == 1 and part.added is None:
                added = self._place(node, other)
                if added == 0:
                    raise node.refused(" of the image")
                self._waiting[node.number] = replace(self._waiting.pop(number), added=added)
                return
        raise node.refused(" of maps, none of which is that of a convolution without ReLU that nothing else reads")

    def _joined(self, node: StoredNode) -> None:
        parts = [part for number in node.inputs if (part := self._alone(number)) and part.added is None]
        sides = {self._side(node, number) for number in node.inputs if number in self._waiting}
        alike = {(part.source, part.rectified, part.most) for part in parts}
        if len(parts) < len(node.inputs) or len(alike) > 1 or len(sides) > 1:
            raise node.refused(" of others than convolutions of one map")
        for number in node.inputs:
            del self._waiting[number]
        layers = tuple(layer for part in parts for layer in part.convolutions)
        self._waiting[node.number] = replace(parts[0], convolutions=layers)

    def _pooled(self, node: StoredNode) -> None:
        source = self._place(node, node.inputs[0])
        side, (left, right, top, bottom) = self._sides[source], node.padding
        after = (side + right - node.kernel) // node.stride + 1
        whole = -(-(side - node.kernel) // 2) + 1
        if node.stride != 2 or node.kernel not in (2, 3) or node.dilation > 1 or source == 0:
            raise node.refused(" of other windows than 2 x 2 or 3 x 3, two apart")
        if left or top or right != bottom or after != whole:
            raise node.refused(" whose windows do not begin at the first pixel and end at the last")
        self._places[node.number] = self._append(GraphPooling(source, PoolingLayer(node.kernel)), after)

    def _mean(self, node: StoredNode) -> None:
        number = node.inputs[0]
        if node.kind == "average-pool" and (node.kernel, node.padding) != (self._side(node, number), (0, 0, 0, 0)):
            raise node.refused(" of less than the whole map")
        part = self._alone(number)
        if node.number == self._last and part and _makes_scores(part):
            # The last convolution makes logits at each position.
            self._end_at(node, part.source, part.convolutions[0], part.rectified)
        else:
            self._means[node.number] = self._place(node, number)

    def _linear(self, node: StoredNode) -> None:
        number = node.inputs[0]
        place = self._means[number] if number in self._means else self._place(node, number)
        if node.number != self._last or (number not in self._means and self._sides[place] > 1):
            raise node.refused(" that is not the last, or looks at more than means")
        self._end_at(node, place, self._weights.take(f"steps.{node.number - 1}", linear=True), False)

    def _end_at(self, node: StoredNode, place: int, classifier: ConvolutionLayer, rectified: bool) -> None:
        # The last feature map is the one that is classified.
        if not place or place != len(self.parts):
            raise node.refused(" of another map than the last")
        self.classifier, self.rectified = classifier, rectified


def _makes_scores(part: GraphLayers) -> bool:
    """Whether a part is one convolution of 1 x 1 filters alone."""
    layer = part.convolutions[0]
    plain = layer.kernel == 1 and layer.stride == 1 and not layer.depthwise
    return plain and len(part.convolutions) == 1 and part.added is None and part.most == math.inf


def _refused(number: int, kind: str, why: str) -> SqueezekitError:
    return SqueezekitError(f"node {number} ({kind}{why}) has no integer form; export it to ONNX instead")


def _unknown(number: int) -> SqueezekitError:
    return SqueezekitError(f"its network: node {number} is none that a network can have; get the file again")
