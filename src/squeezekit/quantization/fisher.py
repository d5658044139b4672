"""How much the loss suffers when a weight moves: the Fisher information of every layer, factored.

K-FAC for convolutions (Grosse and Martens, 2016, arXiv 1602.01407), diagonal over output channels: moving the filter of output
channel o by d costs about ½ · outputs[o] · dᵀ · inputs · d nats an image. Groups of a convolution share `inputs`, the mean of
theirs; how much each sees beside that mean goes to `outputs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from squeezekit.data.batches import Batch
from squeezekit.networks.named_layers import NamedLayers, Weighted, logits_of_one_side

# Places of a map that the inputs' covariance is taken from: neighbours tell much the same.
PLACES = 64
# Of unfolded maps in memory at once: half a gigabyte.
MOST_NUMBERS = 1 << 27
# Share of the mean variance that is added to every input's.
DAMPING = 0.01


@dataclass
class FisherInformation:
    """Of one layer, with `fan` = in channels of a filter · its places.

    `inputs` [fan, fan] is the covariance of what a filter sees (a shift of its output is left to bias or batch normalization),
    `outputs` [out] the squared gradient of the loss at the output, summed over the map, mean of images, times the variance that
    its group sees beside the mean of all groups, `means` [out] the mean of the output itself.
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
    """What the batches of one layer add up to, in each of its groups."""

    layer: Weighted
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
            self.pivot = patches.mean(1, keepdim=True)
        # So that no mean drowns the deviations.
        patches = patches - self.pivot
        self.squares = self.squares + patches.transpose(1, 2) @ patches
        self.total = self.total + patches.sum(1)
        self.patches += patches.shape[1]
        self.means = self.means + result.detach().transpose(0, 1).flatten(1).mean(1) * len(result)
        self.images += len(result)
        result.register_hook(self._look_back)  # type: ignore[no-untyped-call]

    def _look_back(self, gradient: Tensor) -> None:
        self.outputs = self.outputs + gradient.square().transpose(0, 1).flatten(1).sum(1)

    def _patches(self, x: Tensor) -> Tensor:
        """What the filters of each group see at some places: [groups, images · places, fan]."""
        c = self.layer
        if isinstance(c, nn.Linear):
            return x[None]
        assert not isinstance(c.padding, str)
        fold = nn.Unfold(c.kernel_size, c.dilation, c.padding, c.stride)
        fan = x.shape[1] * c.kernel_size[0] * c.kernel_size[1]
        # All places of so many images fit into memory at once; of these, some are kept.
        images = max(MOST_NUMBERS // (fan * x.shape[2] * x.shape[3]), 1)
        columns, chosen = list[Tensor](), None
        for part in torch.split(x, images):
            found = fold(part)
            if found.shape[2] > PLACES:
                chosen = torch.randperm(found.shape[2])[:PLACES] if chosen is None else chosen
                found = found[:, :, chosen]
            columns.append(found)
        together = torch.cat(columns)
        groups = together.view(len(x), c.groups, fan // c.groups, -1)
        return groups.permute(1, 0, 3, 2).flatten(1, 2)

    def curvature(self) -> FisherInformation:
        """Inputs that go together by chance, since fewer patches were seen than a filter has weights, count less."""
        mean = self.total / self.patches
        each = self.squares / self.patches - mean[:, :, None] * mean[:, None, :]
        covariance = each.mean(0)
        trust = self.patches / (self.patches + len(covariance))
        covariance = trust * covariance + (1 - trust) * covariance.diagonal().diag()
        sizes = each.diagonal(dim1=1, dim2=2).sum(1)
        beside = (sizes / sizes.mean().clamp(min=1e-30)).repeat_interleave(len(self.means) // len(sizes))
        return FisherInformation(covariance, self.outputs / self.images * beside, self.means / self.images)


def fisher_information(network: NamedLayers, layers: Sequence[Weighted], batches: Sequence[Batch]) -> list[FisherInformation]:
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


def _backward(network: NamedLayers, images: Tensor) -> None:
    # Not the mean with the mirror image: each layer is to see an image once.
    logits = logits_of_one_side(network, images)
    labels = logits.detach().softmax(1).multinomial(1).squeeze(1)
    F.cross_entropy(logits, labels, reduction="sum").backward()  # type: ignore[no-untyped-call]
