"""A first layer that need not be learnt."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from squeezekit.errors import SqueezekitError
from squeezekit.images.batches import Batches

# Added to every variance, so that noise is not lifted to the size of what counts.
FLOOR = 0.01
IMAGES = 5000


@torch.no_grad()
def whiten_stem(network: nn.Module, training: Batches) -> None:
    """Make the first convolution whiten patches of the training images, and freeze it (Jordan, 2024, section 3.2).

    The scale and shift of the batch normalisation behind it are frozen too: nothing need then be derived for the
    largest maps of the network. Filters are the eigenvectors of the patches' covariance, each ÷ the square root of
    its eigenvalue, then the same with the other sign, since ReLU keeps one side only. A wider stem keeps its drawn
    filters behind them; a narrower one has those of the largest eigenvalues. Raises SqueezekitError.
    """
    stem = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    norm = next((module for module in network.modules() if isinstance(module, nn.BatchNorm2d)), None)
    if norm is None:
        raise SqueezekitError("a whitened stem needs batch normalisation behind it; train with --batch-norm")
    values, vectors = torch.linalg.eigh(_patch_covariance(training, stem.kernel_size[0]))
    order = values.argsort(descending=True)[: max(stem.out_channels // 2, 1)]
    filters = (vectors[:, order] / (values[order] + FLOOR).sqrt()).T.reshape(-1, *stem.weight.shape[1:])
    filters = torch.cat([filters, -filters])[: stem.out_channels].to(stem.weight)
    stem.weight[: len(filters)] = filters
    for module in (stem, norm):
        module.requires_grad_(False)


def _patch_covariance(training: Batches, side: int) -> Tensor:
    """Of the patches of some images, side by side: [c·side², c·side²]."""
    patches = F.unfold(training.sample(IMAGES), side, stride=side).transpose(1, 2).flatten(0, 1)
    return torch.cov(patches.T.double())
