"""Learning-rate schedules."""

from __future__ import annotations

import math
from dataclasses import dataclass

from squeezekit.training.recipe import Recipe


@dataclass
class Plateau:
    """Multiply the rate when the validation loss stagnates; equal to Keras's ReduceLROnPlateau.

    A loss counts as lower when it lies more than `min_delta` below the best. For `cooldown` epochs after a fall
    nothing is counted.
    """

    rate: float
    factor: float = 0.5
    patience: int = 5
    min_delta: float = 1e-4
    cooldown: int = 0
    min_rate: float = 0.0
    best: float = math.inf
    waited: int = 0
    cooling: int = 0

    def step(self, loss: float) -> bool:
        """Take the validation loss of one more epoch; True when the rate fell."""
        if self.cooling:
            self.cooling -= 1
            self.waited = 0
        if loss < self.best - self.min_delta:
            self.best, self.waited = loss, 0
            return False
        if self.cooling:
            return False
        self.waited += 1
        if self.waited < self.patience or self.rate <= self.min_rate:
            return False
        self.rate = max(self.rate * self.factor, self.min_rate)
        self.cooling, self.waited = self.cooldown, 0
        return True


def rate_at(recipe: Recipe, progress: float) -> float:
    """The learning rate of a schedule that depends only on `progress`, the share 0…1 of all steps done."""
    if recipe.schedule == "cosine":
        return recipe.learning_rate * (1 + math.cos(math.pi * progress)) / 2
    if recipe.schedule == "one-cycle":
        rising, falling = _ratio(progress, recipe.warmup), _ratio(1 - progress, 1 - recipe.warmup)
        return recipe.learning_rate * min(rising, falling)
    return recipe.learning_rate


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.inf
