"""Quantisation-aware training (QAT): weights are rounded in every step, towards integers that are cheap to code.

The network always holds quantised weights. Behind each stands a latent weight, which the optimizer moves by the gradient of the
quantised one (straight-through estimator; Bengio et al., 2013, arXiv 1308.3432). A weight is rounded away from zero only where
that is worth the bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from squeezekit.networks.named_layers import per_channel
from squeezekit.networks.tracing import BatchNorm
from squeezekit.quantization.code_length import SIGN_BITS, bits_per_step, code_length, expected_magnitudes
from squeezekit.quantization.rate_distortion import FINE_GRID
from squeezekit.quantization.wrapped_optimizer import WrappedOptimizer
from squeezekit.training.recipe import Recipe

# What a QAT round changes of the run's own recipe.
QAT_RECIPE: dict[str, Any] = {
    "optimizer": "sgd",
    "learning_rate": 0.01,
    # One rate for everything: those of training from scratch would move biases by whole units.
    "bias_rate": 0.0,
    "muon_rate": 0.0,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "schedule": "one-cycle",
    "warmup": 0.05,
    "patience": 0,
    "label_smoothing": 0.0,
    "temperature": 1.0,
}


def fine_tuned(trained: Recipe) -> bool:
    """Whether a recipe has changed trained weights gently, which no later step may undo."""
    return trained.optimizer == "adamw"


# The rate where batch normalization has no scale that learns: feature maps are larger there, and gradients with them.
UNSCALED_RATE = 0.003


def qat_recipe(trained: Recipe, network: nn.Module) -> dict[str, Any]:
    """What a round changes of the recipe that the network was trained with.

    What AdamW has fine-tuned goes on with AdamW as it was: SGD's steps destroy a network without batch normalization.
    """
    if fine_tuned(trained):
        return {**QAT_RECIPE, "optimizer": trained.optimizer, "learning_rate": trained.learning_rate}
    scales = [module.weight for module in network.modules() if isinstance(module, BatchNorm)]
    unscaled = any(scale is None or not scale.requires_grad for scale in scales)
    return {**QAT_RECIPE, "learning_rate": UNSCALED_RATE} if unscaled else QAT_RECIPE


@dataclass
class QuantizedWeight:
    """A `weight` [out, in, …] of the network, the `step` of its grid [out, 1, …], and the `latent` weight [out, in, …]."""

    weight: Tensor
    step: Tensor
    latent: Tensor

    @classmethod
    @torch.no_grad()
    def from_quantized(cls, weight: Tensor, steps: Tensor, integers: Tensor, latent: Tensor) -> QuantizedWeight:
        """Write integers [out, in, …] times `steps` [out] into `weight`; `latent` [out, in, …], in steps, stands behind.

        Where `latent` would be rounded to another integer, the quantised weight itself becomes the latent one.
        """
        step = per_channel(steps, weight)
        weight.copy_(integers * step)
        found = cls(weight, step, latent * step)
        found.round(found.step_bits())
        same = found.integers() == integers
        found.latent = torch.where(same, found.latent, integers * step)
        weight.copy_(integers * step)
        return found

    def to(self, device: torch.device) -> QuantizedWeight:
        """The same object, its grid and latent weight moved to the device that the network is on or will be."""
        self.step, self.latent = self.step.to(device), self.latent.to(device)
        return self

    def integers(self) -> Tensor:
        """The quantised weight in steps."""
        return (self.weight.detach() / self.step).round()

    def step_bits(self) -> Tensor:
        """The bits of one more step away from zero, as weights are rounded now: [out, in, 1, …]."""
        return bits_per_step(expected_magnitudes(self.integers()))

    @torch.no_grad()
    def round(self, step_bits: Tensor) -> None:
        """Round the latent weight into the network, to the least error and code length together.

        The step of the grid says what a bit is worth (`rate_distortion.grid_steps`).
        """
        size = self.latent.abs() / self.step
        low = size.floor()
        up = size - low > 0.5 + (step_bits + SIGN_BITS * (low == 0)) / FINE_GRID
        self.weight.copy_(torch.copysign(low + up, self.latent) * self.step)


class QatOptimizer(WrappedOptimizer):
    """An optimizer of quantised weights, around one that moves their latent weights.

    `rate_multiplier` multiplies the price of a bit: 1 is what the grids were made for. `bit_budget`, for all weights, belongs to
    rate control (`rate_control.py`); it is here to be saved with the rest.
    """

    def __init__(self, inner: torch.optim.Optimizer, weights: Sequence[QuantizedWeight]) -> None:
        super().__init__(inner)
        self.weights = weights
        # A tensor, since a recorded CUDA graph reads it.
        self.rate_multiplier = torch.ones((), device=weights[0].weight.device)
        self.bit_budget = math.inf

    @torch.no_grad()
    def step(self) -> None:
        """Move the latent weights by the gradients of the quantised ones; round again."""
        step_bits = [each.step_bits() for each in self.weights]
        for each in self.weights:
            each.weight.copy_(each.latent)
        self.inner.step()
        for each, bits in zip(self.weights, step_bits, strict=True):
            each.latent.copy_(each.weight)
            each.round(bits * self.rate_multiplier)

    @torch.no_grad()
    def requantize(self) -> None:
        """Round the latent weights at the present price of a bit, without moving them."""
        for each in self.weights:
            each.round(each.step_bits() * self.rate_multiplier.to(each.weight.device))

    @torch.no_grad()
    def bits(self) -> float:
        """About how many bits all weights cost now."""
        return sum(code_length(each.integers()) for each in self.weights)

    def state_dict(self) -> dict[str, Any]:
        """Everything beside the network that `load_state_dict` needs."""
        weights = [(each.step, each.latent) for each in self.weights]
        return {
            **super().state_dict(),
            "weights": weights,
            "rate_multiplier": self.rate_multiplier,
            "bit_budget": self.bit_budget,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        self.rate_multiplier.fill_(float(state["rate_multiplier"]))
        self.bit_budget = state["bit_budget"]
        for each, (step, latent) in zip(self.weights, state["weights"], strict=True):
            device = each.step.device
            each.step, each.latent = step.to(device, copy=True), latent.to(device, copy=True)
