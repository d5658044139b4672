"""A progress bar on standard error, for people only: nothing when it is not a terminal or the work is soon done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

Advance = Callable[[int], None]
PATIENCE = 0.5


@contextmanager
def progress_bar(title: str, total: int, *, done: int = 0, in_bytes: bool = False) -> Iterator[Advance]:
    """Yield a function that is called with the amount done since the last call; the bar appears after half a second."""
    console = Console(stderr=True, soft_wrap=True)
    amounts: list[ProgressColumn] = [DownloadColumn(), TransferSpeedColumn()] if in_bytes else [MofNCompleteColumn()]
    columns = [TextColumn("{task.description}"), BarColumn(), *amounts, TimeRemainingColumn()]
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(title, total=total, completed=done)
    begin = time.monotonic()
    started = False

    def advance(amount: int) -> None:
        nonlocal started
        bar.advance(task, amount)
        if not started and time.monotonic() - begin > PATIENCE:
            bar.start()
            started = True

    try:
        yield advance
    finally:
        if started:
            bar.stop()
