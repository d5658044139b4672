"""What a person sees on standard error; results go to standard output and never through here."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def console() -> Console:
    """The console on standard error; names and paths are never wrapped or cut when it is not a terminal."""
    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


def say(message: str) -> None:
    """One line to standard error, as it is."""
    console().print(message, markup=False, emoji=False, soft_wrap=True)


def progress_bar() -> Progress:
    """A bar that shows itself on a terminal only, and leaves nothing behind."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeRemainingColumn(),
        console=console(),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
