"""The layers of a network whose weights are quantised."""

from __future__ import annotations

from torch import Tensor, nn

from squeezekit.acceleration.folding import layers
from squeezekit.networks.named_layers import NamedLayers, Weighted


def weight_layers(network: NamedLayers) -> list[Weighted]:
    """The convolutions and linear layers of a network, in the order in which they compute."""
    return [layer.module for layer in layers(network)]


def weight_count(network: NamedLayers) -> int:
    """How many weights these layers have, without biases."""
    return sum(layer.weight.numel() for layer in weight_layers(network))


def one_sided_logits(network: nn.Module, images: Tensor) -> Tensor:
    """Logits [n, classes] of images [n, c, h, w] alone, where the network takes the mean with their mirror images."""
    one_side = getattr(network, "logits_of_one_side", network)
    logits: Tensor = one_side(images)
    return logits


def per_channel(values: Tensor, weight: Tensor) -> Tensor:
    """One number a filter [out], in the shape [out, 1, …] that multiplies a weight [out, …]."""
    return values.view(-1, *[1] * (weight.ndim - 1))
