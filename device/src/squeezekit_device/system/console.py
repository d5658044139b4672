"""What a person sees on standard error; squeezekit has bars here, which take a package of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .shown_text import shown_lines


def say(message: str) -> None:
    """One line or several to standard error; what a terminal would obey is shown as an escape."""
    print(shown_lines(message), file=sys.stderr)


@contextmanager
def progress_bar(title: str, total: int, *, done: int = 0, in_bytes: bool = False) -> Iterator[Callable[[int], None]]:
    """Says what is fetched, once, where somebody looks."""
    if sys.stderr.isatty():
        say(f"{title}: {total - done:,} {'bytes' if in_bytes else ''}")
    yield lambda amount: None
