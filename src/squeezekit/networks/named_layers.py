"""What compression asks of a network: its layers, and the batch normalization behind each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from squeezekit.networks.config import NetworkConfig

Weighted = nn.Conv2d | nn.Linear


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
        """What is added in the end, where filters are multiplied by `gain` [out], its own or one near to it."""
        return self.bias - self.mean * gain


@dataclass(frozen=True)
class NamedLayer:
    """A layer, named as above, and the batch normalization that sees its channels as the `part` of its own."""

    name: str
    module: Weighted
    norm: nn.BatchNorm2d | None = None
    part: slice = field(default_factory=lambda: slice(None))

    def layer(self) -> FoldedLayer:
        """With what batch normalization comes to in use."""
        module, norm = self.module, self.norm
        if norm is None:
            zeros = torch.zeros(len(module.weight))
            return FoldedLayer(self.name, module, zeros + 1, zeros, zeros if module.bias is None else module.bias.detach())
        assert norm.running_mean is not None and norm.running_var is not None and module.bias is None
        gain = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
        return FoldedLayer(self.name, module, gain[self.part], norm.running_mean[self.part], norm.bias.detach()[self.part])


class NamedLayers(nn.Module):
    """A network whose batch normalization, in use, can become part of its layers.

    Shapes: float [n, channels, h, w] -> logits [n, classes]. Built from `config.folded()` it has layers of the same names, with
    biases, and no batch normalization.
    """

    config: NetworkConfig

    def places(self) -> Iterator[NamedLayer]:
        """Every layer with filters, in the order in which they compute."""
        raise NotImplementedError

    def logits_of_one_side(self, x: Tensor) -> Tensor:
        """Logits of images alone, where use takes the mean with their mirror images."""
        logits: Tensor = self(x)
        return logits


def along(values: Tensor, weight: Tensor) -> Tensor:
    """One number a filter [out], for a weight [out, …]."""
    return values.view(-1, *[1] * (weight.ndim - 1))


def norm_or_none(module: nn.Module | None) -> nn.BatchNorm2d | None:
    """Batch normalization, where it is that."""
    return module if isinstance(module, nn.BatchNorm2d) else None
