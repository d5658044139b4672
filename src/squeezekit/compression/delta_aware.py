"""Rounding that stays near to an earlier file of the network, so that little has to be sent to whoever has that one.

A run that went on from a file (`train --from`) moves most weights by less than the step of their grid. Here every weight is
rounded to the grid of that file, and to the integer that stands there wherever another one is not worth its bits in the delta.
Where that alone loses more than is promised, a round of training on that grid wins it back: weights go on, and change only when
they are a whole step away from what the file has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from squeezekit.acceleration.folding import folded, layers
from squeezekit.codec.encodings import Grid, Quantized
from squeezekit.codec.tensors import Array
from squeezekit.compression.candidate import Round, Trial
from squeezekit.compression.context import CompressionContext
from squeezekit.compression.rate_distortion_method import RETRAINING
from squeezekit.compression.target import Target
from squeezekit.modelfile.delta import delta_between
from squeezekit.modelfile.sqz import Sqz, from_bytes
from squeezekit.networks.named_layers import FoldedLayer, NamedLayers, along
from squeezekit.quantization.bias_correction import correct_biases
from squeezekit.quantization.fisher import FisherInformation, fisher_information
from squeezekit.quantization.qat import GridOptimizer, GridWeight
from squeezekit.quantization.quantized_arrays import BIAS_STEPS, FINE_STEPS, on_grid
from squeezekit.system.errors import SqueezekitError
from squeezekit.training.optimizers import optimizer_for

# What a bit for every weight is worth at first, in nats of an image's loss; it grows until too much is lost.
FIRST, GROWTH, MOST_TRIALS = 0.0008, 4.0, 8
# Pressure that no longer makes the delta smaller by such a share is enough.
LEAST_GAIN = 0.005
# What a change costs about: that it is one among some fifty that are none, and its direction; and each step beyond the first.
CHANGE_BITS, STEP_BITS = 7.0, 2.0
# Points of accuracy that training may win back: no more pressure is tried beyond them and the promise.
WON_BACK = 5.0
# A weight in training changes when it is so many steps away from where it stands in the file.
REACH = 1.0
# Gentler than rounds that press harder, since no batch normalization is there to steady it.
GENTLY = {**RETRAINING, "learning_rate": 0.002, "warmup": 0.1}
# A bias stays as it was if its new value is within so many steps of its grid.
BIAS_STAYS = 0.75


class Near:
    """A way to compress whose files are measured by their delta from `old`."""

    most_roundings = MOST_TRIALS

    def __init__(self, subject: CompressionContext, promise: Target, epochs: int, old: bytes) -> None:
        self.subject, self.promise, self.epochs, self._old = subject, promise, epochs, old
        self._weights = from_bytes(old).weights
        plain = self._network
        shapes = {name: tuple(tensor.shape) for name, tensor in plain.state_dict().items()}
        if shapes != {name: tuple(part.shape) for name, part in self._weights.items()} or not all(
            isinstance(self._weights[f"{layer.name}.weight"], Quantized) for layer in layers(plain)
        ):
            raise SqueezekitError("--near: is no file of the run's network; give the one that the run was trained --from")

    def rounding(self, roundings: Sequence[Trial]) -> Trial | None:
        """Rounding under the next pressure; None when more would lose too much."""
        lost = [self.promise.drop(trial.stage) for trial in roundings]
        costs = [trial.bytes for trial in roundings]
        settled = len(costs) > 1 and costs[-1] > (1 - LEAST_GAIN) * costs[-2]
        if len(roundings) == MOST_TRIALS or settled or (lost and lost[-1] > self._most):
            return None
        pressure = FIRST * GROWTH ** len(roundings)
        network = self._network
        self._round(network, pressure)
        file = self._file(f"near under pressure {pressure:.3g}", network)
        return Trial(file.stages[-1].name, pressure, file, cost=self._cost(file))

    def following(self, roundings: Sequence[Trial], rounds: Sequence[Trial]) -> Round | None:
        """One round of training, from the smallest delta whose loss may be won back, unless it keeps the promise as it is."""
        near = [trial for trial in roundings if self.promise.drop(trial.stage) <= self._most] or roundings[:1]
        start = min(near, key=lambda trial: trial.bytes)
        if rounds or self.promise.kept(start.stage):
            return None
        pressure = start.pressure
        network, meant = self._network, self._network
        self._round(network, pressure)
        grids = [self._grid(*pair) for pair in zip(layers(network), layers(meant), strict=True)]
        recipe = self.subject.recipe(self.epochs, GENTLY)
        network.to(self.subject.device)
        optimizer = GridOptimizer(optimizer_for(network, recipe), [grid.to(self.subject.device) for grid in grids])
        trainer = self.subject.trainer(network, optimizer, recipe, taught=True)

        def finish() -> tuple[Sqz, dict[str, Any]]:
            return self._file(f"trained near, from pressure {pressure:.3g}", network.cpu()), {}

        def note() -> str:
            return f"{sum(grid.changed() for grid in grids):,} weights changed"

        return Round(f"near, pressure {pressure:.3g}", pressure, trainer, note, finish, self._cost)

    @property
    def _most(self) -> float:
        """Points of accuracy that rounding may lose."""
        return (self.promise.max_drop or 0) + WON_BACK

    @property
    def _network(self) -> NamedLayers:
        """The run's, without batch normalization, as files have it."""
        return folded(self.subject.network().eval())

    @cached_property
    def _curvatures(self) -> list[FisherInformation]:
        network = self._network
        return fisher_information(network, [each.module for each in layers(network)], self.subject.calibration)

    @torch.no_grad()
    def _round(self, network: NamedLayers, pressure: float) -> None:
        """Put rounded weights into the network, and biases that make up for them."""
        found = layers(network)
        price = pressure / sum(layer.module.weight.numel() for layer in found)
        for layer, bend in zip(found, self._curvatures, strict=True):
            old = self._old_filters(layer.name)
            part = Quantized(round_near(layer.module.weight, old, bend, price), old.scales)
            layer.module.weight.copy_(torch.from_numpy(part.dequantized()))
        means = {layer.module: bend.means for layer, bend in zip(found, self._curvatures, strict=True)}
        correct_biases(network, means, self.subject.calibration)

    def _file(self, name: str, network: NamedLayers) -> Sqz:
        """Of a network whose filters lie on the old grids."""
        weights = dict[str, Array | Quantized]()
        for layer in layers(network):
            old = self._old_filters(layer.name)
            steps = old.scales.reshape(-1, *[1] * (old.integers.ndim - 1))
            integers = np.rint(layer.module.weight.detach().numpy() / steps).astype(np.int64)
            weights[f"{layer.name}.weight"] = Quantized(integers, old.scales)
            assert layer.module.bias is not None
            bias = f"{layer.name}.bias"
            weights[bias] = _near_before(layer.module.bias.detach().numpy(), self._weights[bias], BIAS_STEPS)
        for name, others in network.state_dict().items():
            if name not in weights:
                weights[name] = _near_before(others.numpy(), self._weights[name], FINE_STEPS)
        return self.subject.file(name, {each: weights[each] for each in self._weights}, (self.subject.trained,))

    def _cost(self, file: Sqz) -> int:
        data = file.to_bytes()
        delta = delta_between(self._old, data)
        return len(data) if delta is None else len(delta)

    def _grid(self, layer: FoldedLayer, meant: FoldedLayer) -> NearWeight:
        """What trains: the rounded filters of `layer`, and behind them those of `meant`."""
        old = self._old_filters(layer.name)
        step = along(torch.from_numpy(old.scales), layer.module.weight)
        hidden, stands = meant.module.weight.detach().clone(), torch.from_numpy(old.integers).to(step.dtype)
        # What rounding has decided stays until training moves it.
        rounded = layer.module.weight.detach()
        hidden = torch.where(_near(hidden / step, stands) == (rounded / step).round(), hidden, rounded)
        return NearWeight(layer.module.weight, step, hidden, stands)

    def _old_filters(self, name: str) -> Quantized:
        part = self._weights[f"{name}.weight"]
        assert isinstance(part, Quantized)
        return part


def round_near(weight: Tensor, old: Quantized, curvature: FisherInformation, price: float) -> NDArray[np.int64]:
    """Integers [out, …] for a weight [out, …] on the grids of `old`, where a bit is worth `price` nats of an image's loss.

    Errors are made up for by the weights still to be rounded, as in `rate_distortion.py`; what is cheap to write here is not a
    zero but the integer that stands in `old`.
    """
    steps = torch.from_numpy(old.scales)
    matrix = weight.detach().flatten(1) / steps[:, None]
    before = torch.from_numpy(old.integers).to(matrix.dtype).flatten(1)
    alone, diagonal = curvature.alone, curvature.alone.diagonal()
    loss = (curvature.outputs * steps.square())[:, None] / diagonal.square() / (2 * price)
    integers = torch.zeros_like(matrix)
    for j in range(matrix.shape[1]):
        column, stays = matrix[:, j], before[:, j]
        low = column.floor()
        candidates = torch.stack([stays, low, low + 1])
        far = (candidates - stays).abs()
        bits = CHANGE_BITS * (far > 0) + STEP_BITS * (far - 1).clamp(min=0)
        best = (loss[:, j] * (column - candidates).square() + bits).argmin(0)
        integers[:, j] = candidates.gather(0, best[None])[0]
        matrix[:, j + 1 :] -= torch.outer((column - integers[:, j]) / diagonal[j], alone[j, j + 1 :])
    return integers.view(weight.shape).numpy().astype(np.int64)


@dataclass
class NearWeight(GridWeight):
    """A weight on the grid of a file, where `stands` are the integers that the file has."""

    stands: Tensor

    def to(self, device: torch.device) -> NearWeight:
        """Itself, moved to where the network is or will be."""
        super().to(device)
        self.stands = self.stands.to(device)
        return self

    def price(self) -> Tensor:
        """Not needed: every change costs the same."""
        return self.step

    @torch.no_grad()
    def round(self, price: Tensor) -> None:
        """Round the unrounded weight, into the network."""
        self.weight.copy_(_near(self.hidden / self.step, self.stands) * self.step)

    def changed(self) -> int:
        """How many integers are others than those of the file."""
        return int((self.integers() != self.stands).sum())


def _near(meant: Tensor, stands: Tensor) -> Tensor:
    """To what stands in the file, or, where it is further away than REACH, to the nearest integer."""
    return torch.where((meant - stands).abs() < REACH, stands, meant.round())


def _near_before(numbers: NDArray[np.float32], old: Array | Quantized, steps: int) -> Array:
    """On the grid of the old ones, and left as they were where they have hardly moved; without one, in `steps` of their own."""
    grid = Grid.of(np.asarray(old))
    if grid is None:
        return on_grid(numbers, steps)
    ratios = numbers / grid.step
    integers = np.where(np.abs(ratios - grid.integers) < BIAS_STAYS, grid.integers, np.rint(ratios))
    found: Array = (integers + 0).astype(np.float32) * grid.step
    return found
