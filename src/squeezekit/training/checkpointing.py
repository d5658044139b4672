"""When a run's state is kept."""

from __future__ import annotations

import time

from squeezekit.training.loop import Trainer
from squeezekit.training.run_folder import Run


class Saving:
    """Keeps a run's state after every epoch; on a GPU, whose epochs may be shorter than saving, in a tenth of the time.

    There too after every epoch where `always` is set, for those who read the run folder meanwhile.
    """

    def __init__(self, run: Run, trainer: Trainer, *, always: bool = False) -> None:
        self._run, self._trainer = run, trainer
        self._always = always or trainer.device.type == "cpu"
        self._took, self._last = 0.0, time.monotonic()

    @property
    def due(self) -> bool:
        """Whether to save at the end of this epoch."""
        return self._always or time.monotonic() - self._last > 9 * self._took

    def save(self) -> None:
        """By the first of several processes."""
        if self._trainer.processes.first:
            begin = time.monotonic()
            self._run.save_checkpoint(self._trainer.state(), self._trainer.progress.history, self._trainer.best)
            self._last = time.monotonic()
            self._took = self._last - begin
