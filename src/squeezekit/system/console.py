"""What a person sees on standard error; results go to standard output and never through here."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

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

from squeezekit.training import launch

PATIENCE = 0.5
_silent: ContextVar[bool] = ContextVar("silent", default=False)


def console() -> Console:
    """The console on standard error; names and paths are never wrapped or cut when it is not a terminal.

    Of several processes that torchrun has started, only the first one speaks.
    """
    quiet = launch.rank() > 0 or _silent.get()
    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty(), quiet=quiet)


@contextmanager
def silence() -> Iterator[None]:
    """Nothing is shown inside: somebody else tells how far things are."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


def say(message: str) -> None:
    """One line to standard error, as it is."""
    console().print(message, markup=False, emoji=False, soft_wrap=True)


class Advance(Protocol):
    """Tells a bar how much was done since the last call, and what to write beside it."""

    def __call__(self, amount: int, note: str = "") -> None: ...


@contextmanager
def progress_bar(title: str, total: int, *, done: int = 0, in_bytes: bool = False) -> Iterator[Advance]:
    """A bar that shows itself on a terminal only, after half a second, and leaves nothing behind."""
    screen = console()
    amounts: list[ProgressColumn] = [DownloadColumn(), TransferSpeedColumn()] if in_bytes else [MofNCompleteColumn()]
    title_column, note_column = (TextColumn(f"{{task.{field}}}", markup=False) for field in ("description", "fields[note]"))
    columns = [title_column, BarColumn(), *amounts, note_column, TimeRemainingColumn()]
    bar = Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal)
    task = bar.add_task(title, total=total, completed=done, note="")
    begin = time.monotonic()

    def advance(amount: int, note: str = "") -> None:
        bar.update(task, advance=amount, note=note)
        if not bar.live.is_started and time.monotonic() - begin > PATIENCE:
            bar.start()

    try:
        yield advance
    finally:
        bar.stop()
