"""How much the loss suffers when a weight moves: the Fisher information of every layer, factored.

K-FAC for convolutions (Grosse and Martens, 2016, arXiv 1602.01407), diagonal over output channels: moving the filter of output
channel o by d costs about ½ · outputs[o] · dᵀ · inputs · d nats an image. Groups of a convolution share `inputs`: with few
channels each, they are much alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from squeezekit.images.batches import Batch
from squeezekit.networks.foldable import Filters, Foldable

# Places of a map that the inputs' covariance is taken from: neighbours tell much the same.
PLACES = 64
# Share of the mean variance that is added to every input's.
DAMPING = 0.01


@dataclass
class Curvature:
    """Of one layer, with `fan` = in channels of a filter · its places.

    `inputs` [fan, fan] is the covariance of what a filter sees (a shift of its output is left to bias or batch normalisation),
    `outputs` [out] the squared gradient of the loss at the output, summed over the map, mean of images, `means` [out] the mean
    of the output itself.
    """

    inputs: Tensor
    outputs: Tensor
    means: Tensor

    @cached_property
    def alone(self) -> Tensor:
        """The upper Cholesky factor [fan, fan] of the inverse covariance.

        Its diagonal is 1 ÷ the deviation that an input has when those after it are known.
        """
        inputs = self.inputs.double()
        inputs = inputs + (DAMPING * inputs.diagonal().mean() + 1e-12) * torch.eye(len(inputs), dtype=torch.float64)
        upper: Tensor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(inputs)), upper=True)
        return upper.float()


@dataclass
class _Sums:
    """What the batches of one layer add up to."""

    layer: Filters
    pivot: Tensor | None = None
    patches: int = 0
    squares: Tensor = field(default_factory=lambda: torch.zeros(()))
    total: Tensor = field(default_factory=lambda: torch.zeros(()))
    outputs: Tensor = field(default_factory=lambda: torch.zeros(()))
    means: Tensor = field(default_factory=lambda: torch.zeros(()))
    images: int = 0

    def look(self, module: nn.Module, arguments: tuple[Tensor, ...], result: Tensor) -> None:
        """A forward hook."""
        patches = self._patches(arguments[0].detach())
        if self.pivot is None:
            self.pivot = patches.mean(0)
        # So that no mean drowns the deviations.
        patches = patches - self.pivot
        self.squares = self.squares + patches.T @ patches
        self.total = self.total + patches.sum(0)
        self.patches += len(patches)
        each = result.detach().transpose(0, 1).flatten(1)
        self.means = self.means + each.mean(1) * len(result)
        self.images += len(result)
        result.register_hook(self._look_back)  # type: ignore[no-untyped-call]

    def _look_back(self, gradient: Tensor) -> None:
        self.outputs = self.outputs + gradient.square().transpose(0, 1).flatten(1).sum(1)

    def _patches(self, x: Tensor) -> Tensor:
        """What the filter sees at some places: [places, fan]."""
        c = self.layer
        if isinstance(c, nn.Linear):
            return x
        assert not isinstance(c.padding, str)
        one_group = x.reshape(-1, c.in_channels // c.groups, *x.shape[2:])
        columns = F.unfold(one_group, c.kernel_size, c.dilation, c.padding, c.stride)
        if columns.shape[2] > PLACES:
            columns = columns[:, :, torch.randperm(columns.shape[2])[:PLACES]]
        return columns.transpose(1, 2).flatten(0, 1)

    def curvature(self) -> Curvature:
        """Inputs that go together by chance, since fewer patches were seen than a filter has weights, count less."""
        mean = self.total / self.patches
        covariance = self.squares / self.patches - torch.outer(mean, mean)
        trust = self.patches / (self.patches + len(mean))
        covariance = trust * covariance + (1 - trust) * covariance.diagonal().diag()
        return Curvature(covariance, self.outputs / self.images, self.means / self.images)


def curvatures(network: Foldable, layers: Sequence[Filters], batches: Sequence[Batch]) -> list[Curvature]:
    """Of the network in use (evaluation mode), at labels drawn from its own answers; one for each of `layers`."""
    network.eval()
    found = [_Sums(layer) for layer in layers]
    handles: list[Any] = [sums.layer.register_forward_hook(sums.look) for sums in found]
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(0)
            for images, _labels in batches:
                _backward(network, images)
    finally:
        for handle in handles:
            handle.remove()
        network.zero_grad(set_to_none=True)
    return [sums.curvature() for sums in found]


def _backward(network: Foldable, images: Tensor) -> None:
    # Not the mean with the mirror image: each layer is to see an image once.
    logits = network.logits_of_one_side(images)
    labels = logits.detach().softmax(1).multinomial(1).squeeze(1)
    F.cross_entropy(logits, labels, reduction="sum").backward()  # type: ignore[no-untyped-call]
