"""Rounding that stays near to an earlier file of the network, so that little has to be sent to whoever has that one.

A run that went on from a file (`train --from`) moves most weights by less than the step of their grid. Here every weight is
rounded to the grid of that file, and to the integer that stands there wherever another one is not worth its bits in the delta.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from squeezekit.compression.curvature import Curvature, curvatures
from squeezekit.compression.delta import delta_between
from squeezekit.compression.forms import Grid, Quantised
from squeezekit.compression.method import Round, Trial
from squeezekit.compression.norms import keep_means
from squeezekit.compression.promise import Promise
from squeezekit.compression.rounding import on_grid
from squeezekit.compression.sqz import Sqz, from_bytes
from squeezekit.compression.subject import Subject
from squeezekit.compression.tensors import Array
from squeezekit.errors import SqueezekitError
from squeezekit.networks.folding import convolutions, folded
from squeezekit.networks.squeezenet import SqueezeNet

# What a bit for every weight is worth at first, in nats of an image's loss; it grows until too much is lost.
FIRST, GROWTH, MOST_TRIALS = 0.0008, 4.0, 8
# Pressure that no longer makes the delta smaller by such a share is enough.
LEAST_GAIN = 0.005
# Points of accuracy beyond the promise, after which more pressure is not tried.
TOO_MUCH = 2.0
# What a change costs about: that it is one among some fifty that are none, and its direction; and each step beyond the first.
CHANGE_BITS, STEP_BITS = 7.0, 2.0
# A bias stays as it was if its new value is within so many steps of its grid.
BIAS_STAYS = 0.75


class Near:
    """A way to compress without training, whose files are measured by their delta from `old`."""

    most_roundings = MOST_TRIALS

    def __init__(self, subject: Subject, promise: Promise, old: bytes) -> None:
        self.subject, self.promise, self._old = subject, promise, old
        self._weights = from_bytes(old).weights
        plain = self._network
        shapes = {name: tuple(tensor.shape) for name, tensor in plain.state_dict().items()}
        if shapes != {name: tuple(part.shape) for name, part in self._weights.items()} or not all(
            isinstance(self._weights[f"{convolution.name}.weight"], Quantised) for convolution in convolutions(plain)
        ):
            raise SqueezekitError("--near: its network is another than the run's; give the file that the run was trained --from")

    def rounding(self, roundings: Sequence[Trial]) -> Trial | None:
        """Rounding under the next pressure; None when more would lose too much."""
        lost = [self.promise.drop(trial.stage) for trial in roundings]
        costs = [trial.bytes for trial in roundings]
        settled = len(costs) > 1 and costs[-1] > (1 - LEAST_GAIN) * costs[-2]
        if len(roundings) == MOST_TRIALS or settled or (lost and lost[-1] > (self.promise.max_drop or 0) + TOO_MUCH):
            return None
        pressure = FIRST * GROWTH ** len(roundings)
        file = self.subject.file(f"near under pressure {pressure:.3g}", self._rounded(pressure), (self.subject.trained,))
        delta = delta_between(self._old, file.to_bytes())
        return Trial(file.stages[-1].name, pressure, file, cost=_size(file) if delta is None else len(delta))

    def following(self, roundings: Sequence[Trial], rounds: Sequence[Trial]) -> Round | None:
        """Nothing is trained."""
        return None

    @property
    def _network(self) -> SqueezeNet:
        """The run's, without batch normalisation, as files have it."""
        return folded(self.subject.network().eval())

    @cached_property
    def _curvatures(self) -> list[Curvature]:
        network = self._network
        return curvatures(network, [each.module for each in convolutions(network)], self.subject.calibration)

    @torch.no_grad()
    def _rounded(self, pressure: float) -> dict[str, Array | Quantised]:
        network, weights = self._network, dict[str, Array | Quantised]()
        layers = convolutions(network)
        price = pressure / sum(layer.module.weight.numel() for layer in layers)
        for layer, bend in zip(layers, self._curvatures, strict=True):
            old = self._weights[f"{layer.name}.weight"]
            assert isinstance(old, Quantised)
            integers = round_near(layer.module.weight, old, bend, price)
            weights[f"{layer.name}.weight"] = Quantised(integers, old.scales)
            layer.module.weight.copy_(torch.from_numpy(weights[f"{layer.name}.weight"].dequantised()))  # type: ignore[union-attr]
        means = {layer.module: bend.means for layer, bend in zip(layers, self._curvatures, strict=True)}
        keep_means(network, means, self.subject.calibration)
        for layer in layers:
            assert layer.module.bias is not None
            name = f"{layer.name}.bias"
            weights[name] = _bias_near(layer.module.bias.numpy(), np.asarray(self._weights[name]))
        return {name: weights[name] for name in self._weights}


def round_near(weight: Tensor, old: Quantised, curvature: Curvature, price: float) -> NDArray[np.int64]:
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


def _bias_near(bias: NDArray[np.float32], old: Array) -> Array:
    """On the grid of the old one, and left as it was where it has hardly moved."""
    grid = Grid.of(old)
    if grid is None:
        return on_grid(bias)
    ratios = bias / grid.step
    integers = np.where(np.abs(ratios - grid.integers) < BIAS_STAYS, grid.integers, np.rint(ratios))
    found: Array = (integers + 0).astype(np.float32) * grid.step
    return found


def _size(file: Sqz) -> int:
    return len(file.to_bytes())
