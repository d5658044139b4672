"""What a network keeps in memory: its activations, and which rows of others each row of one is computed from."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from squeezekit.networks.channel_norm import ChannelNorm
from squeezekit.networks.named_layers import CHANNELS, JOINING, argument
from squeezekit.networks.shufflenet import ChannelShuffle
from squeezekit.networks.squeezenet import Head
from squeezekit.networks.xvel_tiniest import TanhExp

Shape = tuple[int, ...]
# Reductions that keep a byte a value, where sums need four.
LARGEST = ("amax", torch.amax)


@dataclass(frozen=True)
class RowWindow:
    """Row r is computed from rows `stride` · r - `padding` + `dilation` · i of `source`, 0 <= i < `size`; others are padding."""

    source: str
    size: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    def rows(self, row: int, height: int) -> list[int]:
        """Those of the source, which is that high, that row `row` needs."""
        first = self.stride * row - self.padding
        return [each for each in range(first, first + self.dilation * self.size, self.dilation) if 0 <= each < height]

    @property
    def ahead(self) -> int:
        """By how many rows the last one of the window is ahead of row `stride` · r."""
        return self.dilation * (self.size - 1) - self.padding

    def through(self, view: RowWindow) -> RowWindow:
        """The same window, where its source is a view of another one; one of both is a single row."""
        size, dilation = (self.size, view.stride * self.dilation) if view.size == 1 else (view.size, view.dilation)
        return RowWindow(view.source, size, view.stride * self.stride, view.stride * self.padding + view.padding, dilation)


@dataclass(frozen=True)
class Activation:
    """What one operation makes: `height` rows of `row_bytes` bytes each, one byte a value.

    `windows` say what it is computed from; an image has none. With `sums` it is a running sum of 32-bit values: each row takes
    the place of the one before, and others read the last. Without `by_rows` it is unknown which rows it needs, and windows only
    name what it reads. `layer` is the module that computes it, empty where an operator does.
    """

    name: str
    height: int
    row_bytes: int
    windows: tuple[RowWindow, ...] = ()
    sums: bool = False
    by_rows: bool = True
    layer: str = ""

    @property
    def bytes(self) -> int:
        """All of it."""
        return self.row_bytes if self.sums else self.row_bytes * self.height

    @property
    def whole(self) -> RowWindow:
        """The window that reads all of it."""
        return RowWindow(self.name, padding=1 - self.height) if self.sums else RowWindow(self.name, self.height, stride=0)


def activations_of(graph: fx.Graph, network: nn.Module) -> list[Activation]:
    """The activations of one image, in the order of the network's graph, which has shapes (`ShapeProp`).

    Concatenation, normalization, ReLU, gates and dropout work in place, and parameters are no activations.
    """
    modules = dict(network.named_modules())
    made: list[Activation] = []
    # The windows through which one row of a node is read, and the nodes of which that is not known.
    views: dict[fx.Node, list[RowWindow]] = {}
    unknown = set[fx.Node]()
    for node in graph.nodes:
        if "tensor_meta" not in node.meta or node.op in ("get_attr", "output"):
            continue
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        read: list[RowWindow] = []
        for source in (each for each in node.all_input_nodes if views.get(each)):
            window = _window(node, module, source)
            read += [(window or RowWindow("")).through(view) for view in views[source]]
            if window is None or source in unknown:
                unknown.add(node)
        if _operator(node) in _VIEWS or isinstance(module, _IN_PLACE):
            views[node] = read
        else:
            made.append(_activation(node, module, read, by_rows=node not in unknown))
            views[node] = [made[-1].whole if made[-1].sums else RowWindow(node.name)]
    return made


_IN_PLACE = (nn.ReLU, nn.ReLU6, TanhExp, nn.Identity, nn.Dropout, nn.BatchNorm2d, ChannelNorm)
# What hands on the values that it reads, or puts others in their place.
_VIEWS = (torch.cat, F.relu, F.glu, operator.getitem, "chunk", "permute", "flatten", "to", "view")
# What cuts or joins, by the place of its dimension among its arguments.
_OF_CHANNELS: dict[Any, int] = {**dict.fromkeys(JOINING, 1), F.glu: 1, torch.chunk: 2, "chunk": 2}
# What computes each pixel from the same pixel of its sources.
_OF_PIXELS = (
    *_IN_PLACE, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.Sigmoid, nn.Hardsigmoid, nn.Hardswish, nn.Tanh,
    nn.BatchNorm1d, nn.LocalResponseNorm, nn.Linear, ChannelShuffle,
)  # fmt: skip
_OF_VALUES = (
    F.relu, F.relu6, F.silu, F.gelu, F.sigmoid, F.tanh, F.hardswish, F.hardsigmoid, torch.relu, torch.sigmoid, torch.tanh,
    operator.add, operator.iadd, operator.sub, operator.mul, operator.imul, operator.truediv, torch.add, torch.sub, torch.mul,
    "relu", "sigmoid", "tanh", "add", "sub", "mul", "to",
)  # fmt: skip


def _activation(node: fx.Node, module: nn.Module | None, read: list[RowWindow], *, by_rows: bool) -> Activation:
    shape, layer = image_shape(node), str(node.target) if module else ""
    if _sums(node, module):
        source = node.all_input_nodes[0]
        # `Head` computes its convolution after the average where it can.
        channels = image_shape(source)[0] if isinstance(module, Head) and not module.relu else shape[0]
        value = 1 if _operator(node) in LARGEST else 4
        return Activation(node.name, _height(source) or 1, value * channels, tuple(read), True, by_rows, layer)
    height = _height(node)
    rows = height or 1
    return Activation(node.name, rows, prod(shape) // rows, tuple(read), False, by_rows and height is not None, layer)


def _window(node: fx.Node, module: nn.Module | None, source: fx.Node) -> RowWindow | None:
    """How a row of a node is computed from rows of one that it reads; None where that is not known."""
    height, source_height, operation = _height(node), _height(source), _operator(node)
    if height is None or source_height is None:
        return None
    if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        return _sliding(module)
    if isinstance(module, nn.Flatten) or operation in ("flatten", "view", "reshape", torch.flatten, torch.reshape):
        return RowWindow("", source_height) if len(image_shape(node)) == 1 else None
    if operation is operator.getitem:
        return _taken(argument(node, 1))
    if operation is F.pad:
        sides = [*argument(node, 1, "pad"), 0, 0, 0]
        return RowWindow("", padding=sides[2]) if argument(node, 2, "mode") in (None, "constant") else None
    if operation in _OF_CHANNELS:
        return RowWindow("") if argument(node, _OF_CHANNELS[operation], "dim", "axis") in CHANNELS else None
    if isinstance(module, _OF_PIXELS) or operation in _OF_VALUES or _sums(node, module):
        # One row may serve all rows, such as a gate of each channel.
        return RowWindow("", stride=0 if source_height < height else 1)
    return None


def _sliding(module: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) -> RowWindow | None:
    if getattr(module, "padding_mode", "zeros") != "zeros":
        return None
    size, stride, dilation = (_side(each) for each in (module.kernel_size, module.stride, getattr(module, "dilation", 1)))
    named = {"valid": 0, "same": dilation * (size - 1) // 2}
    padding = named[module.padding] if isinstance(module.padding, str) else _side(module.padding)
    return RowWindow("", size, stride, padding, dilation)


def _side(sides: int | tuple[int, ...]) -> int:
    return sides if isinstance(sides, int) else sides[0]


def _taken(index: Any) -> RowWindow | None:
    """The rows of x[index], where that is one of several parts, or slices, of which the third is that of rows."""
    slices = index if isinstance(index, tuple) else (slice(None),)
    rows = slices[2] if len(slices) > 2 else slice(None)
    if not all(isinstance(each, slice) for each in slices) or (rows.start or 0) < 0:
        return None
    return RowWindow("", stride=rows.step or 1, padding=-(rows.start or 0))


def _sums(node: fx.Node, module: nn.Module | None) -> bool:
    """Whether a node is an average or the maximum over all pixels, of which a running sum or maximum is enough."""
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return module.output_size in (1, (1, 1))
    if _operator(node) in ("mean", torch.mean, *LARGEST):
        dims = argument(node, 1, "dim")
        return isinstance(dims, tuple | list) and sorted(dim % 4 for dim in dims) == [2, 3]
    return isinstance(module, Head)


def _operator(node: fx.Node) -> Any:
    """The function, or the name of the method, that a node calls; None for others, whose target may be any name."""
    return node.target if node.op in ("call_function", "call_method") else None


def image_shape(node: Any) -> Shape:
    """What a node of a graph with shapes has of one image: (channels, height, width) or (channels,); of parts, the first has."""
    meta = node.meta["tensor_meta"]
    return tuple((meta if hasattr(meta, "shape") else meta[0]).shape[1:])


def _height(node: fx.Node) -> int | None:
    """Of [c, h, w] h, of [c] 1; None for other shapes."""
    shape = image_shape(node)
    return shape[1] if len(shape) == 3 else 1 if len(shape) == 1 else None
