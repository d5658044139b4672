"""Which learning rate? One that rises from far too low to far too high tells in an epoch (Smith, 2017, section 3.3)."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from squeezekit.system.console import progress_bar
from squeezekit.system.errors import RunFailed, SqueezekitError
from squeezekit.training.device import keep_freed_memory
from squeezekit.training.distributed import Processes
from squeezekit.training.loop import Trainer
from squeezekit.training.settings import resolve
from squeezekit.training.train import start_run, trainer_of

# Small sets are gone through more than once.
LEAST_STEPS = 100
# The smoothed loss is an average over about that share of all steps.
SMOOTHING = 0.05
# A smoothed loss so many times the lowest one is beyond all use.
FAR_TOO_HIGH = 4.0
# The suggestion, as a share of the rate at which the smoothed loss is lowest.
PRUDENCE = 0.1


@dataclass(frozen=True)
class LrRange:
    """Rates, and the smoothed training loss at each; `lowest` is the rate where that is lowest, `suggested` a tenth of it.

    `muon_rate` is what goes with the suggestion where the recipe uses Muon, whose own rate rises in step.
    """

    rates: list[float]
    losses: list[float]
    lowest: float
    suggested: float
    muon_rate: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def lr_range(
    data: str | Path | None,
    *,
    from_rate: float = 1e-5,
    to_rate: float = 1.0,
    network: str | None = None,
    recipe: str | None = None,
    config: str | Path | None = None,
    **fields: Any,
) -> LrRange:
    """Train with a learning rate that rises from `from_rate` to `to_rate`, geometrically, over `epochs` epochs.

    Those are 1, or of small sets as many as make a hundred steps. It ends early where the smoothed loss has risen to four times
    its lowest. Nothing is kept. Raises SqueezekitError for wrong input, RunFailed when the loss falls at no rate.
    """
    if not 0 < from_rate < to_rate:
        raise SqueezekitError(f"--min-rate {from_rate:g} --max-rate {to_rate:g}: give two rates above 0, the lower one first")
    file = Path(config).expanduser() if config else None
    if data is not None:
        fields["data"] = str(data)
    with tempfile.TemporaryDirectory() as folder:
        settings = resolve(network=network, recipe=recipe, config=file, fields=fields)
        run, source = start_run(Path(folder) / "run", *settings)
        keep_freed_memory()
        trainer = trainer_of(run, source.training, Processes())
    epochs = int(fields.get("epochs") or -(-LEAST_STEPS // trainer.training.steps))
    rates, losses = _rise(trainer, from_rate, to_rate, epochs)
    best = min(range(len(losses)), key=losses.__getitem__)
    if best == 0 or losses[best] > 0.99 * losses[0]:
        raise RunFailed(f"the loss falls at no rate from {from_rate:g} to {to_rate:g}; try others, or --batch-norm if it is off")
    suggested, used = float(f"{PRUDENCE * rates[best]:.2g}"), trainer.recipe
    muon = used.muon_rate * suggested / used.learning_rate if used.optimizer == "muon" else None
    return LrRange(rates, losses, rates[best], suggested, muon and float(f"{muon:.2g}"))


def _rise(trainer: Trainer, from_rate: float, to_rate: float, epochs: int) -> tuple[list[float], list[float]]:
    steps = epochs * trainer.training.steps
    keeping = 1 - 1 / max(SMOOTHING * steps, 1)
    trainer.network.train()
    rates, losses, average = list[float](), list[float](), 0.0
    with progress_bar("learning rate", steps) as advance:
        for step, (images, labels) in enumerate(_batches(trainer, epochs)):
            # Dropout is drawn by the step.
            trainer.progress.step = step
            rate = from_rate * (to_rate / from_rate) ** (step / max(steps - 1, 1))
            loss = float(trainer.step(images, labels, rate)[0])
            advance(1, f"rate {rate:.2g} · loss {loss:.3f}")
            if not math.isfinite(loss):
                break
            average = keeping * average + (1 - keeping) * loss
            rates.append(rate)
            # As if the average had not begun with 0.
            losses.append(average / (1 - keeping ** (step + 1)))
            if losses[-1] > FAR_TOO_HIGH * min(losses):
                break
    if not rates:
        raise RunFailed("the training loss is no number from the first step on; lower --min-rate")
    return rates, losses


def _batches(trainer: Trainer, epochs: int) -> Iterator[tuple[Tensor, Tensor]]:
    for epoch in range(epochs):
        yield from trainer.training.shuffled(epoch, 0)
