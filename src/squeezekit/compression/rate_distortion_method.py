"""Our own method: rate–distortion quantisation, first post-training (PTQ), then with quantisation-aware training (QAT).

The rate weight λ is the price of a bit for every weight, in nats of an image's loss: loss + λ · bits per weight is to be small.
From it follow the step of each filter's grid and how each weight is rounded (`quantization/rate_distortion.py`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from squeezekit.compression.candidate import Candidate, TrainingRound
from squeezekit.compression.collapse import Collapse
from squeezekit.compression.context import CompressionContext
from squeezekit.compression.target import FAR_TOO_MUCH, NextRound, Target
from squeezekit.modelfile.sqz import Sqz, Stage
from squeezekit.networks.squeezenet import SqueezeNet
from squeezekit.quantization.bias_correction import reestimate_batch_norm
from squeezekit.quantization.equalization import equalize
from squeezekit.quantization.fisher import FisherInformation, fisher_information
from squeezekit.quantization.post_training import quantize_weights
from squeezekit.quantization.qat import QatOptimizer, QuantizedWeight, qat_recipe
from squeezekit.quantization.quantized_arrays import quantized_arrays
from squeezekit.quantization.rate_control import RateControl
from squeezekit.quantization.weight_layers import weight_layers
from squeezekit.training.optimizers import optimizer_for

# PTQ begins with this rate weight. It doubles until far too much accuracy is lost; where more is lost than the target allows from
# the start, it is divided instead.
FIRST_PTQ, PTQ_GROWTH, PTQ_DIVISOR, MAX_DIVISIONS = 0.0004, 2.0, 8.0, 4
MAX_PTQ_CANDIDATES = 14
# QAT begins with the rate weight at which PTQ loses so many points more than the target allows.
QAT_REGAINS = 0.5
QAT_GROWTH = 2.0
# Of a target size, bytes from which two doublings are taken at once: one takes a tenth to a fifth of them.
FAR_FROM_SIZE = 1.5
# Of a target size, below which a file that has lost something leaves bytes that would help.
CLOSE_TO_SIZE = 0.9
# Nats that are no loss.
LOST_LOSS = 0.01
# Of a target size, what PTQ has at the λ from which QAT begins: rate control can do more against too many bytes than too few.
PTQ_OF_SIZE = 0.97
# After so many, at four times that λ, a file has about a third fewer bytes than the target.
ROUNDS_TO_SIZE = 3
# After a round that collapsed the learning rate is divided, at most so often.
GENTLER, GENTLER_ROUNDS = 4.0, 2
# A file is made again where its size was estimated too low.
MAX_FILES = 3


class RateDistortionMethod:
    """The method `squeezekit`. With a `rate_weight` it is one QAT round at just that, or from there to the target size.

    Where the target is a size alone, a QAT round ends at that size.
    """

    max_ptq_candidates = MAX_PTQ_CANDIDATES

    def __init__(self, context: CompressionContext, target: Target, rate_weight: float | None = None) -> None:
        self.context, self.target, self.rate_weight = context, target, rate_weight
        self._to_size = target.max_bytes is not None and (rate_weight is not None or target.max_drop is None)

    def next_ptq(self, ptq: Sequence[Candidate]) -> Candidate | None:
        """PTQ at the next rate weight; None when one is small enough or has only zeros, or every useful one has been tried."""
        rate_weight = self._next_ptq_to_size(ptq) if self._to_size and ptq else self._next_ptq_rate_weight(ptq)
        if rate_weight is None or self.rate_weight or len(ptq) == MAX_PTQ_CANDIDATES:
            return None
        ends = [each.rate_weight for each in ptq if not each.stage.density or self.target.small_enough(each.stage)]
        if rate_weight > min(ends, default=rate_weight):
            return None
        network = copy.deepcopy(self._start)
        weights = quantize_weights(network, self._fisher, rate_weight, self.context.calibration)
        name = f"PTQ at rate weight {rate_weight:.3g}"
        return Candidate(name, rate_weight, self._file(name, network, weights, (self.context.trained,)))

    def next_round(self, ptq: Sequence[Candidate], rounds: Sequence[Candidate], epochs: int) -> TrainingRound | None:
        """A QAT round that starts from the last one that was accurate enough; more gently after one that collapsed."""
        useful = [each for each in rounds if not each.collapsed]
        collapsed = len(rounds) - len(useful)
        following = self._next_rate_weight(ptq, useful)
        if following is None or collapsed > GENTLER_ROUNDS:
            return None
        start = None if following.start is None else useful[following.start]
        return self._round(following.rate_weight, start, epochs, collapsed, ptq[-1].file if ptq else None)

    def _next_ptq_rate_weight(self, ptq: Sequence[Candidate]) -> float | None:
        """After those tried, by the points that each has lost."""
        if not ptq:
            return FIRST_PTQ
        drops = {each.rate_weight: self.target.drop(each.stage) for each in ptq}
        lowest, highest = min(drops), max(drops)
        max_drop = 0.5 if self.target.max_drop is None else self.target.max_drop
        if drops[lowest] > max_drop and lowest > FIRST_PTQ / PTQ_DIVISOR**MAX_DIVISIONS:
            return lowest / PTQ_DIVISOR
        return None if drops[highest] > FAR_TOO_MUCH else self._larger_rate_weight(ptq)

    def _larger_rate_weight(self, ptq: Sequence[Candidate]) -> float:
        """Than all of those; twice as far where the smallest is far from the target size."""
        most = max(ptq, key=lambda each: each.rate_weight)
        far = self.target.max_bytes is not None and most.stage.bytes > FAR_FROM_SIZE * self.target.max_bytes
        return (PTQ_GROWTH**2 if far else PTQ_GROWTH) * most.rate_weight

    def _next_ptq_to_size(self, ptq: Sequence[Candidate]) -> float | None:
        """Downwards while bytes are left that would help, upwards while there are too many; between where little is left."""
        fitting = [each for each in ptq if self.target.small_enough(each.stage)]
        larger = [each for each in ptq if self.target.too_large(each.stage)]
        if not fitting:
            return self._larger_rate_weight(ptq)
        best = min(fitting, key=lambda each: each.rate_weight)
        if self._loses_nothing(best):
            return None
        if not larger:
            return best.rate_weight / (PTQ_DIVISOR if self.target.destroyed(best.stage) else PTQ_GROWTH)
        between = self._rate_weight_of_size(ptq)
        tried = any(each.rate_weight == between for each in ptq)
        return None if tried or best.stage.bytes >= CLOSE_TO_SIZE * (self.target.max_bytes or 0) else between

    def _next_rate_weight(self, ptq: Sequence[Candidate], rounds: Sequence[Candidate]) -> NextRound | None:
        if self.rate_weight:
            return None if rounds else NextRound(self.rate_weight, None)
        if any(not each.stage.density and self.target.met(each.stage) for each in ptq):
            return None
        if self._to_size:
            return self._next_towards_size(ptq, rounds)
        done = [(each.rate_weight, each.stage) for each in rounds]
        # What PTQ reaches needs no training.
        reached = max((each.rate_weight for each in ptq if not self.target.too_far(each.stage)), default=0.0)
        return self.target.next_rate_weight(done, self._first_qat_rate_weight(ptq), QAT_GROWTH, reached)

    def _first_qat_rate_weight(self, ptq: Sequence[Candidate]) -> float:
        """Where PTQ meets the target size, or loses what QAT can regain."""
        rising = sorted(ptq, key=lambda each: each.rate_weight)
        for each in rising:
            if self.target.small_enough(each.stage):
                return each.rate_weight
            if self.target.max_drop is not None and self.target.drop(each.stage) > self.target.max_drop + QAT_REGAINS:
                return each.rate_weight
        return rising[-1].rate_weight

    def _next_towards_size(self, ptq: Sequence[Candidate], rounds: Sequence[Candidate]) -> NextRound | None:
        """A round that rate control ends at the target size; another one from there where that was out of its reach."""
        if any(self.target.small_enough(each.stage) and self._loses_nothing(each) for each in ptq):
            return None
        if not rounds:
            return NextRound(self._rate_weight_of_size(ptq), None)
        done = self.target.small_enough(rounds[-1].stage) or len(rounds) == ROUNDS_TO_SIZE
        return None if done else NextRound(QAT_GROWTH * rounds[-1].rate_weight, len(rounds) - 1)

    def _loses_nothing(self, candidate: Candidate) -> bool:
        """Whether training has nothing to regain; few images say that by their loss."""
        if self.context.few_judge:
            return self.context.loss_of(candidate) <= self.context.loss_before + LOST_LOSS
        return self.target.drop(candidate.stage) <= 0

    def _rate_weight_of_size(self, ptq: Sequence[Candidate]) -> float:
        """At which PTQ would have a little less than the target size: between two of its files, bytes fall by a power of λ."""
        most, rising = PTQ_OF_SIZE * (self.target.max_bytes or 0), sorted(ptq, key=lambda each: each.rate_weight)
        for larger, smaller in pairwise(rising):
            if larger.stage.bytes > most >= smaller.stage.bytes:
                share = math.log(larger.stage.bytes / most) / math.log(larger.stage.bytes / smaller.stage.bytes)
                return float(larger.rate_weight * (smaller.rate_weight / larger.rate_weight) ** share)
        return self._first_qat_rate_weight(ptq)

    def _round(
        self, rate_weight: float, earlier: Candidate | None, epochs: int, collapsed: int, like: Sqz | None
    ) -> TrainingRound:
        context, device = self.context, self.context.device
        network, fisher = copy.deepcopy(self._start), self._fisher
        if earlier:
            network.load_state_dict(earlier.state["network"])
            fisher = fisher_information(network, weight_layers(network), context.calibration)
        weights = quantize_weights(network, fisher, rate_weight, context.calibration)
        # Before the network is on a GPU: measuring leaves it on the CPU.
        collapse = Collapse(context.accuracy(network), 1 / context.run.config.network.classes)
        changes = qat_recipe(context.run.config.recipe, network)
        recipe = context.recipe(epochs, {**changes, "learning_rate": changes["learning_rate"] / GENTLER**collapsed})
        count = sum(each.weight.numel() for each in weights)
        network.to(device)
        optimizer = QatOptimizer(optimizer_for(network, recipe), [weight.to(device) for weight in weights])
        trainer = context.trainer(network, optimizer, recipe, distilled=True)
        control = None
        if self._to_size and self.target.max_bytes:
            steps = recipe.epochs * trainer.training.steps
            control = RateControl(optimizer, lambda: self._estimated_bytes(network, weights, like), self.target.max_bytes, steps)
        gently = f" and learning rate {recipe.learning_rate:.2g}" if collapsed else ""
        name, stages = f"QAT at rate weight {rate_weight:.3g}{gently}", earlier.file.stages if earlier else (context.trained,)
        start = {key: tensor.clone() for key, tensor in network.state_dict().items()}

        def undo() -> tuple[Sqz, dict[str, Any]]:
            network.load_state_dict(start)
            return self._finish(name, network, weights, stages, None)

        return TrainingRound(
            name,
            rate_weight,
            trainer,
            describe=lambda: f"about {optimizer.bits() / count:.2f} bits a weight",
            finish=lambda: self._finish(name, network, weights, stages, control),
            steer=control.steer if control else None,
            collapse=collapse,
            undo=undo,
        )

    def _finish(
        self,
        name: str,
        network: nn.Module,
        weights: Sequence[QuantizedWeight],
        earlier: tuple[Stage, ...],
        control: RateControl | None,
    ) -> tuple[Sqz, dict[str, Any]]:
        network.cpu()
        for weight in weights:
            weight.to(torch.device("cpu"))
        for _ in range(MAX_FILES):
            if control and control.trim():
                # Other weights make other statistics.
                reestimate_batch_norm(network, self.context.calibration)
            file = self._file(name, network, weights, earlier)
            if not (control and control.tighten(file.stages[-1].bytes)):
                break
        return file, {"network": network.state_dict()}

    @cached_property
    def _start(self) -> nn.Module:
        """The run's network, equalized where it is of the SqueezeNet family."""
        network = self.context.network()
        # Its channels pass only ReLU and pooling between layers.
        if isinstance(network, SqueezeNet):
            layers = weight_layers(network)
            equalize(network, dict(zip(layers, fisher_information(network, layers, self.context.calibration), strict=True)))
        return network

    @cached_property
    def _fisher(self) -> list[FisherInformation]:
        return fisher_information(self._start, weight_layers(self._start), self.context.calibration)

    def _estimated_bytes(self, network: nn.Module, weights: Sequence[QuantizedWeight], like: Sqz | None) -> int:
        """The size of a file of the network as it is now, on any device, while it is in training."""
        twin = copy.deepcopy(network).cpu().eval()
        if not all(bool(each.isfinite().all()) for each in twin.state_dict().values()):
            # It diverges; the end of the epoch will undo the round.
            return self.target.max_bytes or 0
        there = [
            QuantizedWeight(layer.weight, weight.step.cpu(), weight.latent.cpu())
            for layer, weight in zip(weight_layers(twin), weights, strict=True)
        ]
        return self.context.builder.estimated_bytes(quantized_arrays(twin, there), like)

    def _file(self, name: str, network: nn.Module, weights: Sequence[QuantizedWeight], earlier: tuple[Stage, ...]) -> Sqz:
        return self.context.builder.build(name, quantized_arrays(network.eval(), weights), earlier)
