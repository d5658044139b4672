"""Batch normalisation, as it is in use, as part of the convolution before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from squeezekit.networks.fire import Fire
from squeezekit.networks.squeezenet import SqueezeNet


@dataclass(frozen=True)
class Convolution:
    """A convolution and what follows it: from its output channels `mean` [out] is taken, what is left multiplied by `gain` [out],
    then `bias` [out] is added.

    `name` is that of the convolution in the same network without batch normalisation.
    """

    name: str
    module: nn.Conv2d
    gain: Tensor
    mean: Tensor
    bias: Tensor

    def shift(self, gain: Tensor) -> Tensor:
        """What is added in the end, where filters are multiplied by `gain` [out], its own or one near to it."""
        return self.bias - self.mean * gain


def convolutions(network: SqueezeNet) -> list[Convolution]:
    """Every convolution, in the order in which they compute, with the batch normalisation behind it or its own bias."""
    found: list[Convolution] = []
    for name, module in network.features.named_children():
        if isinstance(module, nn.Conv2d):
            found.append(_convolution(f"features.{name}", module, getattr(network.features, "norm", None)))
        elif isinstance(module, Fire):
            found += _of_fire(f"features.{name}", module)
    head = network.classifier[1]
    assert isinstance(head, nn.Conv2d)
    return [*found, _convolution("classifier.1", head, None)]


def _of_fire(name: str, fire: Fire) -> Iterator[Convolution]:
    yield _convolution(f"{name}.squeeze", fire.squeeze, fire.squeeze_norm)
    narrow = fire.expand1x1.out_channels
    yield _convolution(f"{name}.expand1x1", fire.expand1x1, fire.expand_norm, slice(0, narrow))
    yield _convolution(f"{name}.expand3x3", fire.expand3x3, fire.expand_norm, slice(narrow, None))
    if isinstance(fire.bypass, nn.Conv2d):
        yield _convolution(f"{name}.bypass", fire.bypass, None)
    elif isinstance(fire.bypass, nn.Sequential):
        convolution, norm = fire.bypass
        assert isinstance(convolution, nn.Conv2d)
        yield _convolution(f"{name}.bypass", convolution, norm)


def _convolution(name: str, module: nn.Conv2d, norm: nn.Module | None, part: slice = slice(None)) -> Convolution:
    if not isinstance(norm, nn.BatchNorm2d):
        zeros = torch.zeros(module.out_channels)
        return Convolution(name, module, zeros + 1, zeros, zeros if module.bias is None else module.bias.detach())
    assert norm.running_mean is not None and norm.running_var is not None
    gain = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
    return Convolution(name, module, gain[part], norm.running_mean[part], norm.bias.detach()[part])


@torch.no_grad()
def folded(network: SqueezeNet) -> SqueezeNet:
    """The same network, in use, without batch normalisation."""
    config = network.config.model_copy(update={"batch_norm": False})
    plain = config.build()
    weights = {}
    for convolution in convolutions(network):
        weights[f"{convolution.name}.weight"] = convolution.module.weight * convolution.gain.view(-1, 1, 1, 1)
        weights[f"{convolution.name}.bias"] = convolution.shift(convolution.gain)
    plain.load_state_dict(weights)
    return plain.eval()
