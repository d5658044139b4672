"""The training loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from squeezekit.acceleration.accelerate import accelerate, compile_in_background, kernels_ready, kernels_usable
from squeezekit.data.batches import Batches
from squeezekit.networks.dropout import Dropout
from squeezekit.networks.registry import first_problem
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.seeds import derived_seed
from squeezekit.training.averaging import WeightAverage
from squeezekit.training.callbacks import Callback, EarlyStopping
from squeezekit.training.cuda_graphs import RecordedStep
from squeezekit.training.distributed import Processes
from squeezekit.training.interruption import check_finite
from squeezekit.training.measurement import Measurement, measure
from squeezekit.training.optimizers import StepsWeights, optimizer_for
from squeezekit.training.progress import METRICS, Progress
from squeezekit.training.recipe import Recipe
from squeezekit.training.schedule import Plateau, rate_at
from squeezekit.training.settings import Acceleration

DROPOUT, WEIGHTS = 2, 3
# Steps between two looks at their losses, for which the host must wait for a GPU; several processes stop only there.
LOOK_EVERY, LOOK_EVERY_OF_SEVERAL = 500, 50


class Trainer:
    """A network that learns: `fit` takes the steps and measures; `state` and `restore` save it and continue at any step.

    `optimizer` is by default the recipe's, of the whole network. Where a `teacher` is given (in evaluation mode), its answers are
    learnt instead of the labels, both at the recipe's temperature (Hinton et al., 2015, arXiv 1503.02531, section 2); an image
    whose label is -1, since it has none, is counted as what the teacher takes it for. `answers`,
    in its place, looks up what a teacher said of the images of an epoch, those that `Batches.views` names (on a CPU).
    `acceleration` is that of `RunSettings`: faster forms of the network's layers. Compiled kernels come with the first epoch that
    finds them compiled; where `deterministic`, training waits for that. On a GPU steps are recorded once and replayed;
    `fused` has torch.compile join their operations as well.

    `schedule` gives the learning rate of the step after so many; `loss` is the mean training loss of the last step that was
    looked at, one in `look_every`. A callback that sets `should_stop` ends `fit` after the step.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        training: Batches,
        validation: Batches,
        *,
        seed: int,
        device: torch.device,
        class_weights: Tensor | None = None,
        processes: Processes | None = None,
        optimizer: StepsWeights | None = None,
        teacher: nn.Module | None = None,
        answers: Callable[[Tensor, Tensor], Tensor] | None = None,
        fused: bool = False,
        acceleration: Acceleration = "auto",
        deterministic: bool = False,
    ) -> None:
        self.processes = processes or Processes()
        self.network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # In fp32 on a CPU faster forms gain too little (docs/log.md).
        accelerated = acceleration == "on" or (acceleration == "auto" and (device.type != "cpu" or recipe.precision == "bf16"))
        self._teacher = teacher and teacher.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for one in (self.network, self._teacher) if accelerated else ():
            if one is not None:
                accelerate(one, kernels=False)
        self._replica = self.processes.replica(self.network)
        # Network and teacher, as they compute any batch and batches of the usual size.
        self._plain = self._usual = (self._replica, self._teacher)
        self._answers = answers
        if fused and device.type == "cuda":
            self._usual = (_fused(self._replica, deterministic), teacher and _fused(teacher, deterministic))
        self.recipe, self.training, self.validation = recipe, training, validation
        self.optimizer = optimizer or optimizer_for(self.network, recipe)
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        self._place_rates(device)
        self.early_stopping = EarlyStopping(recipe.patience)
        self.plateau = Plateau(
            recipe.learning_rate,
            recipe.plateau_factor,
            recipe.plateau_patience,
            recipe.plateau_min_delta,
            recipe.plateau_cooldown,
            recipe.plateau_min_rate,
        )
        self.progress = Progress()
        self.best: dict[str, Tensor] = {}
        self._average = WeightAverage(self.network, recipe.averaging) if recipe.averaging else None
        self.should_stop, self.loss = False, 0.0
        self.schedule: Callable[[int], float] = self._scheduled
        self._kernels, self._deterministic = accelerated and device.type == "cpu", deterministic
        self._seed, self.device = seed, device
        self._accelerated = False
        self._class_weights = None if class_weights is None else class_weights.to(device)
        every = LOOK_EVERY if self.processes.count == 1 else LOOK_EVERY_OF_SEVERAL
        self.look_every = 1 if device.type == "cpu" else every
        recorded = device.type == "cuda" and self.processes.count == 1
        self._compute = RecordedStep(self._computed) if recorded else self._computed

    @property
    def finished(self) -> bool:
        """Whether every epoch is done or early stopping was triggered."""
        return self.progress.stopped or self.progress.epoch >= self.recipe.epochs

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return self.schedule(self.progress.epoch * self.training.steps + self.progress.step)

    def _scheduled(self, done: int) -> float:
        if self.recipe.schedule == "plateau":
            return self.plateau.rate
        return rate_at(self.recipe, (done + 0.5) / (self.recipe.epochs * self.training.steps))

    def measure(self) -> Measurement:
        """The validation images, in the precision that training uses, with the weights that may be kept."""
        with self._autocast(), self._kept_weights():
            return measure(self.network, self.validation)

    def keep_best(self) -> None:
        """Let the weights of now be the best so far."""
        with self._kept_weights():
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in self.network.state_dict().items()}

    def _kept_weights(self) -> AbstractContextManager[None]:
        """While it lasts, the network has averaged weights, where the recipe averages any."""
        return self._average.in_place() if self._average else nullcontext()

    def fit(self, callbacks: Sequence[Callback] = ()) -> None:
        """Train until finished, or until a callback sets `should_stop`; then the same call continues.

        Early stopping comes before the other callbacks, which are called in their order. Raises Diverged.
        """
        everyone: list[Callback] = [self.early_stopping, *callbacks]
        self.should_stop = False
        try:
            for callback in everyone:
                callback.on_fit_start(self)
            while not (self.finished or self.should_stop):
                if self._epoch(everyone):
                    for callback in everyone:
                        callback.on_epoch_end(self)
                    self.should_stop = self.processes.any(self.should_stop)
            if not self.finished:
                for callback in everyone:
                    callback.on_stop(self)
        finally:
            for callback in reversed(everyone):
                callback.on_fit_end(self)

    def _epoch(self, callbacks: Sequence[Callback]) -> bool:
        """Train to the end of the epoch and record it; False when stopped in the middle."""
        progress, results = self.progress, list[Tensor]()
        self.accelerate_when_ready()
        self.network.train()
        clock = time.perf_counter()
        for images, labels, answers in self.batches():
            rate = self.rate
            if self.processes.count > 1:
                self._drop_as_one_process()
            results.append(self.step(images, labels, rate, answers))
            if self._average:
                self._average.step()
            progress.step += 1
            last = progress.step == self.training.steps
            if len(results) == self.look_every or last:
                self._look(results, rate)
            progress.step_seconds, clock = progress.step_seconds + time.perf_counter() - clock, time.perf_counter()
            for callback in callbacks:
                callback.on_step(self, rate)
            if self._stops(results, rate) and not last:
                return False
        validation = self.measure()
        progress.seconds += progress.step_seconds + time.perf_counter() - clock
        self._record(rate, validation)
        return True

    def batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """What is left of the epoch: images, labels, and the teacher's answers where these are looked up."""
        place = self.progress.epoch, self.progress.step
        views = self.training.views(*place) if self._answers else repeat(None)
        for (images, labels), seen in zip(self.training.shuffled(*place), views, strict=False):
            yield images, labels, self._answers(*seen) if self._answers and seen else None

    def accelerate_when_ready(self) -> None:
        """Begin to use compiled kernels at the beginning of an epoch; a resumed one is computed as it was begun.

        Where nothing is compiled yet, plain operations train and a background process compiles; a deterministic training, and one
        that had kernels before it was stopped, compiles first.
        """
        if not self._kernels or self._accelerated or not (self.progress.accelerated or self.progress.step == 0):
            return
        ready = kernels_usable() and (self.progress.accelerated or self._deterministic or kernels_ready())
        # All processes compute alike.
        if self.processes.any(not ready):
            compile_in_background()
            return
        accelerate(self.network, kernels=True)
        self._accelerated = self.progress.accelerated = True

    def _stops(self, results: list[Tensor], rate: float) -> bool:
        """Whether to stop now; several processes stop after the same step, one at which they look at losses anyway."""
        if self.processes.count > 1:
            if results:
                return False
            self.should_stop = self.processes.any(self.should_stop)
        elif self.should_stop:
            self._look(results, rate)
        return self.should_stop

    def _look(self, results: list[Tensor], rate: float) -> None:
        """Add up what the last steps returned, and make sure that it is numbers."""
        progress = self.progress
        found = torch.stack(results).tolist() if results else []
        for step, (loss, right, images) in enumerate(found, progress.step - len(results) + 1):
            check_finite(loss, progress.epoch + 1, step, rate)
            self.loss = loss
            progress.loss_sum += loss * images
            progress.right += int(right)
            progress.images += int(images)
        results.clear()

    def step(self, images: Tensor, labels: Tensor, rate: float, answers: Tensor | None = None) -> Tensor:
        """One step on this process's images [n, c, h, w] and labels [n], or on a teacher's logits `answers` [n, classes].

        Returns float64 [3] of the whole batch: its mean loss before the step, how many were right, how many there are.
        """
        self._set_rates(rate / self.recipe.learning_rate)
        torch.manual_seed(derived_seed(self._seed, DROPOUT, self.progress.epoch, self.progress.step))
        return self._compute(images, labels) if answers is None else self._computed(images, labels, answers)

    def _computed(self, images: Tensor, labels: Tensor, answers: Tensor | None = None) -> Tensor:
        whole = len(images) == self.training.sizes[0] - sum(self.training.elsewhere(0))
        network, teacher = self._usual if whole else self._plain
        with self._autocast():
            logits = network(images).float()
            with torch.no_grad():
                answers = answers if teacher is None else teacher(images).float()
        if answers is not None:
            labels = torch.where(labels < 0, answers.argmax(1), labels)
        # What softer answers take from the gradient is given back (section 2).
        loss, scale = self._loss(logits, labels, answers), 1.0 if answers is None else self.recipe.temperature**2
        weights = self._class_weights
        right, count = (logits.argmax(1) == labels).sum(), torch.full_like(loss, len(labels))
        weight = count if weights is None else weights[labels].sum()
        sums = self.processes.total(torch.stack([loss.detach(), weight, right, count]).double())
        self.optimizer.zero_grad()
        # DistributedDataParallel averages gradients over the processes: scaled so that they are those of the whole batch's mean.
        (loss * (scale * self.processes.count / sums[1])).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return torch.stack([sums[0] / sums[1], sums[2], sums[3]])

    def _loss(self, logits: Tensor, labels: Tensor, answers: Tensor | None) -> Tensor:
        """The cross-entropy with the labels, or with what the teacher answers, summed over the images."""
        weights = self._class_weights
        if answers is None:
            smoothing = self.recipe.label_smoothing
            return F.cross_entropy(logits, labels, weight=weights, label_smoothing=smoothing, reduction="sum")
        temperature = self.recipe.temperature
        return F.cross_entropy(logits / temperature, (answers / temperature).softmax(1), weight=weights, reduction="sum")

    def _place_rates(self, device: torch.device) -> None:
        """On a GPU a rate lies where a recorded step reads it, also when a CPU began the run."""
        for group, highest in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = torch.tensor(highest, device=device) if device.type == "cuda" else highest
            if "capturable" in group:
                group["capturable"] = device.type == "cuda"

    def _set_rates(self, share: float) -> None:
        for group, highest in zip(self.optimizer.param_groups, self._rates, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(highest * share)
            else:
                group["lr"] = highest * share

    def _drop_as_one_process(self) -> None:
        before, after = self.training.elsewhere(self.progress.step)
        for module in self.network.modules():
            if isinstance(module, Dropout):
                module.before, module.after = before, after

    def _record(self, rate: float, validation: Measurement) -> None:
        progress = self.progress
        progress.epoch += 1
        progress.history.append(
            {
                "epoch": progress.epoch,
                "seconds": round(progress.seconds, 3),
                "learning_rate": rate,
                "training_loss": progress.loss_sum / progress.images,
                "training_accuracy": progress.right / progress.images,
                "validation_loss": validation.loss,
                "validation_accuracy": validation.accuracy,
                "images_per_s": round(progress.images / progress.step_seconds, 1),
            }
        )
        if self.recipe.schedule == "plateau":
            self.plateau.step(validation.loss)
        progress.step, progress.loss_sum, progress.right, progress.images, progress.step_seconds = 0, 0.0, 0, 0, 0.0

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs to continue as if nothing had happened."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "stopping": asdict(self.early_stopping),
            "plateau": asdict(self.plateau),
            "progress": asdict(self.progress),
            **({"average": self._average.state()} if self._average else {}),
        }

    def restore(self, state: dict[str, Any], source: str | Path = "the checkpoint") -> None:
        """Continue from what `state` returned; raises SqueezekitError where `source` holds something else."""
        try:
            self.early_stopping = TypeAdapter(EarlyStopping).validate_python(state["stopping"])
            self.plateau = TypeAdapter(Plateau).validate_python(state["plateau"])
            TypeAdapter(Progress).validate_python(state["progress"])
            # As it is: whole numbers stay whole in `metrics.csv`.
            self.progress = Progress(**state["progress"])
            self._check(self.progress, state["best"])
            self.best = state["best"]
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self._average:
                self._average.restore(state["average"])
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
            problem = first_problem(error) if isinstance(error, ValidationError) else " ".join(str(error).split())[:200]
            raise SqueezekitError(f"{source}: damaged ({problem}); delete it to start over") from None
        self._place_rates(self.device)

    def _check(self, progress: Progress, best: dict[str, Tensor]) -> None:
        """Raise ValueError for what no training of this network and these images comes to."""
        if not 0 <= progress.step < self.training.steps or len(progress.history) != progress.epoch:
            raise ValueError("no such step")
        if any(set(row) != set(METRICS) for row in progress.history):
            raise ValueError("an epoch is not described in full")
        if best and {name: tensor.shape for name, tensor in best.items()} != {
            name: tensor.shape for name, tensor in self.network.state_dict().items()
        }:
            raise ValueError("the best weights are those of another network")

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16")


def _fused(network: nn.Module, deterministic: bool) -> nn.Module:
    # The compiler tries out forms by the clock unless it is told.
    options: dict[str, str | int | bool | Callable[..., object]] | None = {"deterministic": True} if deterministic else None
    fused: nn.Module = torch.compile(network, dynamic=False, options=options)  # type: ignore[assignment]
    return fused
