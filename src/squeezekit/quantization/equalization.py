"""Cross-layer equalization: channels between layers are scaled to the same deviation; the network computes the same function.

A positive factor passes through ReLU and pooling: what divides the weights that produce a channel multiplies the weights
that consume it (Meller et al., 2019, arXiv 1902.01917; Nagel et al., 2019, arXiv 1906.04721).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from squeezekit.networks.fire import Fire
from squeezekit.networks.named_layers import Weighted
from squeezekit.networks.squeezenet import SqueezeNet
from squeezekit.quantization.fisher import FisherInformation

# A channel's deviation counts as at least this share of the largest.
MIN_DEVIATION = 1e-3


def equalize(network: SqueezeNet, fisher_of: Mapping[Weighted, FisherInformation]) -> None:
    """Scale every channel between two layers to deviation 1, except where a bypass goes.

    The Fisher information of the layers does not hold any more afterwards.
    """
    with torch.no_grad():
        for producer, consumers in _links(network):
            covariance = fisher_of[consumers[0]].input_covariance
            places = covariance.shape[0] // consumers[0].in_channels
            deviations = covariance.diagonal().view(-1, places).mean(1).clamp(min=0).sqrt()
            if not (largest := float(deviations.max())):
                continue
            deviations = deviations.clamp(min=MIN_DEVIATION * largest)
            _divide(producer, deviations)
            for consumer in consumers:
                consumer.weight.mul_(deviations.view(1, -1, 1, 1))


Producer = list[nn.Conv2d] | nn.BatchNorm2d


def _divide(producer: Producer, deviations: Tensor) -> None:
    if isinstance(producer, nn.BatchNorm2d):
        producer.weight.div_(deviations)
        producer.bias.div_(deviations)
        return
    for layer, part in zip(producer, torch.split(deviations, [layer.out_channels for layer in producer]), strict=True):
        layer.weight.div_(part.view(-1, 1, 1, 1))
        if layer.bias is not None:
            layer.bias.div_(part)


def _links(network: SqueezeNet) -> Iterator[tuple[Producer, list[nn.Conv2d]]]:
    """What produces channels, and all the convolutions that consume them."""
    stem = network.features[0]
    assert isinstance(stem, nn.Conv2d)
    norm = getattr(network.features, "norm", None)
    before: Producer | None = norm if isinstance(norm, nn.BatchNorm2d) else [stem]
    for fire in network.features:
        if not isinstance(fire, Fire):
            continue
        if before is not None and fire.bypass is None:
            yield before, [fire.squeeze]
        yield _producer(fire.squeeze_norm, fire.squeeze), [*fire.expands()]
        before = _producer(fire.expand_norm, *fire.expands()) if fire.bypass is None else None
    head = network.classifier[1]
    assert isinstance(head, nn.Conv2d)
    if before is not None:
        yield before, [head]


def _producer(norm: nn.Module, *layers: nn.Conv2d) -> Producer:
    return norm if isinstance(norm, nn.BatchNorm2d) else list(layers)
