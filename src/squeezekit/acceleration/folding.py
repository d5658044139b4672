"""Batch normalization, as it is in evaluation mode, as part of the layer before it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from squeezekit.networks.config import NetworkConfig
from squeezekit.networks.fire import Fire
from squeezekit.networks.named_layers import FoldedLayer, NamedLayer, affine, logits_of_one_side, named_layers, per_channel
from squeezekit.networks.tracing import BatchNorm, Weighted
from squeezekit.system.errors import SqueezekitError

Network = TypeVar("Network", bound=nn.Module)


class ChannelAffine(nn.Module):
    """What a batch normalization that cannot be part of a layer comes to: x · weight + bias, [n, c, …] -> [n, c, …]."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, input: Tensor) -> Tensor:
        # Called as the normalization is, whose argument has that name.
        shape = (-1, *[1] * (input.ndim - 2))
        return input * self.weight.view(shape) + self.bias.view(shape)


def folded_layers(network: nn.Module) -> list[FoldedLayer]:
    """Every convolution and linear layer, in the order in which they compute, with the normalization behind it."""
    return [layer.folded() for layer in named_layers(network)]


@torch.no_grad()
def folded(network: Network) -> Network:
    """The same network, in evaluation mode, without batch normalization: a copy, or itself where it has none."""
    if not has_norms(network):
        return network.eval()
    plain = copy.deepcopy(network).eval()
    if isinstance(config := getattr(plain, "config", None), NetworkConfig):
        plain.config = config.folded()  # type: ignore[assignment]
    return _without_norms(plain)


def build_folded(config: NetworkConfig) -> nn.Module:
    """The untrained network of a configuration as `folded` makes it; the names of its tensors are those in a `.sqz` file."""
    network = config.folded().build()
    with torch.no_grad():
        return _without_norms(network) if has_norms(network) else network


def has_norms(network: nn.Module) -> bool:
    """Whether a network has batch normalization."""
    return any(isinstance(module, BatchNorm) for module in network.modules())


def _without_norms(network: Network) -> Network:
    """`network`, in place, each normalization part of the layers before it, or else a `ChannelAffine`."""
    found, folded_norms = named_layers(network), set[BatchNorm]()
    for named in found:
        if named.norm is None:
            continue
        layer, module = named.folded(), named.module
        module.bias = nn.Parameter(layer.shift(layer.gain))
        module.weight.mul_(per_channel(layer.gain, module.weight))
        folded_norms.add(named.norm)
    for name, module in [*network.named_modules()]:
        if isinstance(module, BatchNorm) and module in folded_norms:
            network.set_submodule(name, nn.Identity())
        elif isinstance(module, BatchNorm) and module.running_mean is not None:
            gain, mean, bias = affine(module)
            network.set_submodule(name, ChannelAffine(gain, bias - mean * gain))
    for fire in network.modules():
        if isinstance(fire, Fire) and isinstance(fire.bypass, nn.Sequential):
            # As a Fire module without normalization names it.
            fire.bypass = fire.bypass[0]
    return network


@torch.no_grad()
def unfolded(network: nn.Module, images: Tensor, config: NetworkConfig | None = None) -> nn.Module:
    """The same network, in evaluation mode, with batch normalization whose statistics are those of images [n, c, h, w].

    So that a network whose batch normalization was folded can learn on; `network` has none, and is that of `config`, by default
    its own.
    """
    statistics: dict[str, tuple[Tensor, Tensor]] = {}
    plain = {layer.name: layer.module for layer in named_layers(network)}
    handles = [module.register_forward_hook(_keep(statistics, name)) for name, module in plain.items()]
    try:
        logits_of_one_side(network.eval(), images)
    finally:
        for handle in handles:
            handle.remove()
    config = config or network.config  # type: ignore[assignment]
    assert config is not None
    normed = config.model_copy(update={"batch_norm": True} if "batch_norm" in type(config).model_fields else {}).build()
    taken = {name: tensor for name, tensor in network.state_dict().items() if name.rpartition(".")[0] not in plain}
    normed.load_state_dict(taken, strict=False)
    for named in named_layers(normed):
        _unfold(named, plain[named.name], statistics[named.name])
    return normed.eval()


def _unfold(named: NamedLayer, plain: Weighted, statistics: tuple[Tensor, Tensor]) -> None:
    """Give a layer the filters of `plain`, and the normalization behind it what makes both compute the same."""
    module, norm, part = named.module, named.norm, named.part
    own = torch.zeros(len(plain.weight)) if plain.bias is None else plain.bias
    module.weight.copy_(plain.weight)
    if norm is None:
        if module.bias is not None:
            module.bias.copy_(own)
        return
    if norm.weight is None or norm.running_mean is None or norm.running_var is None:
        raise SqueezekitError(f"{named.name}: the normalization behind it has no weights to learn; go on from the run instead")
    variance, mean = statistics
    # Weighted of the length that Muon gives them anyhow (`muon.py`), so that its first step leaves the statistics right.
    stretch = len(plain.weight) ** 0.5 / plain.weight.norm().clamp(min=1e-7)
    module.weight.mul_(stretch)
    if module.bias is not None:
        module.bias.zero_()
    norm.running_mean[part], norm.running_var[part] = stretch * (mean - own), stretch**2 * variance
    norm.weight[part], norm.bias[part] = (stretch**2 * variance + norm.eps).sqrt() / stretch, mean


def _keep(statistics: dict[str, tuple[Tensor, Tensor]], name: str) -> Callable[[nn.Module, object, Tensor], None]:
    def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        # Now: what follows may rectify in place.
        variance, mean = torch.var_mean(output.float().transpose(0, 1).flatten(1), 1, correction=0)
        statistics[name] = variance, mean

    return hook
