"""Our own way to compress: weights on grids that know what a bit is worth, first rounded, then trained there.

`pressure` is what a bit for every weight is worth, in nats of an image's loss; divided by their number, the price of one bit.
From it follow the step of each filter's grid and how each weight is rounded (`rate_distortion.py`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch

from squeezekit.acceleration.folding import layers
from squeezekit.compression.candidate import Round, Trial
from squeezekit.compression.context import CompressionContext
from squeezekit.compression.target import Target
from squeezekit.modelfile.sqz import Sqz, Stage
from squeezekit.networks.named_layers import NamedLayers, Weighted
from squeezekit.networks.squeezenet import SqueezeNet
from squeezekit.quantization.bias_correction import correct_biases, reestimate_batch_norm
from squeezekit.quantization.equalization import balance
from squeezekit.quantization.fisher import FisherInformation, fisher_information
from squeezekit.quantization.qat import GridOptimizer, GridWeight
from squeezekit.quantization.quantized_arrays import rounded
from squeezekit.quantization.rate_control import RateControl
from squeezekit.quantization.rate_distortion import round_by_rate, steps_for
from squeezekit.training.optimizers import optimizer_for

# The first pressure that rounding alone tries; it doubles until far too much is lost, and is divided where more is lost than
# promised from the start.
FIRST_ROUNDING, GENTLER = 0.0004, 8.0
MOST_ROUNDINGS = 14
# Points of accuracy.
FAR_TOO_MUCH = 10
# Training begins where rounding alone loses more than the promise and so many points.
TRAINING_WINS_BACK = 0.5
GROWTH = 2.0
# What is written beside weights is guessed at first.
MOST_FILES = 3
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
    "temperature": 1.0,
}


class Squeeze:
    """The method `squeezekit`; with a `pressure`, one round of training under just that, or from there to the bytes promised."""

    most_roundings = MOST_ROUNDINGS

    def __init__(self, subject: CompressionContext, promise: Target, epochs: int, pressure: float | None = None) -> None:
        self.subject, self.promise, self.epochs, self.pressure = subject, promise, epochs, pressure

    def rounding(self, roundings: Sequence[Trial]) -> Trial | None:
        """Rounding under the next pressure; None when one has the bytes promised or no weight left, or none is left to try.

        None is left when nothing lies between too little and far too much.
        """
        pressure = self._next_rounding({trial.pressure: self.promise.drop(trial.stage) for trial in roundings})
        stages = [(trial.pressure, trial.stage) for trial in roundings]
        small = [under for under, stage in stages if not stage.density or stage.bytes <= (self.promise.max_bytes or 0)]
        if pressure is None or self.pressure or pressure > min(small, default=pressure) or len(roundings) == MOST_ROUNDINGS:
            return None
        network, bends = copy.deepcopy(self._start), self._curvatures
        grids = grids_of(network, bends, pressure, self.subject)
        name = f"rounded under pressure {pressure:.3g}"
        return Trial(name, pressure, self._file(name, network, grids, (self.subject.trained,)))

    def _next_rounding(self, drops: Mapping[float, float]) -> float | None:
        if not drops:
            return FIRST_ROUNDING
        lowest, highest = min(drops), max(drops)
        if (
            drops[lowest] > (0.5 if self.promise.max_drop is None else self.promise.max_drop)
            and lowest > FIRST_ROUNDING / GENTLER**4
        ):
            return lowest / GENTLER
        return None if drops[highest] > FAR_TOO_MUCH else GROWTH * highest

    def following(self, roundings: Sequence[Trial], rounds: Sequence[Trial]) -> Round | None:
        """Training on a grid that goes on from the last one that kept the promise of accuracy."""
        rung = self._rung(roundings, rounds)
        if rung is None:
            return None
        pressure, start = rung
        earlier = rounds[start] if start >= 0 else None
        network, bends = copy.deepcopy(self._start), self._curvatures
        if earlier:
            network.load_state_dict(earlier.state["network"])
            bends = fisher_information(network, modules_of(network), self.subject.calibration)
        grids = grids_of(network, bends, pressure, self.subject)
        recipe, device = self.subject.recipe(self.epochs, RETRAINING), self.subject.device
        network.to(device)
        optimizer = GridOptimizer(optimizer_for(network, recipe), [grid.to(device) for grid in grids])
        trainer = self.subject.trainer(network, optimizer, recipe, taught=True)
        before = earlier.file.stages if earlier else (self.subject.trained,)
        control = None
        if self.pressure and self.promise.max_bytes:
            steps = recipe.epochs * trainer.training.steps
            control = RateControl(optimizer, lambda: self._size(network, grids), self.promise.max_bytes, steps)

        def finish() -> tuple[Sqz, dict[str, Any]]:
            network.cpu()
            for grid in grids:
                grid.to(torch.device("cpu"))
            for _ in range(MOST_FILES):
                if control:
                    control.trim()
                file = self._file(f"trained under pressure {pressure:.3g}", network, grids, before)
                if not (control and control.missed(file.stages[-1].bytes)):
                    break
            return file, {"network": network.state_dict()}

        numbers = sum(grid.weight.numel() for grid in grids)
        return Round(
            f"pressure {pressure:.3g}",
            pressure,
            trainer,
            lambda: f"about {optimizer.bits() / numbers:.2f} bits a weight",
            finish,
            steer=control.steer if control else None,
        )

    def _rung(self, roundings: Sequence[Trial], rounds: Sequence[Trial]) -> tuple[float, int] | None:
        """The next pressure and the round to go on from, -1 for the run itself; None when done, or no weight is left."""
        if self.pressure:
            return None if rounds else (self.pressure, -1)
        if any(not trial.stage.density and self.promise.kept(trial.stage) for trial in roundings):
            return None
        tried = [(trial.pressure, trial.stage) for trial in rounds]
        return self.promise.next_pressure(tried, self._first_pressure(roundings), GROWTH)

    @cached_property
    def _start(self) -> NamedLayers:
        """The run's network, balanced where it is of the family, whose channels pass through ReLU, gates and pooling alone."""
        network = self.subject.network()
        if isinstance(network, SqueezeNet):
            filters = modules_of(network)
            balance(network, dict(zip(filters, fisher_information(network, filters, self.subject.calibration), strict=True)))
        return network

    @cached_property
    def _curvatures(self) -> list[FisherInformation]:
        return fisher_information(self._start, modules_of(self._start), self.subject.calibration)

    def _first_pressure(self, roundings: Sequence[Trial]) -> float:
        """Where training begins: at the bytes promised, or where rounding alone has lost what training can win back."""
        rising = sorted(roundings, key=lambda trial: trial.pressure)
        for trial in rising:
            if self.promise.max_bytes is not None and trial.stage.bytes <= self.promise.max_bytes:
                return trial.pressure
            if self.promise.max_drop is not None and self.promise.drop(trial.stage) > self.promise.max_drop + TRAINING_WINS_BACK:
                return trial.pressure
        return rising[-1].pressure

    def _size(self, network: NamedLayers, grids: Sequence[GridWeight]) -> int:
        """Bytes of a file of the network as it is now, on any device, which goes on training."""
        twin = copy.deepcopy(network).cpu().eval()
        there = [
            GridWeight(layer.weight, grid.step.cpu(), grid.hidden.cpu())
            for layer, grid in zip(modules_of(twin), grids, strict=True)
        ]
        return self.subject.size(rounded(twin, there))

    def _file(self, name: str, network: NamedLayers, grids: Sequence[GridWeight], before: tuple[Stage, ...]) -> Sqz:
        return self.subject.file(name, rounded(network.eval(), grids), before)


def modules_of(network: NamedLayers) -> list[Weighted]:
    """Its layers with filters."""
    return [layer.module for layer in layers(network)]


def grids_of(
    network: NamedLayers, bends: Sequence[FisherInformation], pressure: float, subject: CompressionContext
) -> list[GridWeight]:
    """Every layer rounded under that pressure; what follows them is corrected for it."""
    filters = modules_of(network)
    price = pressure / sum(layer.weight.numel() for layer in filters)
    grids = []
    for layer, bend in zip(filters, bends, strict=True):
        steps = steps_for(bend, price)
        grids.append(GridWeight.meaning(layer.weight, steps, *round_by_rate(layer.weight, steps, bend, price)))
    reestimate_batch_norm(network, subject.calibration)
    # Where no batch normalization follows, biases keep the means.
    means = {layer: bend.means for layer, bend in zip(filters, bends, strict=True) if layer.bias is not None}
    correct_biases(network, means, subject.calibration)
    if len(means) > 1:
        # What has moved is seen further on.
        reestimate_batch_norm(network, subject.calibration)
    return grids
