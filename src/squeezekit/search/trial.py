"""One trial of a study: a run folder, reported to the study epoch by epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import optuna
from sqlalchemy.exc import SQLAlchemyError

from squeezekit.data.image_file import ReadingFailedError
from squeezekit.search.plan import StudyPlan, sizes_of
from squeezekit.search.results import FIELDS, POINT, REASON, SURPLUS, died
from squeezekit.search.space import Fields
from squeezekit.system.atomic_io import NotWritten
from squeezekit.system.console import say, silence
from squeezekit.system.errors import RunFailed
from squeezekit.system.folder_claim import InUse
from squeezekit.training.interruption import Interrupted
from squeezekit.training.run_folder import Run
from squeezekit.training.train import train


class TrialFailed(Exception):
    """A trial that cannot be trained or diverged, and is a row with its reason; or one that another worker has, and is no row."""


# Twice as long after each look, since each is a row of the study.
LOOK_AGAIN_SECONDS, MOST_SECONDS = 1.0, 120.0
OnEpoch = Callable[[dict[str, float]], None]
# Of a plan, the fields of one trial, its run folder, and what to call after each epoch.
Trains = Callable[[StudyPlan, Fields, Path, OnEpoch], Run]


def trained_here(plan: StudyPlan, fields: Fields, folder: Path, on_epoch: OnEpoch) -> Run:
    """One trial's run, trained by this process; a run that was begun is resumed."""
    with silence():
        return train(
            network=plan.network, recipe=plan.recipe, out=folder, resume=True, on_epoch=on_epoch, **{**plan.fields, **fields}
        )


class Objective:
    """Trains what Optuna draws, in `folder/0007` for point 7; a run that was begun is resumed."""

    def __init__(self, plan: StudyPlan, folder: Path, trains: Trains = trained_here) -> None:
        self.plan, self.folder, self.trains = plan, folder, trains
        self.space = plan.space_of_trials()
        self._pause = LOOK_AGAIN_SECONDS

    def __call__(self, trial: optuna.Trial) -> float | tuple[float, int]:
        """The validation loss, or loss and size where both are searched."""
        if self._superfluous(trial):
            trial.set_user_attr(SURPLUS, True)
            raise TrialFailed
        fields = self.space.suggested(trial)
        trial.set_user_attr(FIELDS, fields)
        try:
            sizes = self._sizes(trial, fields)
            run = self.trains(self.plan, fields, self.folder_of(trial.user_attrs[POINT]), self._reporter(trial))
            loss = self._report_result(trial, run)
        except (Interrupted, NotWritten, ReadingFailedError, optuna.exceptions.OptunaError, SQLAlchemyError):
            raise
        except InUse as error:
            # A worker that counts as dead has it still: no fault of the point, which comes back into the queue.
            self._wait(str(error))
            raise TrialFailed from None
        except Exception as error:
            # Whatever it is, say too little memory for one batch size: the other trials may be fine.
            trial.set_user_attr(REASON, str(error) or type(error).__name__)
            raise TrialFailed from error
        return (loss, sizes[self.plan.size]) if self.plan.sampler == "nsga2" else loss

    def _wait(self, reason: str) -> None:
        if self._pause == LOOK_AGAIN_SECONDS:
            say(reason)
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, MOST_SECONDS)

    def folder_of(self, point: int) -> Path:
        """The run folder of a point."""
        return self.folder / f"{point:04d}"

    def _superfluous(self, trial: optuna.Trial) -> bool:
        """Whether the queue was empty, or another worker has that point."""
        if POINT not in trial.user_attrs:
            return True
        others = (one for one in trial.study.get_trials(deepcopy=False) if one.number < trial.number)
        same = (one for one in others if one.user_attrs.get(POINT) == trial.user_attrs[POINT])
        return any(not died(one) and SURPLUS not in one.user_attrs for one in same)

    def _sizes(self, trial: optuna.Trial, fields: dict[str, object]) -> dict[str, int]:
        sizes = sizes_of(self.plan.config(fields))
        trial.set_user_attr("sizes", sizes)
        if reason := self.plan.limits.broken(sizes):
            trial.set_user_attr(REASON, reason)
            trial.set_user_attr("too large", True)
            raise optuna.TrialPruned
        return sizes

    def _reporter(self, trial: optuna.Trial) -> OnEpoch:
        reported: list[float] = []

        def on_epoch(row: dict[str, float]) -> None:
            # All of them, when the run was begun by another worker.
            curve = _validation_losses(self.folder_of(trial.user_attrs[POINT]))
            for loss in curve[len(reported) :]:
                reported.append(loss)
                if self.plan.sampler != "nsga2":
                    trial.report(loss, len(reported))
            trial.set_user_attr("curve", reported)
            if self.plan.sampler != "nsga2" and row["epoch"] < self.plan.config({}).recipe.epochs and trial.should_prune():
                trial.set_user_attr(REASON, f"others were better after epoch {len(reported)}")
                raise optuna.TrialPruned

        return on_epoch

    def _report_result(self, trial: optuna.Trial, run: Run) -> float:
        summary = run.summary or {}
        validation = summary["validation"]
        # A run that another worker had finished has reported nothing yet.
        trial.set_user_attr("curve", _validation_losses(run.folder))
        if not math.isfinite(validation["loss"]):
            raise RunFailed(f"the validation loss became {validation['loss']}: the run diverged; lower --learning-rate")
        trial.set_user_attr("loss", validation["loss"])
        trial.set_user_attr("loss_error", validation["loss_error"])
        trial.set_user_attr("accuracy", validation["accuracy"])
        trial.set_user_attr("seconds", summary["seconds"])
        return float(validation["loss"])


def _validation_losses(folder: Path) -> list[float]:
    return [row["validation_loss"] for row in Run(folder).history]
