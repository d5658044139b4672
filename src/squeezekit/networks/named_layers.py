"""The layers of a network by name, in the order in which they compute, each with the batch normalization behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from squeezekit.networks.fire import Fire
from squeezekit.networks.tracing import BatchNorm, traced
from squeezekit.networks.tracing import Weighted as Weighted

JOINING = (torch.cat, torch.concat, torch.concatenate)
# The dimension of channels in [n, c, h, w].
CHANNELS = (1, -3)


@dataclass(frozen=True)
class FoldedLayer:
    """A layer and what follows it: from its output channels `mean` [out] is taken, what is left multiplied by `gain` [out],
    then `bias` [out] is added.

    `name` is that of the layer in the same network without batch normalization.
    """

    name: str
    module: Weighted
    gain: Tensor
    mean: Tensor
    bias: Tensor

    def shift(self, gain: Tensor) -> Tensor:
        """What is added in the end, where filters are multiplied by `gain` [out], its own or one close to it."""
        return self.bias - self.mean * gain


@dataclass(frozen=True)
class NamedLayer:
    """A layer, and the batch normalization that sees its channels as the `part` of its own; None where it cannot be folded."""

    name: str
    module: Weighted
    norm: BatchNorm | None = None
    part: slice = field(default_factory=lambda: slice(None))

    def folded(self) -> FoldedLayer:
        """With what batch normalization comes to in evaluation mode."""
        module, norm = self.module, self.norm
        zeros = torch.zeros(len(module.weight), dtype=module.weight.dtype, device=module.weight.device)
        own = zeros if module.bias is None else module.bias.detach()
        if norm is None:
            return FoldedLayer(self.name, module, zeros + 1, zeros, own)
        gain, mean, bias = (values[self.part] for values in affine(norm))
        return FoldedLayer(self.name, module, gain, mean - own, bias)


def affine(norm: BatchNorm) -> tuple[Tensor, Tensor, Tensor]:
    """Gain, mean and bias [channels], so that `norm` comes to (x − mean) · gain + bias in evaluation mode."""
    assert norm.running_mean is not None and norm.running_var is not None
    weight = torch.ones_like(norm.running_var) if norm.weight is None else norm.weight.detach()
    bias = torch.zeros_like(norm.running_mean) if norm.bias is None else norm.bias.detach()
    return weight / (norm.running_var + norm.eps).sqrt(), norm.running_mean, bias


def named_layers(network: nn.Module) -> list[NamedLayer]:
    """Every convolution and linear layer that `network` calls, found by tracing.

    Batch normalization belongs to a layer where it sees the layer's output and nobody else does: directly, joined with that of
    other layers by `torch.cat` of channels, as in Fire modules, or after max-pooling where all its gains are positive. Raises
    SqueezekitError for a network that cannot be traced.
    """
    graph, modules = traced(network), dict(network.named_modules())
    layers, norms = _calls(graph, modules, Weighted), _calls(graph, modules, BatchNorm)
    found: dict[str, NamedLayer] = {}
    for name, calls in norms.items():
        norm = modules[name]
        assert isinstance(norm, BatchNorm)
        # A network that sees an image twice, as mirrored ones do, calls everything twice.
        seen = [_layers_before(call, modules) for call in calls]
        once_each = all(len(layers[layer]) == len(calls) for layer in seen[0])
        if not seen[0] or seen != seen[:1] * len(seen) or not once_each or norm.running_mean is None:
            continue
        first = 0
        for layer in seen[0]:
            module = modules[layer]
            assert isinstance(module, Weighted)
            part = slice(first, first := first + len(module.weight)) if len(seen[0]) > 1 else slice(None)
            found[layer] = NamedLayer(_name_when_folded(layer, modules), module, norm, part)
    return [found.get(name) or NamedLayer(name, modules[name]) for name in layers]


def logits_of_one_side(network: nn.Module, images: Tensor) -> Tensor:
    """Logits [n, classes] of the images alone, where evaluation mode takes the mean with their mirror images."""
    one_side = getattr(network, "logits_of_one_side", network)
    logits: Tensor = one_side(images)
    return logits


def per_channel(values: Tensor, weight: Tensor) -> Tensor:
    """One number a filter [out], in the shape that multiplies a weight [out, …]."""
    return values.view(-1, *[1] * (weight.ndim - 1))


def _calls(graph: fx.Graph, modules: dict[str, nn.Module], kind: Any) -> dict[str, list[fx.Node]]:
    """Where modules of a kind are called, by name, in the order of their first calls."""
    calls: dict[str, list[fx.Node]] = {}
    for node in graph.nodes:
        if node.op == "call_module" and isinstance(modules[str(node.target)], kind):
            calls.setdefault(str(node.target), []).append(node)
    return calls


def _name_when_folded(name: str, modules: dict[str, nn.Module]) -> str:
    """The bypass of a Fire module is a convolution alone where nothing normalizes it."""
    parent = name.rpartition(".")[0]
    fire = modules.get(parent.rpartition(".")[0])
    return parent if isinstance(fire, Fire) and fire.bypass is modules[parent] else name


def argument(node: fx.Node, place: int, *names: str) -> Any:
    """What a node was called with, by its place or by one of its names; None where it was left out."""
    named = [node.kwargs[name] for name in names if name in node.kwargs]
    return node.args[place] if place < len(node.args) else named[0] if named else None


def _layers_before(norm: fx.Node, modules: dict[str, nn.Module]) -> list[str]:
    """The layers whose outputs a normalization sees, in the order of their channels; empty where anything else is among it."""
    source: Any = argument(norm, 0, "input")
    pool = modules.get(str(source.target)) if source.op == "call_module" and len(source.users) == 1 else None
    scales: Any = modules[str(norm.target)].weight
    if isinstance(pool, nn.MaxPool2d) and (scales is None or bool((scales > 0).all())):
        # The largest of values stays the largest when all are multiplied by one positive number.
        source = argument(source, 0, "input")
    branches: Any = [source]
    if source.target in JOINING and len(source.users) == 1:
        tensors, dim = argument(source, 0, "tensors"), argument(source, 1, "dim", "axis")
        branches = tensors if dim in CHANNELS and isinstance(tensors, list | tuple) else []
    names = [str(branch.target) for branch in branches if branch.op == "call_module" and len(branch.users) == 1]
    # Behind a linear layer the normalized dimension need not be that of its outputs: [n, t, c].
    names = [name for name in names if isinstance(modules[name], nn.Conv2d)]
    return names if len(names) == len(branches) == len(set(names)) else []
