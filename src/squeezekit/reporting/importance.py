"""How much of a study's variance each field explains by itself: the main effects of a functional ANOVA."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_POINTS = 3
Points = Sequence[Mapping[str, Any]]


def is_whole_grid(points: Points, fields: Sequence[str]) -> bool:
    """Whether every combination of values is there once."""
    combinations = {tuple(point.get(name) for name in fields) for point in points}
    count = math.prod(len({point.get(name) for point in points}) for name in fields)
    return len(combinations) == len(points) == count


def main_effects(points: Points, fields: Sequence[str], losses: Sequence[float]) -> dict[str, float]:
    """Of the variance of `losses`, one for each of `points`, the share 0…1 that each field explains alone.

    On a whole grid that is the variance of the means for each value, exactly; elsewhere the estimate of a random forest trained
    on the losses (Hutter, Hoos and Leyton-Brown, 2014), numbers replaced by their ranks. Fields with one value are left out;
    empty for fewer than three points or equal losses.
    """
    varying = [name for name in fields if len({point.get(name) for point in points}) > 1]
    if len(points) < MIN_POINTS or not float(np.var(losses)):
        return {}
    shares = (
        _grid_effects(points, varying, np.array(losses))
        if is_whole_grid(points, varying)
        else _forest_effects(points, varying, losses)
    )
    return {name: shares[name] for name in varying}


def _grid_effects(points: Points, fields: Sequence[str], losses: NDArray[np.float64]) -> dict[str, float]:
    shares = {}
    for name in fields:
        values = [point.get(name) for point in points]
        means = {value: losses[[other == value for other in values]].mean() for value in set(values)}
        shares[name] = float(np.var([means[value] for value in values]) / losses.var())
    return shares


def _forest_effects(points: Points, fields: Sequence[str], losses: Sequence[float]) -> dict[str, float]:
    import optuna
    from optuna.importance import FanovaImportanceEvaluator

    ranks_of: dict[str, dict[Any, int]] = {}
    distributions: dict[str, optuna.distributions.BaseDistribution] = {}
    for name in fields:
        values: list[Any] = [point.get(name) for point in points]
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        order = sorted(set(values)) if numbers else sorted(set(values), key=str)
        ranks_of[name] = {value: place for place, value in enumerate(order)}
        last = len(order) - 1
        if numbers:
            distributions[name] = optuna.distributions.IntDistribution(0, last)
        else:
            distributions[name] = optuna.distributions.CategoricalDistribution(range(last + 1))
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    study = optuna.create_study()
    for point, loss in zip(points, losses, strict=True):
        ranks = {name: ranks_of[name][point.get(name)] for name in fields}
        study.add_trial(optuna.create_trial(params=ranks, distributions=distributions, value=loss))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = FanovaImportanceEvaluator(seed=0).evaluate(study)
    return {name: float(found[name]) for name in fields}
