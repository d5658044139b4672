"""The last layer alone, fitted to features that the rest of a network computes once for each image.

What is fine-tuned from there loses less of what it knew (Kumar et al., 2022, arXiv 2202.10054).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from squeezekit.data.batches import Batches
from squeezekit.networks.tracing import Weighted
from squeezekit.system.seeds import generator
from squeezekit.training.optimizers import light_lbfgs

# What the squares of the weights of standardised features may count for; folds and images by which one is chosen.
PENALTIES, FOLDS, MOST_TO_CHOOSE_BY = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01), 4, 4000
ITERATIONS = 100
# A place of random numbers, beside those of training.
CHOICE = 5


def last_layer(network: nn.Module) -> Weighted:
    """The layer that gives the logits: the last that is defined."""
    return [module for module in network.modules() if isinstance(module, Weighted)][-1]


@torch.no_grad()
def features_of(network: nn.Module, images: Batches) -> tuple[Tensor, Tensor] | None:
    """What the last layer sees of each image, in order, dropout off: float [n, d]; and labels [n].

    None where logits are not a linear function of it: a last layer that sees feature maps, a ReLU behind it.
    """
    layer, seen = last_layer(network), list[Tensor]()
    hook = layer.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0].float()))
    was_training = network.training
    network.eval()
    try:
        features, labels = [], []
        for batch, those in images.in_order():
            seen.clear()
            logits = network(batch).float()
            # Mirror images may be seen as well, of which logits are then the mean.
            features.append(torch.stack(seen).mean(0).flatten(1))
            labels.append(those)
            if not _is_linear(layer, features[-1], logits):
                return None
    finally:
        hook.remove()
        network.train(was_training)
    return torch.cat(features), torch.cat(labels)


def _is_linear(layer: Weighted, features: Tensor, logits: Tensor) -> bool:
    weight = layer.weight.flatten(1)
    return features.shape[1] == weight.shape[1] and torch.allclose(
        F.linear(features, weight, layer.bias), logits, rtol=1e-3, atol=1e-3 * float(logits.abs().max())
    )


def fit_head(network: nn.Module, images: Batches, *, weights: Tensor | None = None, seed: int = 0) -> bool:
    """Give the last layer the weights of a logistic regression on its features of `images`, as strict as folds of them say.

    `weights` are those of the classes in the loss [classes]. False, and nothing happens, where there are no features
    (`features_of`).
    """
    found = features_of(network, images)
    if found is None:
        return False
    features, labels = found
    mean, std = features.mean(0), features.std(0, correction=0).clamp(min=1e-6)
    features = (features - mean) / std
    layer = last_layer(network)
    weights = torch.ones(len(layer.weight), device=features.device) if weights is None else weights
    penalty = _chosen(features, labels, weights, seed)
    weight, bias = _fitted(features, labels, (penalty,), weights)[0]
    with torch.no_grad():
        scaled = weight / std
        layer.weight.copy_(scaled.view_as(layer.weight))
        assert layer.bias is not None
        layer.bias.copy_(bias - scaled @ mean)
    return True


def _chosen(features: Tensor, labels: Tensor, weights: Tensor, seed: int) -> float:
    """The penalty with the lowest loss on images that a fit has not seen."""
    order = torch.randperm(len(labels), generator=generator(seed, CHOICE))[:MOST_TO_CHOOSE_BY]
    losses = np.zeros(len(PENALTIES))
    for fold in range(FOLDS):
        unseen = torch.arange(len(order)) % FOLDS == fold
        seen, held = order[~unseen], order[unseen]
        for number, (weight, bias) in enumerate(_fitted(features[seen], labels[seen], PENALTIES, weights)):
            logits = F.linear(features[held], weight, bias)
            losses[number] += float(F.cross_entropy(logits, labels[held], weight=weights, reduction="sum"))
    return PENALTIES[int(losses.argmin())]


def _fitted(features: Tensor, labels: Tensor, penalties: tuple[float, ...], weights: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of the regression for each penalty, strongest first, where the next one begins."""
    weight = torch.zeros(len(weights), features.shape[1], device=features.device, requires_grad=True)
    bias = torch.zeros(len(weights), device=features.device, requires_grad=True)
    found = []
    for penalty in penalties:
        _minimize([weight, bias], partial(_loss, features, labels, weight, bias, weights, penalty))
        found.append((weight.detach().clone(), bias.detach().clone()))
    return found


def _loss(features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor, weights: Tensor, penalty: float) -> Tensor:
    loss = F.cross_entropy(F.linear(features, weight, bias), labels, weight=weights)
    return loss + penalty / 2 * weight.square().sum()


def _minimize(parameters: list[Tensor], loss: Callable[[], Tensor]) -> None:
    optimizer = light_lbfgs(parameters, ITERATIONS)

    def step() -> float:
        optimizer.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    optimizer.step(step)
