"""Networks as other programs describe them: convolutions, sums, poolings and linear layers, one node after the other."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Annotated, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from squeezekit.networks.config import HIDDEN, NetworkConfig, Work

MAX_NODES = 2000
# Channels, height and width; of what a mean or a linear layer makes, outputs alone.
Shape = tuple[int, ...]
Kind = Literal["convolution", "linear", "add", "concatenate", "relu", "relu6", "max-pool", "average-pool", "mean"]
Count = Annotated[int, Field(ge=1, le=1 << 16)]
Edge = Annotated[int, Field(ge=0, le=1024)]
JOINING, WINDOWED = ("add", "concatenate"), ("convolution", "max-pool", "average-pool")


class Node(BaseModel):
    """One operation: what it makes of its `inputs`, of which 0 is the image and n what the n-th node makes.

    A kind uses the fields that it needs: `channels` are those that a convolution makes, or the outputs of a linear layer, 0 as
    many as there are classes; `padding` is (left, right, top, bottom).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    inputs: tuple[Annotated[int, Field(ge=0, le=MAX_NODES)], ...] = Field(min_length=1, max_length=256)
    channels: int = Field(0, ge=0, le=1 << 16)
    kernel: Count = 1
    stride: Count = 1
    padding: tuple[Edge, Edge, Edge, Edge] = (0, 0, 0, 0)
    dilation: Count = 1
    groups: Count = 1


# A network of its own, so that the name alone stands for one.
EXAMPLE = (
    Node(kind="convolution", inputs=(0,), channels=16, kernel=3, stride=2, padding=(1, 1, 1, 1)),
    Node(kind="relu", inputs=(1,)),
    Node(kind="mean", inputs=(2,)),
    Node(kind="linear", inputs=(3,)),
)


class GraphConfig(NetworkConfig):
    """A network that was made elsewhere, by its nodes, in the order in which they compute; the last one makes the logits."""

    nodes: tuple[Node, ...] = Field(
        EXAMPLE, min_length=1, max_length=MAX_NODES, description="what it computes, in order", json_schema_extra=HIDDEN
    )

    @model_validator(mode="after")
    def _nodes_fit_together(self) -> Self:
        if self.shapes()[-1] != (self.classes,):
            raise ValueError(f"nodes: the last one makes {self.shapes()[-1]}, not {self.classes} logits")
        return self

    def shapes(self) -> list[Shape]:
        """Of the image and of what each node makes; raises ValueError for nodes that do not fit together."""
        found: list[Shape] = [(self.channels, self.image_size, self.image_size)]
        for number, node in enumerate(self.nodes, 1):
            if any(place >= number for place in node.inputs):
                raise ValueError(f"nodes: number {number} takes what a later one makes")
            try:
                found.append(shape_made(node, [found[place] for place in node.inputs], self.classes))
            except ValueError as error:
                raise ValueError(f"nodes: number {number}, {node.kind}, {error}") from None
        return found

    def work(self) -> Work:
        """Of each node; values are those of everything that is still needed while one computes."""
        shapes, done = self.shapes(), last_uses(self.nodes)
        alive, macs, parameters, most = prod(shapes[0]), 0, 0, 0
        for number, node in enumerate(self.nodes, 1):
            given = shapes[node.inputs[0]]
            alive += prod(shapes[number])
            most = max(most, alive + _padded_values(node, given))
            alive -= sum(prod(shapes[place]) for place in done[number - 1])
            weights = prod(weight_shape(node, given, self.classes))
            parameters += weights
            # What a pooling looks at takes time as well.
            macs += prod(shapes[number]) * node.kernel**2 if node.kind.endswith("pool") else weights * prod(shapes[number][1:])
        return Work(parameters, most, macs)

    def build(self) -> GraphNetwork:
        """The untrained network."""
        return GraphNetwork(self)


def shape_made(node: Node, given: Sequence[Shape], classes: int) -> Shape:
    """The shape of what a node makes; raises ValueError where it cannot take the given ones."""
    first = given[0]
    if node.kind not in JOINING and len(given) != 1:
        raise ValueError("takes one input")
    if node.kind == "add":
        if set(given) != {first}:
            raise ValueError(f"adds the shapes {', '.join(map(str, given))}")
        return first
    if node.kind in ("relu", "relu6"):
        return first
    if node.kind == "linear":
        return (node.channels or classes,)
    if any(len(shape) != 3 for shape in given):
        raise ValueError("takes maps, not the outputs of a linear layer or of a mean")
    if node.kind == "concatenate":
        if {shape[1:] for shape in given} != {first[1:]}:
            raise ValueError(f"joins the shapes {', '.join(map(str, given))}")
        return (sum(shape[0] for shape in given), *first[1:])
    if node.kind == "mean":
        return first[:1]
    if node.dilation != 1 and (node.kind == "average-pool" or (node.kind == "max-pool" and not _pads_evenly(node))):
        raise ValueError("cannot be dilated")
    channels = first[0] if node.kind.endswith("pool") else node.channels or classes
    if node.kind == "convolution" and (first[0] % node.groups or channels % node.groups):
        raise ValueError(f"divides {first[0]} and {channels} channels into {node.groups} groups")
    return (channels, _side(first[1], node, node.padding[2:]), _side(first[2], node, node.padding[:2]))


def _side(side: int, node: Node, edges: Sequence[int]) -> int:
    window = node.dilation * (node.kernel - 1) + 1
    if max(edges) >= window:
        raise ValueError(f"pads by {max(edges)} pixels for a window of {window}")
    made = (side + sum(edges) - window) // node.stride + 1
    if made < 1:
        raise ValueError(f"has a window of {window} for {side} pixels")
    return made


def _padded_values(node: Node, given: Shape) -> int:
    """The values of a map with its border."""
    if node.kind not in WINDOWED or not any(node.padding):
        return 0
    left, right, top, bottom = node.padding
    return given[0] * (given[1] + top + bottom) * (given[2] + left + right)


def weight_shape(node: Node, given: Shape, classes: int) -> Shape:
    """The shape of a node's weights; that of the others holds nothing."""
    channels = node.channels or classes
    if node.kind == "convolution":
        return (channels, given[0] // node.groups, node.kernel, node.kernel)
    return (channels, prod(given)) if node.kind == "linear" else (0,)


def last_uses(nodes: Sequence[Node]) -> list[list[int]]:
    """For each node, what nothing reads after it."""
    last = {place: number for number, node in enumerate(nodes) for place in node.inputs}
    return [[place for place, at in last.items() if at == number] for number in range(len(nodes))]


class GraphNetwork(nn.Module):
    """What the nodes compute: float [n, channels, h, w] -> logits [n, classes]. `steps` has a layer for each node."""

    def __init__(self, config: GraphConfig) -> None:
        super().__init__()
        self.config = config
        shapes = config.shapes()
        self.steps = nn.ModuleList(_step(node, shapes[node.inputs[0]], config.classes) for node in config.nodes)
        self._done = last_uses(config.nodes)

    def forward(self, x: Tensor) -> Tensor:
        made: list[Tensor | None] = [x]
        for node, step, done in zip(self.config.nodes, self.steps, self._done, strict=True):
            made.append(_computed(node, step, [made[place] for place in node.inputs]))  # type: ignore[misc]
            for place in done:
                made[place] = None
        logits = made[-1]
        assert logits is not None
        return logits


def _computed(node: Node, step: nn.Module, given: list[Tensor]) -> Tensor:
    if node.kind == "add":
        total = given[0]
        for each in given[1:]:
            total = total + each
        return total
    if node.kind == "concatenate":
        return torch.cat(given, 1)
    if node.kind == "mean":
        return given[0].mean((2, 3))
    made: Tensor = step(given[0].flatten(1) if node.kind == "linear" else given[0])
    return made


def _step(node: Node, given: Shape, classes: int) -> nn.Module:
    """The layer of a node; of one without weights that needs none, nothing."""
    even = _pads_evenly(node)
    window = {"kernel_size": node.kernel, "stride": node.stride, "padding": node.padding[2::-2] if even else 0}
    layer: nn.Module
    if node.kind == "convolution":
        channels, grouping = node.channels or classes, {"dilation": node.dilation, "groups": node.groups}
        layer = nn.Conv2d(given[0], channels, **window, **grouping)  # type: ignore[arg-type]
    elif node.kind == "max-pool":
        layer = nn.MaxPool2d(**window, dilation=node.dilation)  # type: ignore[arg-type]
        # Every window that reaches over the edge holds the edge itself.
        return layer if even else nn.Sequential(nn.ReplicationPad2d(node.padding), layer)
    elif node.kind == "average-pool":
        layer = nn.AvgPool2d(**window)  # type: ignore[arg-type]
    else:
        plain = {"relu": nn.ReLU, "relu6": nn.ReLU6}.get(node.kind, nn.Identity)
        return nn.Linear(prod(given), node.channels or classes) if node.kind == "linear" else plain()
    return layer if even else nn.Sequential(nn.ZeroPad2d(node.padding), layer)


def _pads_evenly(node: Node) -> bool:
    left, right, top, bottom = node.padding
    # Torch's poolings take no wider border by themselves.
    narrow = node.kind == "convolution" or 2 * max(node.padding) <= node.kernel
    return left == right and top == bottom and narrow


def layer_name(number: int, node: Node) -> str:
    """The name in `GraphNetwork` of the layer of a node with weights, the first being number 0."""
    return f"steps.{number}" if node.kind == "linear" or _pads_evenly(node) else f"steps.{number}.1"
