"""Where in an image a network sees a class: class activation maps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from squeezekit.data.batches import Normalization
from squeezekit.inference.model import Model
from squeezekit.networks.dropout import Dropout
from squeezekit.networks.squeezenet import SqueezeNet
from squeezekit.networks.tracing import traced
from squeezekit.system.errors import SqueezekitError
from squeezekit.training.measurement import images_at_once

MEAN_DIMENSIONS = ((2, 3), (-2, -1))


class ClassActivation:
    """Maps whose mean over the image is the logit of a class (Zhou et al., 2016, arXiv 1512.04150, section 2).

    A SqueezeNet's last convolution has them; a linear layer of means gives them by its weights of the maps that are averaged.
    Raises SqueezekitError for a MODEL that ends otherwise.
    """

    def __init__(self, model: Model) -> None:
        network = model.network.eval()
        if isinstance(network, SqueezeNet):
            self._maps = _of_squeezenet(network)
        elif (found := _averaged(network)) is not None:
            self._maps = _of_means(*found)
        else:
            raise SqueezekitError(f"{model.name}: has no class activation maps, since no mean over the image makes its logits")
        self._normalize = Normalization(model.config.mean, model.config.std)
        self._at_once = images_at_once(model.config.image_size)

    def __call__(self, images: NDArray[np.uint8], classes: NDArray[np.int64]) -> NDArray[np.float32]:
        """Of images uint8 [n, side, side, channels], n at least 1, and a class of each, int64 [n]: float32 [n, h, w]."""
        blocks = []
        for start in range(0, len(images), self._at_once):
            part = slice(start, start + self._at_once)
            with torch.inference_mode():
                maps = self._maps(self._normalize(torch.from_numpy(images[part])))
            blocks.append(maps[torch.arange(len(maps)), torch.from_numpy(classes[part])].float().numpy())
        return np.concatenate(blocks)


def _of_squeezenet(network: SqueezeNet) -> Callable[[Tensor], Tensor]:
    convolution, relu = network.classifier[1], network.classifier.relu

    def maps(x: Tensor) -> Tensor:
        found: Tensor = convolution(network.features(x))
        return found.relu() if relu else found

    def both_sides(x: Tensor) -> Tensor:
        return (maps(x) + maps(x.flip(3)).flip(3)) / 2

    return both_sides if network.config.mirrored else maps


def _of_means(features: nn.Module, linear: nn.Linear) -> Callable[[Tensor], Tensor]:
    def maps(x: Tensor) -> Tensor:
        weighted = torch.einsum("kc,nchw->nkhw", linear.weight, features(x))
        return weighted if linear.bias is None else weighted + linear.bias[:, None, None]

    return maps


def _averaged(network: nn.Module) -> tuple[nn.Module, nn.Linear] | None:
    """What computes the maps that are averaged, and the linear layer of the means; None where a network ends otherwise."""
    try:
        graph = traced(network)
    except SqueezekitError:
        return None
    modules = dict(network.named_modules())
    output = next(node for node in graph.nodes if node.op == "output")
    last = output.args[0]
    linear = _module(last, modules)
    if not isinstance(linear, nn.Linear):
        return None
    mean = last.args[0]
    while isinstance(_module(mean, modules), Dropout | nn.Dropout):
        mean = mean.args[0]
    dimensions = mean.args[1] if mean.op == "call_method" and mean.target == "mean" and len(mean.args) == 2 else ()
    if dimensions not in MEAN_DIMENSIONS:
        return None
    output.args = (mean.args[0],)
    return fx.GraphModule(network, graph).eval(), linear


def _module(node: fx.Node, modules: dict[str, nn.Module]) -> nn.Module | None:
    return modules[str(node.target)] if isinstance(node, fx.Node) and node.op == "call_module" else None
