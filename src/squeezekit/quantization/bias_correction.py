"""What makes up for changed weights: new statistics of batch normalization, and biases that keep the means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from squeezekit.data.batches import Batch
from squeezekit.networks.named_layers import Weighted, logits_of_one_side, per_channel


@torch.no_grad()
def reestimate_batch_norm(network: nn.Module, batches: Sequence[Batch]) -> None:
    """Replace the statistics of batch normalization by means over all images; the network is in evaluation mode afterwards."""
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
def correct_biases(network: nn.Module, target_means: Mapping[Weighted, Tensor], batches: Sequence[Batch]) -> None:
    """Change biases so that every output channel has its target mean [out], from the first layer to the last.

    Nagel et al., 2019, arXiv 1906.04721, section 4.2, with means from images.
    """

    def correct(module: nn.Module, _arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        assert isinstance(module, Weighted) and module.bias is not None
        correction = target_means[module] - output.transpose(0, 1).flatten(1).mean(1)
        module.bias += correction
        return output + per_channel(correction, output[0])

    hooks: list[Any] = [layer.register_forward_hook(correct) for layer in target_means]
    try:
        network.eval()
        # In one batch, since the correction of a layer needs the corrected means before it.
        logits_of_one_side(network, torch.cat([images for images, _labels in batches]))
    finally:
        for hook in hooks:
            hook.remove()
