"""Batch normalization, as it is in use, as part of the layer before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from squeezekit.networks.named_layers import FoldedLayer, NamedLayers, along

Network = TypeVar("Network", bound=NamedLayers)


def layers(network: NamedLayers) -> list[FoldedLayer]:
    """Every layer with filters, in the order in which they compute, with the batch normalization behind it or its own bias."""
    return [place.layer() for place in network.places()]


@torch.no_grad()
def folded(network: Network) -> Network:
    """The same network, in use, without batch normalization."""
    plain: Network = network.config.folded().build()  # type: ignore[assignment]
    kept, names = network.state_dict(), plain.state_dict().keys()
    weights = {name: kept[name] for name in names if name in kept}
    for layer in layers(network):
        weights[f"{layer.name}.weight"] = layer.module.weight * along(layer.gain, layer.module.weight)
        weights[f"{layer.name}.bias"] = layer.shift(layer.gain)
    plain.load_state_dict(weights)
    return plain.eval()


@torch.no_grad()
def unfolded(network: Network, images: Tensor) -> Network:
    """The same network, in use, with batch normalization whose statistics are those of images [n, c, h, w].

    So that a network whose batch normalization was folded can learn on; `network` has none.
    """
    statistics: dict[str, tuple[Tensor, Tensor]] = {}
    plain = {place.name: place.module for place in network.places()}
    handles = [module.register_forward_hook(_keep(statistics, name)) for name, module in plain.items()]
    try:
        network.eval().logits_of_one_side(images)
    finally:
        for handle in handles:
            handle.remove()
    normed: Network = network.config.model_copy(update={"batch_norm": True}).build()  # type: ignore[assignment]
    for place in normed.places():
        module, norm, part = plain[place.name], place.norm, place.part
        place.module.weight.copy_(module.weight)
        assert module.bias is not None
        if norm is None:
            assert place.module.bias is not None
            place.module.bias.copy_(module.bias)
            continue
        assert norm.running_mean is not None and norm.running_var is not None
        variance, mean = statistics[place.name]
        # Weighted of the length that Muon gives them anyhow (`muon.py`), so that its first step leaves the statistics right.
        stretch = len(module.weight) ** 0.5 / module.weight.norm().clamp(min=1e-7)
        place.module.weight.mul_(stretch)
        norm.running_mean[part], norm.running_var[part] = stretch * (mean - module.bias), stretch**2 * variance
        norm.weight[part], norm.bias[part] = (stretch**2 * variance + norm.eps).sqrt() / stretch, mean
    return normed.eval()


def _keep(statistics: dict[str, tuple[Tensor, Tensor]], name: str) -> Callable[[nn.Module, object, Tensor], None]:
    def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        # Now: what follows may rectify in place.
        variance, mean = torch.var_mean(output.float().transpose(0, 1).flatten(1), 1, correction=0)
        statistics[name] = variance, mean

    return hook
