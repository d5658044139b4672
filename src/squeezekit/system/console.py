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

from squeezekit.system.shown_text import shown_lines

# Seconds before a bar shows itself.
PATIENCE = 0.5
_silent: ContextVar[bool] = ContextVar("silent", default=False)
# That of the bar on the screen: what is said meanwhile goes above the bar.
_of_bar: ContextVar[Console | None] = ContextVar("of_bar", default=None)


def console() -> Console:
    """The console on standard error; names and paths are never wrapped or cut when it is not a terminal."""
    quiet, of_bar = _silent.get(), _of_bar.get()
    if of_bar and not quiet:
        return of_bar
    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty(), quiet=quiet)


@contextmanager
def silence() -> Iterator[None]:
    """Nothing is shown inside: another process or table shows how far things are."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


def say(message: str) -> None:
    """One line or several to standard error; what a terminal would obey is shown as an escape."""
    console().print(shown_lines(message), markup=False, emoji=False, soft_wrap=True)


def clock(seconds: float) -> str:
    """Seconds as a clock shows them: 0:07, 12:30, 1:02:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Advance(Protocol):
    """Moves a bar on by the amount that was done since the last call; `note` replaces what is written beside it."""

    def __call__(self, amount: int, note: str = "") -> None: ...


@contextmanager
def progress_bar(title: str, total: int, *, done: int = 0, in_bytes: bool = False, time_left: bool = True) -> Iterator[Advance]:
    """A bar that shows itself on a terminal only, after half a second, and leaves nothing behind.

    Where one is open, one inside it shows nothing.
    """
    screen, outer = console(), _of_bar.get()
    amounts: list[ProgressColumn] = [DownloadColumn(), TransferSpeedColumn()] if in_bytes else [MofNCompleteColumn()]
    title_column, note_column = (TextColumn(f"{{task.{field}}}", markup=False) for field in ("description", "fields[note]"))
    columns = [title_column, BarColumn(), *amounts, note_column, *([TimeRemainingColumn()] if time_left else [])]
    bar = Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal or outer is not None)
    task = bar.add_task(title, total=total, completed=done, note="")
    begin = time.monotonic()

    def advance(amount: int, note: str = "") -> None:
        bar.update(task, advance=amount, note=note)
        if not bar.live.is_started and time.monotonic() - begin > PATIENCE:
            bar.start()

    token = _of_bar.set(outer or screen)
    try:
        yield advance
    finally:
        _of_bar.reset(token)
        bar.stop()
