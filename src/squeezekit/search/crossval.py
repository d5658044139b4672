"""Cross-validation: every image validates once; means, intervals, and a test between two networks."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from squeezekit.networks.registry import first_problem
from squeezekit.search.curves import curve_names
from squeezekit.search.plan import StudyPlan, planned
from squeezekit.search.results import Row, as_record
from squeezekit.search.search import carry_out, csv_of, study_folder, write_result
from squeezekit.search.space import Space
from squeezekit.search.study import GRACE_SECONDS, Study
from squeezekit.system import presentation
from squeezekit.system.errors import RunFailed, SqueezekitError
from squeezekit.system.outside_files import read_outside_json
from squeezekit.system.paths import expanded
from squeezekit.system.valid_json import as_json

CONFIDENCE = 0.95
# What folds of the same images depend on beside the seed.
SPLITTING = ("limit", "folds", "labels", "group_by")


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over the folds, and a 95 % interval for the mean.

    The interval reckons with training sets that overlap: its variance is that of one training times 1 ÷ trainings + validation
    ÷ training images (Nadeau and Bengio, 2003, section 3).
    """

    mean: float
    deviation: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """The corrected resampled t-test of two cross-validations on the same folds (Nadeau and Bengio, 2003, section 3).

    `difference` is the mean of these values less that of the other's; `p` is two-sided. Differences are taken to be normal, and
    equally correlated between folds.
    """

    other: str
    difference: float
    t: float
    p: float


@dataclass(frozen=True, repr=False)
class CrossValidation(presentation.Tabular):
    """The result: accuracies 0…1 and losses of `folds` · `repeats` trainings, each by its own part of the training images.

    `to_frame()` has a row for each training.
    """

    study: str
    folds: int
    repeats: int
    rows: list[Row]
    accuracy: Spread
    loss: Spread
    against: dict[str, Comparison]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def _shown(self) -> presentation.Row:
        accuracy, percent = self.accuracy, presentation.percent
        interval = f"{percent(accuracy.low)} to {percent(accuracy.high)}"
        sizes = {"folds": self.folds, "repeats": self.repeats}
        return {
            "study": self.study,
            **sizes,
            "accuracy": percent(accuracy.mean),
            "95 % interval": interval,
            "loss": self.loss.mean,
        }

    def _records(self) -> Sequence[presentation.Row]:
        return [as_record(row) for row in self.rows]


def cross_validate(
    data: Any,
    out: str | Path,
    *,
    folds: int = 5,
    repeats: int = 1,
    against: str | Path | None = None,
    jobs: int | None = None,
    cluster: str | None = None,
    storage: str | None = None,
    grace: int = GRACE_SECONDS,
    network: str | None = None,
    recipe: str | None = None,
    config: str | Path | None = None,
    **fields: Any,
) -> CrossValidation:
    """Train a network with a recipe `folds` times, each time without another part of the training images, which validates.

    Every class is divided in proportion; `repeats` divides and trains anew, with other seeds. Test images are left alone.
    `against` is the folder of a finished cross-validation of another network or recipe on the same folds, to compare with.
    `jobs` and `cluster` are as in `search`. Runs are in `out`, and the same call continues what was stopped.

    Raises SqueezekitError for wrong input, RunFailed when a training fails, Interrupted after Ctrl-C.
    """
    begin, folder = time.monotonic(), expanded(out)
    for name, number, least in (("folds", folds, 2), ("repeats", repeats, 1)):
        if number < least:
            raise SqueezekitError(f"--{name} {number}: give at least {least}")
    first = int(fields.pop("seed", 0))
    points = Space(points=tuple({"seed": first + i // folds, "fold": i % folds} for i in range(folds * repeats)))
    fields = {**fields, "folds": folds}
    options = {"sampler": "grid", "pruner": "none", "seed": first}
    with study_folder(folder, data, config, storage):
        plan = planned(points, data=data, network=network, recipe=recipe, config=config, fields=fields, **options)
        other = _read(expanded(against), plan) if against else None
        study = Study.in_folder(folder, plan, storage, grace)
        carry_out(study, folder, jobs, cluster)
        found = _result(study, folder, folds, repeats, other, time.monotonic() - begin)
        write_result(folder / "trials.csv", csv_of(found.rows, curve_names(found.rows, plan.fields["classes"])))
        write_result(folder / "crossval.json", as_json({"plan": plan.model_dump(), **found.as_json()}, indent=2) + "\n")
        return found


def _result(study: Study, folder: Path, folds: int, repeats: int, other: _Finished | None, seconds: float) -> CrossValidation:
    rows = study.rows()
    if wrong := next((row for row in rows if row.state != "done"), None):
        raise RunFailed(f"fold {wrong.fields.get('fold')} of seed {wrong.fields.get('seed')} {wrong.state}: {wrong.reason}")
    values = {name: [getattr(row, name) for row in rows] for name in ("accuracy", "loss")}
    against = {}
    if other:
        theirs = {name: [math.nan if (value := getattr(row, name)) is None else value for row in other.rows] for name in values}
        against = {name: compared(values[name], theirs[name], folds, other.study) for name in values}
    spreads = {name: spread(values[name], folds) for name in values}
    return CrossValidation(str(folder), folds, repeats, rows, against=against, seconds=round(seconds, 1), **spreads)


def spread(values: Sequence[float], folds: int) -> Spread:
    """Of one value a fold."""
    from scipy.stats import t

    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    reach = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * deviation * _shrinkage(len(values), folds)
    return Spread(mean, deviation, mean - reach, mean + reach)


def compared(values: Sequence[float], others: Sequence[float], folds: int, name: str) -> Comparison:
    """Of values and those of another cross-validation `name`, fold by fold."""
    from scipy.stats import t

    differences = np.subtract(values, others)
    error = float(np.std(differences, ddof=1)) * _shrinkage(len(differences), folds)
    mean = float(np.mean(differences))
    statistic = mean / error if error else math.copysign(math.inf, mean) if mean else 0.0
    return Comparison(name, mean, statistic, float(2 * t.sf(abs(statistic), len(differences) - 1)))


def _shrinkage(count: int, folds: int) -> float:
    return math.sqrt(1 / count + 1 / (folds - 1))


class _Fold(BaseModel):
    accuracy: float
    loss: float | None


class _Plan(BaseModel):
    images: str
    space: dict[str, Any]
    fields: dict[str, Any]


class _Finished(BaseModel):
    """What is needed of a `crossval.json`."""

    model_config = ConfigDict(strict=True)

    study: str
    plan: _Plan
    rows: list[_Fold]


def _read(folder: Path, plan: StudyPlan) -> _Finished:
    path = folder / "crossval.json"
    if not path.exists():
        raise SqueezekitError(f"--against {folder}: not a finished cross-validation; give the --out of one")
    try:
        other = _Finished.model_validate(read_outside_json(path))
    except ValidationError as error:
        raise SqueezekitError(f"{path}: damaged ({first_problem(error)}); give the --out of another cross-validation") from None
    theirs, ours = other.plan, plan
    same = theirs.images == ours.images and theirs.space == ours.space and len(other.rows) == plan.trials
    # Not said is 0.
    if not same or any((theirs.fields.get(name) or 0) != (ours.fields.get(name) or 0) for name in SPLITTING):
        raise SqueezekitError(
            f"--against {folder}: has other folds; give the same --data, --folds, --repeats, --seed, --limit and --group-by"
        )
    return other
