"""A round of training that destroys what it was given."""

from __future__ import annotations

from squeezekit.training.callbacks import Callback, Training

# Of what a network knew beyond chance, what it has lost when it is destroyed.
LOST = 0.75
# What knows so little more than chance can lose nothing.
MARGIN = 0.1


class Collapse(Callback):
    """Ends a round after two epochs in a row with less than a quarter of what the network knew when it `began`.

    `began` and `chance` are accuracies, 0…1. No later epoch regains that: learning was too fast for the network. A round that
    ends so has collapsed as well.
    """

    def __init__(self, began: float, chance: float) -> None:
        self.least = chance + (1 - LOST) * (began - chance) if began > chance + MARGIN else 0.0
        self.happened = False

    def on_fit_start(self, trainer: Training) -> None:
        """A round that was stopped may have collapsed before."""
        if trainer.progress.history:
            self.on_epoch_end(trainer)

    def on_epoch_end(self, trainer: Training) -> None:
        """Look at the accuracy of the epoch and of the one before."""
        last = [row["validation_accuracy"] for row in trainer.progress.history[-2:]]
        if max(last[-1:] if trainer.finished else [1.0, *last][-2:]) < self.least:
            self.happened = trainer.should_stop = True
