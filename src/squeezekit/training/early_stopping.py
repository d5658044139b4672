"""Early stopping (R9), equal to Keras's EarlyStopping(restore_best_weights=True) on any sequence of losses."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class EarlyStopping:
    """Says when the validation loss has not fallen by more than `min_delta` for `patience` epochs in a row.

    `patience` 0 never stops. `best_epoch` (from 1) is the epoch whose weights are to be kept.
    """

    patience: int
    min_delta: float = 0.0
    best: float = math.inf
    best_epoch: int = 0
    epochs: int = 0

    def step(self, loss: float) -> bool:
        """Take the validation loss of one more epoch; True when training should stop."""
        self.epochs += 1
        # The first epoch is kept whatever its loss, so that there is always a best one.
        if loss + self.min_delta < self.best or self.best_epoch == 0:
            self.best_epoch = self.epochs
            self.best = loss if loss < math.inf else math.inf
        return 0 < self.patience <= self.epochs - self.best_epoch

    @property
    def improved(self) -> bool:
        """Whether the last epoch is the best."""
        return self.best_epoch == self.epochs
