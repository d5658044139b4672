"""What commands print: results, on standard output; messages go through `console`."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from squeezekit.system.shown_text import shown

# A column that may be folded is never narrower on a terminal.
LEAST_OF_A_FOLDED_COLUMN = 16


def show(text: str) -> None:
    """One line of a result; what a terminal would obey, or would begin another line, is shown as an escape."""
    print(shown(text))


def show_json(value: Any) -> None:
    """A result for programs, as JSON on one line; a number that JSON does not have, such as NaN, is null."""
    print(json.dumps(_finite(value), allow_nan=False))


def show_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, folds: Collection[str] = (), numbers: Collection[str] = ()
) -> None:
    """A table of texts, every one of them whole.

    The columns `folds` are broken into lines where the terminal is narrow, the others never; where standard output is no terminal
    the table is as wide as it needs. `numbers` are columns that stand at the right.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console, table = Console(highlight=False), Table()
    cells = [[shown(text) for text in row] for row in rows]
    width = 1
    for head, column in zip(heads, zip(heads, *cells, strict=True), strict=True):
        longest, folded = max(map(cell_len, column)), head in folds and console.is_terminal
        width += 3 + (min(longest, LEAST_OF_A_FOLDED_COLUMN) if folded else longest)
        table.add_column(head, no_wrap=not folded, overflow="fold", justify="right" if head in numbers else "left")
    for row in cells:
        table.add_row(*map(Text, row))
    # Rich would cut columns that are together wider than the terminal.
    Console(highlight=False, width=max(width, console.width) if console.is_terminal else width).print(table, crop=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
