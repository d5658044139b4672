"""Tables as CSV that a spreadsheet may open: a cell of text is never run as a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from squeezekit.system.shown_text import shown

# What a spreadsheet takes for the beginning of a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV, numbers unrounded; an apostrophe stands before what would be a formula, control characters are escapes."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    return f"'{shown(value)}" if value.startswith(FORMULA) else shown(value)
