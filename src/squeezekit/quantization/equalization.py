"""Scaling channels between layers so that every input of a filter matters alike; what the network computes stays the same.

A positive factor passes through ReLU, gates and pooling (Meller et al., 2019, arXiv 1902.01917; Nagel et al., 2019, arXiv
1906.04721): what multiplies a channel where it is made divides the next layer's weights for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from squeezekit.networks.fire import Fire
from squeezekit.networks.named_layers import Weighted
from squeezekit.networks.squeezenet import SqueezeNet
from squeezekit.quantization.fisher import FisherInformation

# Channels that hardly move are not blown up further than this.
LEAST_DEVIATION = 1e-3


def balance(network: SqueezeNet, curvature_of: Mapping[Weighted, FisherInformation]) -> None:
    """Give every channel between two layers deviation 1 where no bypass goes; fisher_information are not valid any more."""
    with torch.no_grad():
        for makers, users in _links(network):
            covariance = curvature_of[users[0]].inputs
            places = covariance.shape[0] // users[0].in_channels
            deviations = covariance.diagonal().view(-1, places).mean(1).clamp(min=0).sqrt()
            if not (largest := float(deviations.max())):
                continue
            deviations = deviations.clamp(min=LEAST_DEVIATION * largest)
            _divide(makers, deviations)
            for user in users:
                # Filters of a depthwise one have their channel to themselves.
                user.weight.mul_(deviations.view(1, -1, 1, 1) if user.groups == 1 else deviations.view(-1, 1, 1, 1))


Makers = list[nn.Conv2d] | nn.BatchNorm2d


def _divide(makers: Makers, deviations: Tensor) -> None:
    if isinstance(makers, nn.BatchNorm2d):
        makers.weight[: len(deviations)].div_(deviations)
        makers.bias[: len(deviations)].div_(deviations)
        return
    for maker in makers:
        part, deviations = deviations[: maker.out_channels], deviations[maker.out_channels :]
        maker.weight[: len(part)].div_(part.view(-1, 1, 1, 1))
        if maker.bias is not None:
            maker.bias[: len(part)].div_(part)


def _links(network: SqueezeNet) -> Iterator[tuple[Makers, list[nn.Conv2d]]]:
    """What makes channels, and the convolutions that see them, all of them and nothing else."""
    stem = network.features[0]
    assert isinstance(stem, nn.Conv2d)
    norm = getattr(network.features, "norm", None)
    before: Makers | None = norm if isinstance(norm, nn.BatchNorm2d) else [stem]
    for fire in network.features:
        if not isinstance(fire, Fire):
            continue
        if before is not None and fire.bypass is None:
            yield before, [fire.squeeze]
        # Of a gated one the first half of the channels, which gates multiply, makes what expand layers see.
        yield _maker(fire.squeeze_norm, fire.squeeze), [*fire.expands().values()]
        before = _maker(fire.expand_norm, *fire.expands().values()) if fire.bypass is None else None
    head = network.classifier[1]
    assert isinstance(head, nn.Conv2d)
    if before is not None:
        yield before, [head]


def _maker(norm: nn.Module, *layers: nn.Conv2d) -> Makers:
    return norm if isinstance(norm, nn.BatchNorm2d) else list(layers)
