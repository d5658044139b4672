"""How many epochs fit into a time."""

from __future__ import annotations

import time

import torch

from squeezekit.system.console import say
from squeezekit.training.loop import Trainer

# Steps before the clock runs, so that memory is there, and on a GPU a step is recorded.
WARM_UP, WARM_UP_OF_GPU = 1, 5
# Then so many are timed, or those of so many seconds, at most a tenth of the time.
STEPS, SECONDS, TENTH = 30, 15.0, 6.0
# Of the time; the machine may become slower.
USED = 0.95


def fitting_epochs(trainer: Trainer, minutes: float, most: int | None = None) -> int:
    """Epochs, validation included, that `trainer` can train in so many minutes, by the time that some steps take; at least one.

    Where `most` is given, no more than that.

    These steps train its network, with its teacher's answers if it has one, and are part of the time: give it a trainer that is
    not needed any more.
    """
    begin = time.perf_counter()
    seconds = seconds_of_an_epoch(trainer, min(SECONDS, TENTH * minutes))
    epochs = int((60 * minutes * USED - (time.perf_counter() - begin)) / seconds)
    if epochs < 1:
        say(f"an epoch takes about {seconds / 60:.1f} minutes: one is trained; with --limit they are shorter")
    return max(min(epochs, most or epochs), 1)


def seconds_of_an_epoch(trainer: Trainer, most: float = SECONDS, steps: int = STEPS) -> float:
    """How long an epoch takes, validation included, by the time of so many steps, or of those of `most` seconds.

    These steps train its network.
    """
    # Without gradients, a third of the work.
    validation = len(trainer.validation) / sum(trainer.training.sizes) / 3
    return _seconds_of_a_step(trainer, most, steps) * trainer.training.steps * (1 + validation)


def _seconds_of_a_step(trainer: Trainer, most: float, steps: int) -> float:
    trainer.network.train()
    warm_up = WARM_UP_OF_GPU if trainer.device.type == "cuda" else WARM_UP
    begin, number = 0.0, 0
    while True:
        for images, labels, answers in trainer.batches():
            trainer.step(images, labels, trainer.rate, answers)
            number += 1
            if number == warm_up:
                begin = _now(trainer)
            elif number == warm_up + steps or (number > warm_up and _now(trainer) - begin > most):
                return (_now(trainer) - begin) / (number - warm_up)
        trainer.progress.epoch += 1


def _now(trainer: Trainer) -> float:
    if trainer.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
