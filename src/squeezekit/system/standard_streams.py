"""Standard output and standard error that take every text, whatever the terminal and whoever started the program."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path


def prepare_standard_streams() -> None:
    """Characters that a stream cannot encode become escapes; a stream that is closed swallows what is written."""
    # Otherwise the next file that is opened would take the number of a closed stream, and what is printed would go there.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
