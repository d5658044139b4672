"""The results of a study: one row for each point."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from pydantic import TypeAdapter

# What a trial says of its network.
SIZES = {"parameters", "macs", "bytes", "ram"}
POINT, REASON, FIELDS, SURPLUS = "point", "reason", "fields", "surplus"


@dataclass(frozen=True)
class Row:
    """A point: what was tried, and how it went.

    `state` is done, stopped early, too large, failed, running or waiting; `loss` and `accuracy` (0…1) are those of the validation
    images, `loss_error` the standard error of the loss; `curve` is the validation loss after each epoch; `sizes` are those of
    `sizes_of`.
    """

    point: int
    state: str
    fields: dict[str, Any] = field(default_factory=dict)
    loss: float | None = None
    loss_error: float | None = None
    accuracy: float | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    seconds: float | None = None
    reason: str = ""
    curve: tuple[float, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.state not in ("running", "waiting")


def as_record(row: Row) -> dict[str, Any]:
    """A row of a table: point, state, what was tried, how it went, how large it is."""
    results = {"validation_loss": row.loss, "loss_error": row.loss_error, "validation_accuracy": row.accuracy}
    return {"point": row.point, "state": row.state, **row.fields, **results, **row.sizes, "seconds": row.seconds}


def rows_of(trials: Iterable[FrozenTrial]) -> list[Row]:
    """One for each point, of the attempt that counts."""
    counting = attempts(trials)
    return [_row(counting[point]) for point in sorted(counting)]


def attempts(trials: Iterable[FrozenTrial]) -> dict[int, FrozenTrial]:
    """Of each point the first attempt that has not died, or else the last that has."""
    found: dict[int, FrozenTrial] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        if POINT not in trial.user_attrs or SURPLUS in trial.user_attrs:
            continue
        before = found.get(trial.user_attrs[POINT])
        if before is None or died(before):
            found[trial.user_attrs[POINT]] = trial
    return found


def died(trial: FrozenTrial) -> bool:
    """Whether its worker ended before it did."""
    return trial.state == TrialState.FAIL and not {REASON, SURPLUS} & set(trial.user_attrs)


def _row(trial: FrozenTrial) -> Row:
    """Raises ValueError for what no trial has reported."""
    names = ("loss", "loss_error", "accuracy", "sizes", "seconds", "curve", FIELDS, REASON, POINT)
    known = {name: trial.user_attrs[name] for name in names if name in trial.user_attrs}
    row = _ROW.validate_python({**known, "state": _state(trial)})
    measured = None not in (row.loss, row.loss_error, row.accuracy, row.seconds)
    # RAM is not known of every network.
    if row.state == "done" and not (measured and set(row.sizes) | {"ram"} == SIZES):
        raise ValueError(f"point {row.point} is done and has no result")
    return row


_ROW = TypeAdapter(Row)


def _state(trial: FrozenTrial) -> str:
    if trial.state == TrialState.PRUNED:
        return "too large" if trial.user_attrs.get("too large") else "stopped early"
    if died(trial):
        return "waiting"
    names = {TrialState.COMPLETE: "done", TrialState.FAIL: "failed", TrialState.RUNNING: "running"}
    return names.get(trial.state, "waiting")


def front(rows: Sequence[Row], size: str) -> list[Row]:
    """Those finished that no other one beats in loss and size both, the smallest first."""
    found: list[Row] = []
    for row in sorted(_done(rows), key=lambda row: (row.sizes[size], row.loss)):
        if not found or row.loss < found[-1].loss:  # type: ignore[operator]
            found.append(row)
    return found


def recommended(rows: Sequence[Row], size: str) -> Row | None:
    """The smallest within one standard error of the lowest validation loss (Breiman et al., 1984, section 3.4.3)."""
    done = _done(rows)
    if not done:
        return None
    best = min(done, key=lambda row: row.loss or 0.0)
    near = [row for row in done if (row.loss or 0.0) <= (best.loss or 0.0) + (best.loss_error or 0.0)]
    return min(near, key=lambda row: (row.sizes[size], row.loss))


def _done(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.state == "done"]
