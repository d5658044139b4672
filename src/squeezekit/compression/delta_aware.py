"""Delta-aware quantisation: the delta from an earlier file, the reference, is to be small.

A run that was trained on from a file (`train --init-from`) moves most weights by less than the step of their grid. Here every
weight is rounded to the grid of that file, and keeps its integer wherever another one is not worth its bits in the delta. Where
that alone loses more accuracy than the target allows, one QAT round on that grid regains it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from squeezekit.acceleration.folding import folded, folded_layers
from squeezekit.codec.encodings import Array, Quantized
from squeezekit.compression.candidate import Candidate, TrainingRound
from squeezekit.compression.context import CompressionContext
from squeezekit.compression.target import Target
from squeezekit.modelfile.delta import delta_between
from squeezekit.modelfile.sqz import Sqz, from_bytes
from squeezekit.networks.named_layers import FoldedLayer, per_channel
from squeezekit.quantization.bias_correction import correct_biases
from squeezekit.quantization.delta_aware_rounding import DeltaAwareWeight, delta_aware_bias, delta_aware_round
from squeezekit.quantization.fisher import FisherInformation, fisher_information
from squeezekit.quantization.qat import QAT_RECIPE, QatOptimizer
from squeezekit.quantization.quantized_arrays import BIAS_STEPS, OTHER_STEPS
from squeezekit.quantization.weight_layers import weight_count, weight_layers
from squeezekit.system.errors import SqueezekitError
from squeezekit.training.optimizers import optimizer_for

# The rate weight grows from this until too much accuracy is lost.
FIRST, GROWTH, MAX_PTQ_CANDIDATES = 0.0008, 4.0, 8
# Or until the delta is not smaller by such a share any more.
MIN_GAIN = 0.005
# Points of accuracy that a QAT round may regain.
QAT_REGAINS = 5.0
# Gentler than other QAT, since there is no batch normalization to steady it.
GENTLE_RECIPE: dict[str, Any] = {**QAT_RECIPE, "learning_rate": 0.002, "warmup": 0.1}


class DeltaAwareMethod:
    """Candidates whose cost is their delta from the file `reference`; raises SqueezekitError for a file of another network."""

    max_ptq_candidates = MAX_PTQ_CANDIDATES

    def __init__(self, context: CompressionContext, target: Target, reference: bytes) -> None:
        self.context, self.target, self._reference = context, target, reference
        self._old = from_bytes(reference).weights
        network = self._network()
        shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        same = shapes == {name: tuple(part.shape) for name, part in self._old.items()}
        if not same or not all(isinstance(self._old[f"{layer.name}.weight"], Quantized) for layer in folded_layers(network)):
            raise SqueezekitError(
                "--delta-from: holds another network than the run; give the file that its training started from"
            )

    def next_ptq(self, ptq: Sequence[Candidate]) -> Candidate | None:
        """Rounding at the next rate weight; None when more would lose too much or gain nothing."""
        drops = [self.target.drop(each.stage) for each in ptq]
        costs = [each.cost for each in ptq]
        no_gain = len(costs) > 1 and costs[-1] > (1 - MIN_GAIN) * costs[-2]
        if len(ptq) == MAX_PTQ_CANDIDATES or no_gain or (drops and drops[-1] > self._max_ptq_drop):
            return None
        rate_weight = FIRST * GROWTH ** len(ptq)
        network = self._network()
        self._quantize(network, rate_weight)
        name = f"delta-aware PTQ at rate weight {rate_weight:.3g}"
        file = self._file(name, network)
        return Candidate(name, rate_weight, file, delta_bytes=self._delta_bytes(file))

    def next_round(self, ptq: Sequence[Candidate], rounds: Sequence[Candidate], epochs: int) -> TrainingRound | None:
        """One QAT round, from the smallest delta whose loss it may regain; None where that meets the target as it is."""
        possible = [each for each in ptq if self.target.drop(each.stage) <= self._max_ptq_drop] or ptq[:1]
        start = min(possible, key=lambda each: each.cost)
        return None if rounds or self.target.met(start.stage) else self._round(start.rate_weight, epochs)

    def _round(self, rate_weight: float, epochs: int) -> TrainingRound:
        context, device = self.context, self.context.device
        network, unquantized = self._network(), self._network()
        self._quantize(network, rate_weight)
        weights = [self._quantized_weight(*pair) for pair in zip(folded_layers(network), folded_layers(unquantized), strict=True)]
        recipe = context.recipe(epochs, GENTLE_RECIPE)
        network.to(device)
        optimizer = QatOptimizer(optimizer_for(network, recipe), [weight.to(device) for weight in weights])
        name = f"delta-aware QAT at rate weight {rate_weight:.3g}"
        return TrainingRound(
            name,
            rate_weight,
            context.trainer(network, optimizer, recipe, distilled=True),
            describe=lambda: f"{sum(weight.changed() for weight in weights):,} weights changed",
            finish=lambda: (self._file(name, network.cpu()), {}),
            delta_bytes=self._delta_bytes,
        )

    @property
    def _max_ptq_drop(self) -> float:
        """Points of accuracy that rounding alone may lose."""
        return (self.target.max_drop or 0) + QAT_REGAINS

    def _network(self) -> nn.Module:
        """The run's network without batch normalization, as files have it."""
        return folded(self.context.network().eval())

    @cached_property
    def _fisher(self) -> list[FisherInformation]:
        network = self._network()
        return fisher_information(network, weight_layers(network), self.context.calibration)

    @torch.no_grad()
    def _quantize(self, network: nn.Module, rate_weight: float) -> None:
        """Write rounded weights into the network, and biases that are corrected for them."""
        found = folded_layers(network)
        nats_per_bit = rate_weight / weight_count(layer.module for layer in found)
        for layer, fisher in zip(found, self._fisher, strict=True):
            old = self._old_weight(layer.name)
            quantized = Quantized(delta_aware_round(layer.module.weight, old, fisher, nats_per_bit), old.scales)
            layer.module.weight.copy_(torch.from_numpy(quantized.dequantize()))
        means = {layer.module: fisher.output_means for layer, fisher in zip(found, self._fisher, strict=True)}
        correct_biases(network, means, self.context.calibration)

    def _file(self, name: str, network: nn.Module) -> Sqz:
        """The file of a network whose weights lie on the old grids."""
        arrays = dict[str, Array | Quantized]()
        for layer in folded_layers(network):
            old = self._old_weight(layer.name)
            steps = old.scales.reshape(-1, *[1] * (old.integers.ndim - 1))
            integers = np.rint(layer.module.weight.detach().numpy() / steps).astype(np.int64)
            arrays[f"{layer.name}.weight"] = Quantized(integers, old.scales)
            assert layer.module.bias is not None
            bias = f"{layer.name}.bias"
            arrays[bias] = delta_aware_bias(layer.module.bias.detach().numpy(), self._old[bias], BIAS_STEPS)
        for key, other in network.state_dict().items():
            if key not in arrays:
                arrays[key] = delta_aware_bias(other.numpy(), self._old[key], OTHER_STEPS)
        return self.context.builder.build(name, {key: arrays[key] for key in self._old}, (self.context.trained,))

    def _delta_bytes(self, file: Sqz) -> int:
        data = file.to_bytes()
        delta = delta_between(self._reference, data)
        return len(data) if delta is None else len(delta)

    def _quantized_weight(self, layer: FoldedLayer, unquantized: FoldedLayer) -> DeltaAwareWeight:
        old, weight = self._old_weight(layer.name), layer.module.weight
        step = per_channel(torch.from_numpy(old.scales), weight)
        latent, reference = unquantized.module.weight.detach().clone(), torch.from_numpy(old.integers).to(step.dtype)
        return DeltaAwareWeight.from_latent(weight, step, reference, latent)

    def _old_weight(self, name: str) -> Quantized:
        weight = self._old[f"{name}.weight"]
        assert isinstance(weight, Quantized)
        return weight
