"""Names for the curves of a learning-rate comparison."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from squeezekit.search.results import Row

# Shares of ln(classes), the loss of a guess.
NOT_LEARNING, DIVERGED = 0.01, 1.5
# A swing loses so large a share of what the curve gains; a curve with so large a share of swings among its epochs oscillates.
SWING, SWINGS = 0.1, 0.25
SLOW = 0.5


def curve_name(losses: Sequence[float], classes: int, best: float) -> str:
    """What to call a curve of validation losses, one an epoch, beside others of which `best` is the lowest loss.

    The first that is true: *diverging*, a loss is no number, or the last one is half above ln(classes), that of a guess, or
    more; *not learning*, all lie within 1 % of it; *oscillating*, more than a quarter of the epochs lose a tenth or more of
    what the curve gains over a guess; *slow*, it gains less than half of what the best curve gains; *stable*.
    """
    guess = math.log(classes)
    if not losses or not all(math.isfinite(loss) for loss in losses) or losses[-1] > DIVERGED * guess:
        return "diverging"
    if all(abs(loss - guess) <= NOT_LEARNING * guess for loss in losses):
        return "not learning"
    gain = guess - min(losses)
    swings = sum(after - before > SWING * abs(gain) for before, after in itertools.pairwise(losses))
    if swings > SWINGS * (len(losses) - 1):
        return "oscillating"
    return "slow" if gain < SLOW * (guess - best) else "stable"


def curve_names(rows: Sequence[Row], classes: int) -> list[str]:
    """The name of each row's curve, empty where nothing was trained."""
    lowest = [min(row.curve) for row in rows if row.curve and all(map(math.isfinite, row.curve))]
    best = min(lowest, default=math.inf)
    return [_name(row, classes, best) for row in rows]


def _name(row: Row, classes: int, best: float) -> str:
    if "diverged" in row.reason:
        return "diverging"
    return curve_name(row.curve, classes, best) if row.curve else ""
