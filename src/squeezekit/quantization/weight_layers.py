"""The layers of a network whose weights are quantised."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from squeezekit.networks.named_layers import Weighted, named_layers


def weight_layers(network: nn.Module) -> list[Weighted]:
    """The convolutions and linear layers of a network, in the order in which they compute."""
    return [layer.module for layer in named_layers(network)]


def weight_count(layers: Iterable[Weighted]) -> int:
    """How many weights layers have, without biases."""
    return sum(layer.weight.numel() for layer in layers)
