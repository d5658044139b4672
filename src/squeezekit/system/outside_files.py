"""Files that somebody else may have written: read whole, within a limit, with one sentence for whatever is wrong.

A pipe or a device would wait for ever or never end, and a parser may recurse as deep as a file is nested.
"""

from __future__ import annotations

import json
import os
import stat
import tomllib
from pathlib import Path
from typing import Any, NoReturn

from .errors import SqueezekitError

MOST_BYTES_OF_TEXT = 64 * 2**20
PIECE = 2**22


def open_at_once(path: str | os.PathLike[str]) -> int:
    """The descriptor of a file to read; raises OSError. Opening a pipe would otherwise wait for somebody to write to it."""
    return os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))


def read_outside_bytes(path: Path, most_bytes: int) -> bytes:
    """The content of a regular file of at most `most_bytes`; raises SqueezekitError that begins with its path."""
    try:
        descriptor = open_at_once(path)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise SqueezekitError(f"{path}: is not a file; give the path of one")
            # Piece by piece: what is asked for at once is allocated at once.
            pieces, size = list[bytes](), 0
            while size <= most_bytes and (piece := file.read(PIECE)):
                pieces.append(piece)
                size += len(piece)
    except (OSError, ValueError) as error:
        # A path with a zero byte is a ValueError.
        raise SqueezekitError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if size > most_bytes:
        raise SqueezekitError(f"{path}: is larger than {most_bytes:,} bytes, which no such file needs")
    return b"".join(pieces)


def read_outside_text(path: Path, most_bytes: int = MOST_BYTES_OF_TEXT) -> str:
    """A text file in UTF-8, without the byte order mark that some editors put first; raises SqueezekitError."""
    try:
        return read_outside_bytes(path, most_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SqueezekitError(f"{path}: is not UTF-8 (byte {error.start}); save it as UTF-8") from None


def read_outside_json(path: Path, most_bytes: int = MOST_BYTES_OF_TEXT) -> Any:
    """The value of a JSON file, whose numbers are all finite; raises SqueezekitError."""
    text = read_outside_text(path, most_bytes)
    try:
        return json.loads(text, parse_float=finite, parse_constant=finite)
    except (ValueError, RecursionError) as error:
        raise SqueezekitError(f"{path}: not valid JSON ({_reason(error)})") from None


def read_outside_toml(path: Path, most_bytes: int = MOST_BYTES_OF_TEXT) -> dict[str, Any]:
    """The tables of a TOML file; raises SqueezekitError."""
    text = read_outside_text(path, most_bytes)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise SqueezekitError(f"{path}: not valid TOML ({_reason(error)})") from None


def finite(text: str) -> float:
    """A number of JSON; raises ValueError for NaN, Infinity and what is too large for a double."""
    number = float(text)
    if not -float("inf") < number < float("inf"):
        _refuse(text)
    return number


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text[:30]} is not a finite number")


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
