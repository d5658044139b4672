"""The optimiser that a recipe asks for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from squeezekit.networks.tracing import BatchNorm, Weighted
from squeezekit.system.console import say
from squeezekit.training.muon import Muon
from squeezekit.training.recipe import Recipe


class StepsWeights(Protocol):
    """What the training loop needs of an optimiser; torch's have it."""

    @property
    def param_groups(self) -> list[dict[str, Any]]: ...

    def zero_grad(self) -> None: ...

    def step(self) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def optimizer_for(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimiser of the network's trainable weights, its rates the highest of the schedule."""
    _keep_compiler_out()
    parameters = list(network.parameters())
    if recipe.optimizer == "muon":
        normed = _filters_before_a_norm(network)
        if normed:
            chosen = {id(p) for p in normed}
            rest = _groups(network, [p for p in parameters if id(p) not in chosen], recipe)
            return Muon(normed, rest, rate=recipe.muon_rate or recipe.learning_rate, momentum=recipe.muon_momentum)
        say("no convolution stands before batch normalization: all weights learn by SGD")
    groups = _groups(network, parameters, recipe)
    if recipe.optimizer in ("sgd", "muon"):
        return _light(torch.optim.SGD)(groups, momentum=recipe.momentum, nesterov=recipe.momentum > 0, fused=True)
    adam = _light(torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW)
    # capturable: a recorded step counts on the GPU.
    return adam(groups, fused=True, capturable=parameters[0].is_cuda)


def light_lbfgs(parameters: Sequence[Tensor], iterations: int) -> torch.optim.Optimizer:
    """L-BFGS with a line search, which takes at most so many iterations in one step."""
    _keep_compiler_out()
    return _light(torch.optim.LBFGS)(parameters, max_iter=iterations, line_search_fn="strong_wolfe")


def _light(optimizer: Any) -> Callable[..., torch.optim.Optimizer]:
    """That class of torch's with a step that does not import torch's compiler, which torch's own does for those who trace it."""
    plain = getattr(optimizer.step, "__wrapped__", None)
    light: type[torch.optim.Optimizer] = type(optimizer.__name__, (optimizer,), {"step": torch.no_grad()(plain)} if plain else {})
    return light


def _keep_compiler_out() -> None:
    """Have optimizers not import torch's compiler, a second or two, only to tell it to pass over their methods."""
    optimizer = torch.optim.Optimizer
    for method in (optimizer.add_param_group, optimizer.zero_grad, optimizer.state_dict, optimizer.load_state_dict):
        # Where torch._compile._disable_dynamo looks before it imports; without such a place, nothing changes.
        plain = getattr(method, "__wrapped__", None)
        if plain is not None and "torch._dynamo" not in sys.modules:
            plain.__dynamo_disable = plain


def _groups(network: nn.Module, parameters: Sequence[Tensor], recipe: Recipe) -> list[dict[str, Any]]:
    biases = _biases_of_what_is_normalized(network) if recipe.bias_rate else []
    known = {id(p) for p in biases}
    others = [p for p in parameters if id(p) not in known]
    common: dict[str, object] = {"lr": recipe.learning_rate}
    if recipe.optimizer in ("sgd", "muon"):
        common["momentum"] = recipe.momentum
    # Biases and batch normalization have nothing to shrink.
    groups: list[dict[str, Any]] = [
        {"params": [p for p in others if p.ndim > 1], "weight_decay": recipe.weight_decay, **common},
        {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0, **common},
    ]
    groups += [{**groups[1], "params": biases, "lr": recipe.bias_rate}] if biases else []
    if recipe.layer_decay < 1:
        return [each for group in groups for each in _by_layer(network, group, recipe.layer_decay)]
    return groups


def _by_layer(network: nn.Module, group: dict[str, Any], decay: float) -> Iterator[dict[str, object]]:
    """A group for each layer of one, its rate multiplied by `decay` for every layer behind it.

    As in Howard and Ruder, 2018, arXiv 1801.06146, section 3.2.
    """
    layers = _layers(network)
    last, wanted = max(layers.values()), {id(p) for p in group["params"]}
    by_layer: dict[int, list[Tensor]] = {}
    for parameter, layer in layers.items():
        if id(parameter) in wanted:
            by_layer.setdefault(layer, []).append(parameter)
    for layer, parameters in by_layer.items():
        yield {**group, "params": parameters, "lr": group["lr"] * decay ** (last - layer)}


def _layers(network: nn.Module) -> dict[Tensor, int]:
    """The number of the layer, from 0, that each parameter belongs to: a convolution's with what is defined behind it."""
    layers: dict[Tensor, int] = {}
    layer = -1
    for module in network.modules():
        layer += isinstance(module, Weighted)
        layers |= {parameter: max(layer, 0) for parameter in module.parameters(recurse=False)}
    return layers


def _biases_of_what_is_normalized(network: nn.Module) -> list[Tensor]:
    """Of batch normalization, and of layers whose weights stay as they are because they whiten."""
    normalizing = [m for m in network.modules() if isinstance(m, BatchNorm)]
    whitening = [m for m in network.modules() if isinstance(m, Weighted) and not m.weight.requires_grad]
    return [module.bias for module in (*whitening, *normalizing) if module.bias is not None]


def _filters_before_a_norm(network: nn.Module) -> list[Tensor]:
    # The families here leave a convolution's bias out where batch normalization follows it. A depthwise filter is no matrix.
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d) and module.groups == 1]
    return [module.weight for module in convolutions if module.bias is None]
