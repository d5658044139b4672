"""The layer table of a network: shapes, parameters, MACs (multiply-accumulate operations)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from squeezekit.networks.config import NetworkConfig
from squeezekit.networks.fire import Fire
from squeezekit.networks.squeezenet import Head
from squeezekit.networks.tracing import traced
from squeezekit.networks.xvel_tiniest import TanhExp
from squeezekit.system.presentation import Row, Tabular

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One row. Shapes are (channels, height, width); `activation_bytes` is the output at one byte a value."""

    layer: str
    type: str
    input: Shape
    output: Shape
    parameters: int
    macs: int
    activation_bytes: int
    remark: str = ""


@dataclass(frozen=True, repr=False)
class LayerTable(Tabular):
    """`macs` are those of one image, twice the layers' sum where a network also classifies its mirror image.

    `to_frame()` has a row for each layer.
    """

    layers: list[Layer]
    parameters: int
    macs: int

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def _shown(self) -> Row:
        return {"layers": len(self.layers), "parameters": self.parameters, "macs": self.macs}

    def _records(self) -> Sequence[Row]:
        return [asdict(layer) for layer in self.layers]


def layer_table(config: NetworkConfig) -> LayerTable:
    """Describe the network of a configuration, for one image, without training anything.

    Raises SqueezekitError for a network of the user's own that cannot be traced, and for one that is too large.
    """
    config.check_work()
    passes = 2 if getattr(config, "mirrored", False) else 1
    network = config.model_copy(update={"mirrored": False}).build().eval() if passes == 2 else config.build().eval()
    graph = traced(network, whole=(Head,))
    with torch.no_grad():
        ShapeProp(fx.GraphModule(network, graph)).propagate(torch.zeros(1, config.channels, config.image_size, config.image_size))
    layers: list[Layer] = []
    for node in graph.nodes:
        if node.op == "call_module":
            layers += _rows(network, node, layers)
    parameters, macs = sum(p.numel() for p in network.parameters()), passes * sum(layer.macs for layer in layers)
    return LayerTable(layers, parameters, macs)


def _rows(network: nn.Module, node: fx.Node, before: list[Layer]) -> list[Layer]:
    """The rows that a module adds: a whole Fire module at its first convolution, nothing for the rest of it."""
    name = str(node.target)
    module = network.get_submodule(name)
    shape_in, shape_out = _image_shape(node.args[0]), _image_shape(node)
    for place, fire in network.named_modules():
        if isinstance(fire, Fire) and name.startswith(f"{place}."):
            return [_fire_row(place, fire, shape_in)] if module is fire.squeeze else []
    if isinstance(module, Head):
        return _head_rows(name, module, shape_in)
    if isinstance(module, nn.ReLU | nn.ReLU6 | TanhExp | nn.Identity | nn.Dropout):
        return []
    parameters = sum(p.numel() for p in module.parameters())
    kind = "Conv2d" if isinstance(module, nn.Conv2d) else type(module).__name__
    return [Layer(name, kind, shape_in, shape_out, parameters, _macs(module, shape_out), prod(shape_out), _remark(module))]


def _image_shape(node: Any) -> Shape:
    """What a node of a graph with shapes has of one image: (channels, height, width) or (channels,)."""
    return tuple(node.meta["tensor_meta"].shape[1:])


def _fire_row(name: str, fire: Fire, shape_in: Shape) -> Layer:
    shape_out = (fire.out_channels, *shape_in[1:])
    convolutions = [m for m in fire.modules() if isinstance(m, nn.Conv2d)]
    macs = sum(_macs(m, (m.out_channels, *shape_in[1:])) for m in convolutions)
    parameters = sum(p.numel() for p in fire.parameters())
    expand = "+".join(str(branch.out_channels) for branch in fire.expands())
    remark = f"squeeze {fire.squeeze.out_channels}, expand {expand}"
    if fire.bypass is not None:
        remark += ", bypass"
    return Layer(name, "Fire", shape_in, shape_out, parameters, macs, prod(shape_out), remark)


def _head_rows(name: str, head: Head, shape_in: Shape) -> list[Layer]:
    # As published, convolution first; `Head` may compute the average first, with the same result.
    convolution = head[1]
    assert isinstance(convolution, nn.Conv2d)
    classes = convolution.out_channels
    shape = (classes, *shape_in[1:])
    parameters = sum(p.numel() for p in convolution.parameters())
    row = Layer(f"{name}.1", "Conv2d", shape_in, shape, parameters, _macs(convolution, shape), prod(shape), "1×1")
    return [
        row,
        Layer("average", "GlobalAvgPool", shape, (classes,), 0, 0, classes),
        Layer("softmax", "Softmax", (classes,), (classes,), 0, 0, classes),
    ]


def _macs(module: nn.Module, shape_out: Shape) -> int:
    if isinstance(module, nn.Conv2d | nn.Linear):
        return prod(shape_out[1:]) * module.weight.numel()
    return 0


def _remark(module: nn.Module) -> str:
    if isinstance(module, nn.Conv2d | nn.MaxPool2d):
        stride = module.stride if isinstance(module.stride, int) else module.stride[0]
        return f"{_sides(module)}, stride {stride}"
    return ""


def _sides(module: nn.Conv2d | nn.MaxPool2d) -> str:
    sides = module.kernel_size if isinstance(module.kernel_size, tuple) else (module.kernel_size,) * 2
    return f"{sides[0]}×{sides[1]}"
