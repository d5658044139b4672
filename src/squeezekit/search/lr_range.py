"""Which learning rate? A training whose rate rises from far too low to far too high shows it in an epoch."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeezekit.data.sources import data_name
from squeezekit.system.errors import RunFailed, SqueezekitError
from squeezekit.system.paths import expanded
from squeezekit.system.presentation import Row, Tabular
from squeezekit.training.callbacks import LearningRateRange, ProgressBar
from squeezekit.training.device import keep_freed_memory
from squeezekit.training.distributed import Processes
from squeezekit.training.interruption import Diverged
from squeezekit.training.loop import Trainer
from squeezekit.training.run_images import fitting_batch_size
from squeezekit.training.settings import resolve
from squeezekit.training.start import start_run, trainer_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Small sets are gone through more than once.
LEAST_STEPS = 100
# The suggestion, as a share of the rate at which the smoothed loss is lowest.
PRUDENCE = 0.1


@dataclass(frozen=True, repr=False)
class LrRange(Tabular):
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

    def plot(self) -> Figure:
        """Smoothed loss against learning rate, the suggested one marked."""
        from squeezekit.system.figures import rates_figure

        return rates_figure(self.rates, self.losses, self.suggested)

    def _shown(self) -> Row:
        muon = {} if self.muon_rate is None else {"muon_rate": self.muon_rate}
        return {"suggested": self.suggested, **muon, "lowest": self.lowest, "steps": len(self.rates)}

    def _records(self) -> Sequence[Row]:
        return [{"rate": rate, "loss": loss} for rate, loss in zip(self.rates, self.losses, strict=True)]


def lr_range(
    data: Any,
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
    file = expanded(config) if config else None
    if data is not None:
        fields["data"] = data_name(data)
    found = _rising(resolve(network=network, recipe=recipe, config=file, fields=fields), from_rate, to_rate, fields.get("epochs"))
    trainer, rates, losses = found
    best = min(range(len(losses)), key=losses.__getitem__)
    if best == 0 or losses[best] > 0.99 * losses[0]:
        raise RunFailed(f"the loss falls at no rate from {from_rate:g} to {to_rate:g}; try others, or --batch-norm if it is off")
    suggested, used = float(f"{PRUDENCE * rates[best]:.2g}"), trainer.recipe
    muon = used.muon_rate * suggested / used.learning_rate if used.optimizer == "muon" else None
    return LrRange(rates, losses, rates[best], suggested, muon and float(f"{muon:.2g}"))


def _rising(
    settings: tuple[dict[str, Any], dict[str, Any], dict[str, Any]], from_rate: float, to_rate: float, epochs: int | None
) -> tuple[Trainer, list[float], list[float]]:
    """The trainer, rates and smoothed losses."""
    with tempfile.TemporaryDirectory() as folder:
        opened = start_run(Path(folder) / "run", *settings)
        run, source = opened.run, opened.source
        assert source is not None
        images = len(run.split.training)
        steps = -(-images // fitting_batch_size(run.config.recipe.batch_size, images))
        changes = {"epochs": int(epochs or -(-LEAST_STEPS // steps)), "patience": 0}
        run.config = run.config.model_copy(update={"recipe": run.config.recipe.model_copy(update=changes)})
        keep_freed_memory()
        trainer = trainer_of(
            run, source.training, Processes(), network=opened.network, teacher=opened.teacher, unlabelled=opened.unlabelled
        )
    rising = LearningRateRange(from_rate, to_rate, trainer.recipe.epochs * trainer.training.steps)
    with suppress(Diverged):
        trainer.fit([rising, ProgressBar("learning rate range")])
    if not rising.rates:
        raise RunFailed("the training loss is no number from the first step on; lower --min-rate")
    return trainer, rising.rates, rising.losses
