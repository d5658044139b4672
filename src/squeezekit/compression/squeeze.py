"""Our own way to compress: weights on grids that know what a bit is worth, first rounded, then trained there.

`pressure` is what a bit for every weight is worth, in nats of an image's loss; divided by their number, the price of one bit.
From it follow the step of each filter's grid and how each weight is rounded (`rate_distortion.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from squeezekit.compression.balance import balance
from squeezekit.compression.curvature import curvatures
from squeezekit.compression.folding import convolutions
from squeezekit.compression.method import Round, Trial
from squeezekit.compression.norms import keep_means, settle
from squeezekit.compression.promise import Promise
from squeezekit.compression.quantised_training import GridOptimizer, GridWeight
from squeezekit.compression.rate_distortion import round_by_rate, steps_for
from squeezekit.compression.rounding import rounded
from squeezekit.compression.sqz import Sqz, Stage
from squeezekit.compression.subject import Subject
from squeezekit.networks.squeezenet import SqueezeNet

# Pressures that rounding alone tries, from hardly any loss to more than any network bears.
ROUNDINGS = tuple(0.0002 * 2**i for i in range(12))
# Rounding goes on until so many points of accuracy are lost.
TOO_MUCH = 10
# Training begins where rounding alone loses more than the promise and so many points.
TRAINING_WINS_BACK = 2.0
GROWTH = 2.0
# What training on a grid changes of the run's own recipe.
RETRAINING: dict[str, Any] = {
    "optimizer": "sgd",
    "learning_rate": 0.01,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "schedule": "one-cycle",
    "warmup": 0.05,
    "patience": 0,
    "label_smoothing": 0.0,
}


class Squeeze:
    """The method `squeezekit`."""

    most_roundings = len(ROUNDINGS)

    def __init__(self, subject: Subject, promise: Promise, epochs: int) -> None:
        self.subject, self.promise, self.epochs = subject, promise, epochs

    def rounding(self, roundings: Sequence[Trial]) -> Trial | None:
        """Rounding under the next pressure, until far too much is lost."""
        if len(roundings) == len(ROUNDINGS) or (roundings and self.promise.drop(roundings[-1].stage) > TOO_MUCH):
            return None
        pressure = ROUNDINGS[len(roundings)]
        network = self._begun(None)
        grids = grids_of(network, pressure, self.subject)
        name = f"rounded under pressure {pressure:.3g}"
        return Trial(name, pressure, self._file(name, network, grids, (self.subject.trained,)))

    def following(self, roundings: Sequence[Trial], rounds: Sequence[Trial]) -> Round | None:
        """Training on a grid that goes on from the last one that kept the promise of accuracy."""
        tried = [(trial.pressure, trial.stage) for trial in rounds]
        rung = self.promise.next_pressure(tried, self._first_pressure(roundings), GROWTH)
        if rung is None:
            return None
        pressure, start = rung
        earlier = rounds[start] if start >= 0 else None
        network = self._begun(earlier)
        grids = grids_of(network, pressure, self.subject)
        inner = torch.optim.SGD(network.parameters(), RETRAINING["learning_rate"], RETRAINING["momentum"], nesterov=True)
        optimizer = GridOptimizer(inner, grids)
        trainer = self.subject.trainer(network, optimizer, self.epochs, RETRAINING, taught=True)
        before = earlier.file.stages if earlier else (self.subject.trained,)

        def finish() -> tuple[Sqz, dict[str, Any]]:
            settle(network, self.subject.calibration)
            return self._file(f"trained under pressure {pressure:.3g}", network, grids, before), {"network": network.state_dict()}

        return Round(f"pressure {pressure:.3g}", pressure, trainer, lambda: f"about {optimizer.bits():.2f} bits a weight", finish)

    def _first_pressure(self, roundings: Sequence[Trial]) -> float:
        """Where training begins: at the bytes promised, or where rounding alone has lost what training can win back."""
        for trial in roundings:
            if self.promise.max_bytes is not None and trial.stage.bytes <= self.promise.max_bytes:
                return trial.pressure
            if self.promise.max_drop is not None and self.promise.drop(trial.stage) > self.promise.max_drop + TRAINING_WINS_BACK:
                return trial.pressure
        return roundings[-1].pressure

    def _begun(self, earlier: Trial | None) -> SqueezeNet:
        """The run's network, balanced, with the weights that an earlier round ended with."""
        network = self.subject.network()
        if earlier:
            network.load_state_dict(earlier.state["network"])
        else:
            layers = layers_of(network)
            balance(network, dict(zip(layers, curvatures(network, layers, self.subject.calibration), strict=True)))
        return network

    def _file(self, name: str, network: SqueezeNet, grids: Sequence[GridWeight], before: tuple[Stage, ...]) -> Sqz:
        return self.subject.file(name, rounded(network.eval(), grids), before)


def layers_of(network: SqueezeNet) -> list[nn.Conv2d]:
    """Its convolutions."""
    return [convolution.module for convolution in convolutions(network)]


def grids_of(network: SqueezeNet, pressure: float, subject: Subject) -> list[GridWeight]:
    """Every convolution rounded under that pressure; what follows them is corrected for it."""
    layers = layers_of(network)
    price = pressure / sum(layer.weight.numel() for layer in layers)
    bends = curvatures(network, layers, subject.calibration)
    # Without batch normalisation, which takes its statistics anew, biases do it.
    means = {
        layer: (layer.weight.flatten(1) @ bend.mean + layer.bias).detach()
        for layer, bend in zip(layers, bends, strict=True)
        if layer.bias is not None
    }
    grids = []
    for layer, bend in zip(layers, bends, strict=True):
        steps = steps_for(bend, price)
        grids.append(GridWeight.meaning(layer.weight, steps, *round_by_rate(layer.weight, steps, bend, price)))
    settle(network, subject.calibration)
    keep_means(network, means, subject.calibration)
    return grids
