"""Means and deviations in a network whose weights have been changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from squeezekit.data.batches import Batch
from squeezekit.networks.named_layers import NamedLayers, Weighted, along, logits_of_one_side


@torch.no_grad()
def reestimate_batch_norm(network: NamedLayers, batches: Sequence[Batch]) -> None:
    """Take the statistics of batch normalization anew, as the mean over all images; evaluation mode afterwards."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    network.train()
    seen = 0
    for images, _labels in batches if norms else ():
        seen += len(images)
        for norm in norms:
            norm.momentum = len(images) / seen
        network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


@torch.no_grad()
def correct_biases(network: NamedLayers, wanted: Mapping[Weighted, Tensor], batches: Sequence[Batch]) -> None:
    """Move the biases so that every output channel has the mean that is `wanted` [out], from the first layer to the last."""

    def corrected(module: nn.Module, arguments: tuple[Tensor, ...], result: Tensor) -> Tensor:
        assert isinstance(module, Weighted) and module.bias is not None
        missing = wanted[module] - result.transpose(0, 1).flatten(1).mean(1)
        module.bias += missing
        return result + along(missing, result[0])

    handles: list[Any] = [layer.register_forward_hook(corrected) for layer in wanted]
    try:
        network.eval()
        # All at once, since each layer's correction needs the mean of those before it; and no mirror images.
        logits_of_one_side(network, torch.cat([images for images, _labels in batches]))
    finally:
        for handle in handles:
            handle.remove()
