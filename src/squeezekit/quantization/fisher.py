"""The Fisher information of every layer's weights: how much the loss grows when they change.

K-FAC for convolutions (Grosse and Martens, 2016, arXiv 1602.01407), diagonal over output channels: a change d of the filter of
output channel o costs about ½ · output_gradients[o] · dᵀ · input_covariance · d nats an image. The groups of a convolution share
`input_covariance`, the mean of theirs; their own variance relative to that mean is a factor of `output_gradients`.
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
from squeezekit.networks.named_layers import Weighted, logits_of_one_side

# Positions of a feature map that the input covariance is taken from: neighbours are much alike.
MAX_POSITIONS = 64
# Of unfolded feature maps in memory at once: half a gigabyte.
MAX_UNFOLDED = 1 << 27
# Nats of entropy that a network's answers have on average at least; surer ones, which a small change of a weight hardly moves,
# are softened by doubling their temperature, at most so often.
LEAST_ENTROPY, MOST_DOUBLINGS = 0.1, 12
# Share of the mean variance that is added to every input's.
DAMPING = 0.01


@dataclass
class FisherInformation:
    """The Fisher information of one layer's weights; `fan` is the size of one filter.

    `input_covariance` [fan, fan] is that of a filter's inputs, `output_gradients` [out] the squared gradient of the loss at the
    output, summed over the feature map, mean of the images. `output_means` [out] are the means of the output itself.
    """

    input_covariance: Tensor
    output_gradients: Tensor
    output_means: Tensor

    @cached_property
    def inverse_cholesky(self) -> Tensor:
        """The upper Cholesky factor [fan, fan] of the inverse of the damped input covariance.

        Its diagonal is 1 ÷ the deviation of an input given those after it.
        """
        inputs = self.input_covariance.double()
        inputs = inputs + (DAMPING * inputs.diagonal().mean() + 1e-12) * torch.eye(len(inputs), dtype=torch.float64)
        upper: Tensor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(inputs)), upper=True)
        return upper.float()


def fisher_information(network: nn.Module, layers: Sequence[Weighted], batches: Sequence[Batch]) -> list[FisherInformation]:
    """The Fisher information of each of `layers`, in evaluation mode, at labels drawn from the network's own answers.

    Where it is almost certain of its answers, as of classes that are easily told apart, that of softer answers.
    The last of `layers` makes the logits: its gradients count less, beside their mean, the fewer images there are for a class.
    """
    network.eval()
    temperature = _softening(network, batches[0][0])
    statistics = [LayerStatistics(layer) for layer in layers]
    hooks: list[Any] = [each.layer.register_forward_hook(each.forward_hook) for each in statistics]
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(0)
            for images, _labels in batches:
                _backward(network, images, temperature)
    finally:
        for hook in hooks:
            hook.remove()
        network.zero_grad(set_to_none=True)
    found = [each.fisher_information() for each in statistics]
    # Sure answers move a class's logit only in the few images whose drawn label it is: with many classes chance decides which.
    last = found[-1]
    trust = statistics[-1].images / (statistics[-1].images + len(last.output_gradients))
    last.output_gradients = trust * last.output_gradients + (1 - trust) * last.output_gradients.mean()
    return found


@torch.no_grad()
def _softening(network: nn.Module, images: Tensor) -> float:
    """The temperature, 1 or a power of two, at which answers to these images leave something open."""
    logits, temperature = logits_of_one_side(network, images), 1.0
    for _ in range(MOST_DOUBLINGS):
        answers = (logits / temperature).log_softmax(1)
        if float(-(answers.exp() * answers).sum(1).mean()) >= LEAST_ENTROPY:
            break
        temperature *= 2
    return temperature


def _backward(network: nn.Module, images: Tensor, temperature: float) -> None:
    # Without mirror images: each layer shall see an image once.
    logits = logits_of_one_side(network, images) / temperature
    labels = logits.detach().softmax(1).multinomial(1).squeeze(1)
    F.cross_entropy(logits, labels, reduction="sum").backward()  # type: ignore[no-untyped-call]


@dataclass
class LayerStatistics:
    """Sums over the batches that a layer has seen, for each of its groups."""

    layer: Weighted
    pivot: Tensor | None = None
    patches: int = 0
    products: Tensor = field(default_factory=lambda: torch.zeros(()))
    total: Tensor = field(default_factory=lambda: torch.zeros(()))
    squared_gradients: Tensor = field(default_factory=lambda: torch.zeros(()))
    output_sums: Tensor = field(default_factory=lambda: torch.zeros(()))
    images: int = 0

    def forward_hook(self, module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        """Add a batch; its gradient is added in the backward pass."""
        patches = self._patches(arguments[0].detach())
        if self.pivot is None:
            self.pivot = patches.mean(1, keepdim=True)
        # For precision: a mean that is large beside the deviations would swallow them.
        patches = patches - self.pivot
        self.products = self.products + patches.transpose(1, 2) @ patches
        self.total = self.total + patches.sum(1)
        self.patches += patches.shape[1]
        self.output_sums = self.output_sums + output.detach().transpose(0, 1).flatten(1).mean(1) * len(output)
        self.images += len(output)
        output.register_hook(self._add_gradient)  # type: ignore[no-untyped-call]

    def fisher_information(self) -> FisherInformation:
        """From all batches; covariances count less the fewer patches were seen for each weight of a filter."""
        mean = self.total / self.patches
        covariances = self.products / self.patches - mean[:, :, None] * mean[:, None, :]
        covariance = covariances.mean(0)
        trust = self.patches / (self.patches + len(covariance))
        covariance = trust * covariance + (1 - trust) * covariance.diagonal().diag()
        variances = covariances.diagonal(dim1=1, dim2=2).sum(1)
        relative = (variances / variances.mean().clamp(min=1e-30)).repeat_interleave(len(self.output_sums) // len(variances))
        return FisherInformation(covariance, self.squared_gradients / self.images * relative, self.output_sums / self.images)

    def _add_gradient(self, gradient: Tensor) -> None:
        self.squared_gradients = self.squared_gradients + gradient.square().transpose(0, 1).flatten(1).sum(1)

    def _patches(self, x: Tensor) -> Tensor:
        """The inputs of each group's filters at some positions: [groups, images · positions, fan]."""
        layer = self.layer
        if isinstance(layer, nn.Linear):
            return x[None]
        assert not isinstance(layer.padding, str)
        unfold = nn.Unfold(layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        fan = x.shape[1] * layer.kernel_size[0] * layer.kernel_size[1]
        # So many images are unfolded at once, then some of their positions are kept.
        images = max(MAX_UNFOLDED // (fan * x.shape[2] * x.shape[3]), 1)
        columns, positions = list[Tensor](), None
        for part in torch.split(x, images):
            unfolded = unfold(part)
            if unfolded.shape[2] > MAX_POSITIONS:
                positions = torch.randperm(unfolded.shape[2])[:MAX_POSITIONS] if positions is None else positions
                unfolded = unfolded[:, :, positions]
            columns.append(unfolded)
        groups = torch.cat(columns).view(len(x), layer.groups, fan // layer.groups, -1)
        return groups.permute(1, 0, 3, 2).flatten(1, 2)
