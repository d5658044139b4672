"""What a person sees while a search runs."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Group
from rich.live import Live
from rich.table import Table

from squeezekit.search.plan import StudyPlan
from squeezekit.search.results import Row, recommended
from squeezekit.system.console import console

BARS = "▁▂▃▄▅▆▇█"
MOST_ROWS = 8


class LiveTable:
    """On a terminal: running trials with their curves, the best so far, counts, time left. Elsewhere a line for each trial."""

    def __init__(self, plan: StudyPlan) -> None:
        self._screen = console()
        self._plan, self._live = plan, Live(console=self._screen, auto_refresh=False, transient=True)
        self._begin = time.monotonic()
        self._printed: set[int] | None = None
        self._ended_before = 0

    def __enter__(self) -> Self:
        if self._screen.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()

    def show(self, rows: Sequence[Row]) -> None:
        """How it stands now."""
        if self._printed is None:
            # What an earlier call has done is no measure of the time left.
            self._printed = {row.point for row in rows if row.ended}
            self._ended_before = len(self._printed)
        for row in rows:
            if row.ended and row.point not in self._printed:
                self._printed.add(row.point)
                self._screen.print(line(row, self._plan.size), markup=False, emoji=False, soft_wrap=True)
        if self._screen.is_terminal:
            self._live.update(Group(self._table(rows), self._counts(rows)), refresh=True)

    def _table(self, rows: Sequence[Row]) -> Table:
        table = Table("trial", "state", "fields", "epochs", "validation loss", box=None)
        best = recommended(rows, self._plan.size)
        running = [row for row in rows if row.state == "running"][:MOST_ROWS]
        for row in [*running, *([best] if best else [])]:
            shown = f"{row.curve[-1]:.4f} {sparkline(row.curve)}" if row.curve else ""
            state = "best so far" if row is best else row.state
            table.add_row(str(row.point), state, described(row), str(len(row.curve)), shown)
        return table

    def _counts(self, rows: Sequence[Row]) -> str:
        counts = Counter(row.state for row in rows)
        parts = [
            f"{counts[state]} {state}" for state in ("done", "stopped early", "too large", "failed", "running") if counts[state]
        ]
        ended = sum(row.ended for row in rows) - self._ended_before
        left = self._plan.trials - ended - self._ended_before
        if ended and left > 0:
            seconds = left * (time.monotonic() - self._begin) / ended
            parts.append(f"about {seconds:.0f} s left" if seconds < 120 else f"about {seconds / 60:.0f} minutes left")
        return f"{sum(row.ended for row in rows)} of {self._plan.trials}: " + ", ".join(parts)


def line(row: Row, size: str) -> str:
    """One trial that has ended."""
    result = (
        f"loss {row.loss:.4f} accuracy {row.accuracy:.1%}" if row.loss is not None and row.accuracy is not None else row.reason
    )
    return f"trial {row.point}: {described(row)}: {row.state}, {result}" + (f", {row.sizes[size]:,} {size}" if row.sizes else "")


def described(row: Row) -> str:
    """The fields that vary."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in row.fields.items()
    )


def sparkline(curve: Sequence[float]) -> str:
    """A curve in a few characters, the last twelve epochs."""
    shown = [value for value in curve[-12:] if math.isfinite(value)]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    return "".join(BARS[int((value - low) / ((high - low) or 1) * (len(BARS) - 1))] for value in shown)
