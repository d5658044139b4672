"""How many epochs fit into a time."""

from __future__ import annotations

import time
from itertools import chain, count

import torch

from squeezekit.system.console import say
from squeezekit.training.loop import Trainer

# Steps before the clock runs, so that kernels are chosen and memory is there; then so many, or those of so many seconds.
WARM_UP, STEPS, SECONDS = 5, 30, 15.0
# Of the time; the machine may become slower.
USED = 0.95


def fitting_epochs(trainer: Trainer, minutes: float) -> int:
    """Epochs, validation included, that `trainer` can train in so many minutes, by the time that some steps take; at least one.

    These steps train its network: give it one that is not needed any more.
    """
    seconds = _seconds_of_a_step(trainer) * trainer.training.steps
    # Without gradients, a third of the work.
    seconds *= 1 + len(trainer.validation) / len(trainer.training) / 3
    epochs = int(60 * minutes * USED / seconds)
    if not epochs:
        say(f"an epoch takes about {seconds / 60:.1f} minutes: one is trained; with --limit they are shorter")
    return max(epochs, 1)


def _seconds_of_a_step(trainer: Trainer) -> float:
    trainer.network.train()
    batches = chain.from_iterable(trainer.training.shuffled(epoch) for epoch in count())
    begin, done = 0.0, 0
    for number, (images, labels) in enumerate(batches):
        trainer.step(images, labels, trainer.rate)
        if number < WARM_UP:
            begin = _now(trainer)
            continue
        done = number + 1 - WARM_UP
        if done == STEPS or _now(trainer) - begin > SECONDS:
            break
    return (_now(trainer) - begin) / done


def _now(trainer: Trainer) -> float:
    if trainer.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
