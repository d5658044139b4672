"""What happens beside the steps of a training: every callback that `Trainer.fit` calls."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from squeezekit.data.batches import Batches
from squeezekit.system.console import Advance, clock, progress_bar, say
from squeezekit.training.distributed import Processes
from squeezekit.training.interruption import stop_requests
from squeezekit.training.progress import Progress
from squeezekit.training.recipe import Recipe


class Training(Protocol):
    """What a callback sees of the trainer. Setting `should_stop` ends the training after the step."""

    network: nn.Module
    recipe: Recipe
    training: Batches
    validation: Batches
    processes: Processes
    progress: Progress
    best: dict[str, Tensor]
    should_stop: bool
    schedule: Callable[[int], float]
    look_every: int
    loss: float

    @property
    def finished(self) -> bool:
        """Whether no epoch is left to train."""

    @property
    def early_stopping(self) -> EarlyStopping:
        """Which epoch is the best so far."""

    def keep_best(self) -> None:
        """Let the weights of now be the best so far."""

    def state(self) -> dict[str, Any]:
        """What a resumed training needs."""


class Callback:
    """Called by `Trainer.fit`; every method does nothing unless it is overridden."""

    def on_fit_start(self, trainer: Training) -> None:
        """Before the first step, also of a training that is resumed or is finished already."""

    def on_step(self, trainer: Training, rate: float) -> None:
        """After each step; it was taken at that learning rate."""

    def on_epoch_end(self, trainer: Training) -> None:
        """After each epoch: its row is the last of `trainer.progress.history`."""

    def on_stop(self, trainer: Training) -> None:
        """When the training is left before it is finished, between two epochs or in the middle of one."""

    def on_fit_end(self, trainer: Training) -> None:
        """Last, whatever has happened, an exception included."""


@dataclass
class EarlyStopping(Callback):
    """Ends the training when the validation loss has not fallen by more than `min_delta` for `patience` epochs in a row.

    Equal to Keras's EarlyStopping(restore_best_weights=True) on any sequence of losses. `patience` 0 never stops. `best_epoch`
    (from 1) is the epoch whose weights are kept; 0 stands for those before the first, where `begin` has named their loss.
    """

    patience: int
    min_delta: float = 0.0
    best: float = math.inf
    best_epoch: int = 0
    epochs: int = 0

    def begin(self, loss: float) -> None:
        """Let the weights before the first epoch, of that validation loss, be kept unless an epoch is better."""
        self.best = loss if loss < math.inf else math.inf

    def step(self, loss: float) -> bool:
        """Take the validation loss of one more epoch; True when training should stop."""
        self.epochs += 1
        # Where nothing is kept yet, the first epoch is, whatever its loss.
        if loss + self.min_delta < self.best or (self.best == math.inf and self.best_epoch == 0):
            self.best_epoch = self.epochs
            self.best = loss if loss < math.inf else math.inf
        return 0 < self.patience <= self.epochs - self.best_epoch

    @property
    def improved(self) -> bool:
        """Whether the last epoch is the best."""
        return self.best_epoch == self.epochs

    def on_epoch_end(self, trainer: Training) -> None:
        """Keep the weights of the best epoch; of the last one where no images validate."""
        if len(trainer.validation):
            trainer.progress.stopped = self.step(trainer.progress.history[-1]["validation_loss"])
        else:
            self.epochs += 1
            self.best_epoch = self.epochs
        if self.improved:
            trainer.keep_best()


class ProgressBar(Callback):
    """A bar over the whole training on a terminal: epoch, loss, accuracy, images/s, and the time left until its last epoch."""

    def __init__(self, title: str = "") -> None:
        self._title, self._open = title and f"{title}, ", ExitStack()
        self._advance: Advance | None = None
        self._begin, self._done_before = 0.0, 0

    def on_fit_start(self, trainer: Training) -> None:
        """Open it where the training stands."""
        steps = trainer.recipe.epochs * trainer.training.steps
        self._begin, self._done_before = time.monotonic(), _steps_done(trainer)
        self._advance = self._open.enter_context(progress_bar(self._title, steps, done=self._done_before, time_left=False))

    def on_step(self, trainer: Training, rate: float) -> None:
        """One step further."""
        assert self._advance is not None
        progress = trainer.progress
        parts = [f"{self._title}epoch {progress.epoch + 1}/{trainer.recipe.epochs}"]
        if progress.images:
            parts.append(f"loss {progress.loss_sum / progress.images:.4f}")
            parts.append(f"accuracy {progress.right / progress.images:.1%}")
        if progress.images and progress.step_seconds:
            parts.append(f"{progress.images / progress.step_seconds:.0f} images/s")
        self._advance(1, " · ".join([*parts, f"{clock(self.seconds_left(trainer))} left"]))

    def seconds_left(self, trainer: Training) -> float:
        """Until the last epoch is done, at the pace since the training was begun or resumed, validation included."""
        done = _steps_done(trainer)
        all_steps = trainer.recipe.epochs * trainer.training.steps
        return (time.monotonic() - self._begin) / max(done - self._done_before, 1) * (all_steps - done)

    def on_fit_end(self, trainer: Training) -> None:
        """Take it away."""
        self._open.close()


def _steps_done(trainer: Training) -> int:
    return trainer.progress.epoch * trainer.training.steps + trainer.progress.step


class EpochReport(Callback):
    """One line an epoch on standard error."""

    def on_epoch_end(self, trainer: Training) -> None:
        """Losses, accuracies, learning rate and speed."""
        row, validation = trainer.progress.history[-1], ""
        if len(trainer.validation):
            validation = f"  validation loss {row['validation_loss']:.4f} accuracy {row['validation_accuracy']:.1%}"
        say(
            f"epoch {row['epoch']:.0f}/{trainer.recipe.epochs}  training loss {row['training_loss']:.4f} accuracy "
            f"{row['training_accuracy']:.1%}{validation}  rate {row['learning_rate']:.2g}  {row['images_per_s']:.0f} images/s"
            + ("  best so far" if validation and trainer.early_stopping.improved else "")
        )


class StagnationWarning(Callback):
    """Warns once when a network of that many classes does not learn, by the rule of `guesses`."""

    def __init__(self, classes: int) -> None:
        self._guess = math.log(classes)

    def on_epoch_end(self, trainer: Training) -> None:
        """Look at the losses so far."""
        losses, warmup = [row["training_loss"] for row in trainer.progress.history], warmup_epochs(trainer.recipe)
        if guesses(losses, self._guess, warmup) and not guesses(losses[:-1], self._guess, warmup):
            mirrored = trainer.recipe.augmentation == "shift-flip"
            sides = ", or --augmentation shift --no-mirrored if a class may be another one in a mirror" if mirrored else ""
            say(
                f"warning: the training loss has stayed within 1 % of {self._guess:.4f}, that of a guess, for {STAGNANT_EPOCHS} "
                f"epochs: the network is not learning; try another --learning-rate, or --batch-norm if it is off{sides}"
            )


# So many epochs after the warm-up within such a share of the loss of a guess are no slow beginning any more.
STAGNANT_EPOCHS, STAGNANT_SHARE = 3, 0.01


def warmup_epochs(recipe: Recipe) -> int:
    """Epochs in which the schedule's learning rate still rises."""
    return math.ceil(recipe.warmup * recipe.epochs) if recipe.schedule == "one-cycle" else 0


def guesses(losses: list[float], guess: float, warmup: int) -> bool:
    """Whether the last three epochs, all after the warm-up, have training losses within 1 % of `guess`, which is ln(classes)."""
    last = losses[warmup:][-STAGNANT_EPOCHS:]
    return len(last) == STAGNANT_EPOCHS and all(abs(loss - guess) <= STAGNANT_SHARE * guess for loss in last)


class Checkpoint(Callback):
    """Saves after every epoch; on a GPU, whose epochs may be shorter than saving, in a tenth of the time.

    There too after every epoch where `always` is set, for those who read the run folder meanwhile. Of several processes the first
    one saves.
    """

    def __init__(self, save: Callable[[], object], *, always: bool) -> None:
        self._save, self._always = save, always
        self._took, self._last = 0.0, time.monotonic()
        self._saved = (-1, -1)

    @property
    def due(self) -> bool:
        """Whether to save at the end of an epoch that is not the last."""
        return self._always or time.monotonic() - self._last > 9 * self._took

    def on_fit_start(self, trainer: Training) -> None:
        """What follows from the last checkpoint may be missing: a kill may have come between."""
        if trainer.finished:
            self.save(trainer)

    def on_epoch_end(self, trainer: Training) -> None:
        """Save if it is time."""
        if trainer.finished or self.due:
            self.save(trainer)

    def on_stop(self, trainer: Training) -> None:
        """Save the step; no process ends before that is done."""
        self.save(trainer)
        trainer.processes.wait()

    def save(self, trainer: Training) -> None:
        """Unless nothing has happened since the last time."""
        place = (trainer.progress.epoch, trainer.progress.step)
        if trainer.processes.first and place != self._saved:
            begin = time.monotonic()
            self._save()
            self._saved, self._last = place, time.monotonic()
            self._took = self._last - begin


class StopRequests(Callback):
    """Ends the training after the step in which Ctrl-C or SIGTERM comes."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._requested = threading.Event()

    @property
    def requested(self) -> bool:
        """Whether it came, also when the training is over."""
        return self._requested.is_set()

    def on_fit_start(self, trainer: Training) -> None:
        """Listen."""
        self._requested = self._open.enter_context(stop_requests())

    def on_step(self, trainer: Training, rate: float) -> None:
        """Stop if asked to."""
        trainer.should_stop = trainer.should_stop or self._requested.is_set()

    def on_epoch_end(self, trainer: Training) -> None:
        """The same: validation takes its time."""
        self.on_step(trainer, 0.0)

    def on_fit_end(self, trainer: Training) -> None:
        """Leave signals to those who had them before."""
        self._open.close()


class RateSteering(Callback):
    """Calls the rate control of quantization-aware training with the number of steps done, after each of them."""

    def __init__(self, steer: Callable[[int], None]) -> None:
        self._steer = steer

    def on_step(self, trainer: Training, rate: float) -> None:
        """One step further."""
        self._steer(_steps_done(trainer))


class EpochFunction(Callback):
    """Calls a function with each epoch's row of `metrics.csv`; what it raises ends the training."""

    def __init__(self, function: Callable[[dict[str, float]], object]) -> None:
        self._function = function

    def on_epoch_end(self, trainer: Training) -> None:
        """One row more."""
        self._function(trainer.progress.history[-1])


class LearningRateRange(Callback):
    """Raises the learning rate from step to step, geometrically, and ends where the smoothed loss is far above its lowest.

    `rates` and `losses`, smoothed, are those of the steps so far (Smith, 2017, arXiv 1506.01186, section 3.3).
    """

    # The smoothed loss is an average over about that share of all steps; so many times the lowest one is beyond all use.
    SMOOTHING, FAR_TOO_HIGH = 0.05, 4.0

    def __init__(self, lowest: float, highest: float, steps: int) -> None:
        self._lowest, self._highest, self._steps = lowest, highest, steps
        self._keeping, self._average = 1 - 1 / max(self.SMOOTHING * steps, 1), 0.0
        self.rates: list[float] = []
        self.losses: list[float] = []

    def rate(self, done: int) -> float:
        """That of the step after so many."""
        share: float = done / max(self._steps - 1, 1)
        return float(self._lowest * (self._highest / self._lowest) ** share)

    def on_fit_start(self, trainer: Training) -> None:
        """Take the schedule's place, and look at every loss."""
        trainer.schedule, trainer.look_every = self.rate, 1

    def on_step(self, trainer: Training, rate: float) -> None:
        """One loss more."""
        self._average = self._keeping * self._average + (1 - self._keeping) * trainer.loss
        self.rates.append(rate)
        # As if the average had not begun with 0.
        self.losses.append(self._average / (1 - self._keeping ** len(self.rates)))
        trainer.should_stop |= self.losses[-1] > self.FAR_TOO_HIGH * min(self.losses)
