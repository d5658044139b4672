"""Batch normalisation, as it is in use, as part of the convolution before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

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


@dataclass(frozen=True)
class _Place:
    """A convolution, named as above, and the batch normalisation that sees its channels as the `part` of its own."""

    name: str
    module: nn.Conv2d
    norm: nn.BatchNorm2d | None
    part: slice = field(default_factory=lambda: slice(None))

    def convolution(self) -> Convolution:
        """With what batch normalisation comes to in use."""
        module, norm = self.module, self.norm
        if norm is None:
            zeros = torch.zeros(module.out_channels)
            return Convolution(self.name, module, zeros + 1, zeros, zeros if module.bias is None else module.bias.detach())
        assert norm.running_mean is not None and norm.running_var is not None
        gain = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
        return Convolution(self.name, module, gain[self.part], norm.running_mean[self.part], norm.bias.detach()[self.part])


def convolutions(network: SqueezeNet) -> list[Convolution]:
    """Every convolution, in the order in which they compute, with the batch normalisation behind it or its own bias."""
    return [place.convolution() for place in _places(network)]


def _places(network: SqueezeNet) -> Iterator[_Place]:
    for name, module in network.features.named_children():
        if isinstance(module, nn.Conv2d):
            yield _Place(f"features.{name}", module, _norm(getattr(network.features, "norm", None)))
        elif isinstance(module, Fire):
            yield from _of_fire(f"features.{name}", module)
    head = network.classifier[1]
    assert isinstance(head, nn.Conv2d)
    yield _Place("classifier.1", head, None)


def _of_fire(name: str, fire: Fire) -> Iterator[_Place]:
    yield _Place(f"{name}.squeeze", fire.squeeze, _norm(fire.squeeze_norm))
    narrow, norm = fire.expand1x1.out_channels, _norm(fire.expand_norm)
    yield _Place(f"{name}.expand1x1", fire.expand1x1, norm, slice(0, narrow))
    yield _Place(f"{name}.expand3x3", fire.expand3x3, norm, slice(narrow, None))
    if isinstance(fire.bypass, nn.Conv2d):
        yield _Place(f"{name}.bypass", fire.bypass, None)
    elif isinstance(fire.bypass, nn.Sequential):
        convolution, beside = fire.bypass
        assert isinstance(convolution, nn.Conv2d)
        yield _Place(f"{name}.bypass", convolution, _norm(beside))


def _norm(module: nn.Module | None) -> nn.BatchNorm2d | None:
    return module if isinstance(module, nn.BatchNorm2d) else None


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


@torch.no_grad()
def unfolded(network: SqueezeNet, images: Tensor) -> SqueezeNet:
    """The same network, in use, with batch normalisation whose statistics are those of images [n, c, h, w].

    So that a network whose batch normalisation was folded can learn on; `network` has none.
    """
    statistics: dict[str, tuple[Tensor, Tensor]] = {}
    plain = {place.name: place.module for place in _places(network)}
    handles = [module.register_forward_hook(_keep(statistics, name)) for name, module in plain.items()]
    try:
        network.eval()
        network.classifier(network.features(images))
    finally:
        for handle in handles:
            handle.remove()
    normed = network.config.model_copy(update={"batch_norm": True}).build()
    for place in _places(normed):
        module, norm, part = plain[place.name], place.norm, place.part
        place.module.weight.copy_(module.weight)
        assert module.bias is not None
        if norm is None:
            assert place.module.bias is not None
            place.module.bias.copy_(module.bias)
            continue
        assert norm.running_mean is not None and norm.running_var is not None
        variance, mean = statistics[place.name]
        # Filters of the length that Muon gives them anyhow (`muon.py`), so that its first step leaves the statistics right.
        stretch = module.out_channels**0.5 / module.weight.norm().clamp(min=1e-7)
        place.module.weight.mul_(stretch)
        norm.running_mean[part], norm.running_var[part] = stretch * (mean - module.bias), stretch**2 * variance
        norm.weight[part], norm.bias[part] = (stretch**2 * variance + norm.eps).sqrt() / stretch, mean
    return normed.eval()


def _keep(statistics: dict[str, tuple[Tensor, Tensor]], name: str) -> Callable[[nn.Module, object, Tensor], None]:
    def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        # Now: what follows may rectify in place.
        variance, mean = torch.var_mean(output.float(), (0, 2, 3), correction=0)
        statistics[name] = variance, mean

    return hook
