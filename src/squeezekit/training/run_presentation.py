"""How a run shows itself: its results in a line, its epochs as a table and as curves."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from squeezekit.system.errors import SqueezekitError
from squeezekit.system.outside_files import read_outside_text
from squeezekit.system.presentation import Row, Tabular, percent
from squeezekit.training.progress import METRICS
from squeezekit.training.settings import RunConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class RunPresentation(Tabular):
    """What a `Run` shows; `to_frame()` has a row for each epoch, the columns of `metrics.csv`."""

    folder: Path
    config: RunConfig

    @property
    def summary(self) -> dict[str, Any] | None:
        """The results of a finished run."""
        raise NotImplementedError

    @property
    def history(self) -> list[dict[str, float]]:
        """The rows of `metrics.csv`, one for each epoch so far."""
        path = self.folder / "metrics.csv"
        if not path.exists():
            return []
        rows = csv.DictReader(io.StringIO(read_outside_text(path)))
        try:
            return [{name: float(row[name]) for name in METRICS} for row in rows]
        except (ValueError, TypeError, KeyError, csv.Error) as error:
            raise SqueezekitError(f"{path}: damaged (line {rows.line_num}: {error}); train again") from None

    def __fspath__(self) -> str:
        """A run can be given wherever its folder can."""
        return str(self.folder)

    def plot(self) -> Figure:
        """Loss and accuracy by epoch; raises SqueezekitError before the first epoch has ended."""
        from squeezekit.system.figures import curves_figure

        if not (history := self.history):
            raise SqueezekitError(f"{self.folder}: no epoch has ended yet; let it train for one")
        return curves_figure(history)

    def _records(self) -> Sequence[Row]:
        return self.history

    def _shown(self) -> Row:
        shown: dict[str, object] = {"folder": str(self.folder), "network": self.config.network.name, "data": self.config.run.data}
        try:
            history, summary = self.history, self.summary or {}
        except SqueezekitError:
            return shown | {"state": "damaged"}
        for part in ("validation", "test"):
            if found := summary.get(part):
                shown[f"{part} accuracy"] = percent(found["accuracy"])
        return shown | {"epochs": len(history), "state": "finished" if summary else "not finished"}
