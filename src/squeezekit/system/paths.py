"""Paths as people write them."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str | os.PathLike[str]) -> Path:
    """`path` with the home folder in place of `~` or `~name` in front; where there is no such home it stays, as in a shell."""
    written = Path(path)
    try:
        return written.expanduser()
    except RuntimeError:
        # A folder may be called `~photos`, and a user in a container need not have a home.
        return written


def anchored(model: str) -> str:
    """What a person calls a file, a folder or something known by name, from any folder: a path absolute where it exists."""
    path = expanded(model)
    return str(path.absolute() if path.exists() else model)
