"""Labels from a file: CSV with a line of titles, or JSON-lines with an object a picture."""

from __future__ import annotations

import csv
import io
import json
import posixpath
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from squeezekit.data.folder_layout import Part
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.outside_files import finite, read_outside_text
from squeezekit.system.shown_text import shortened

MOST_ROWS, LONGEST_LABEL = 2_000_000, 200
DELIMITERS = ",;\t"
SPLITS = {"train": Part.TRAINING, "": Part.TRAINING, "val": Part.VALIDATION, "test": Part.TEST}


@dataclass(frozen=True)
class LabelledPath:
    """One picture of a labels file: its path relative to the data folder, and all columns of its row as text."""

    path: str
    label: str
    part: Part
    columns: dict[str, str]
    line: int


def read_labels(file: Path) -> list[LabelledPath]:
    """The pictures that a labels file names, in its order.

    Columns: `path`, with slashes, relative to the data folder; `label`; if there is one, `split` (train, val or test, empty:
    train); any others. A file whose first line begins with { is JSON-lines, any other CSV with commas, semicolons or tabs.

    Raises SqueezekitError for a file that is not UTF-8 or too large, a missing column, a path that is absolute, leaves the folder
    or stands twice, an empty label, and an unknown split.
    """
    text = read_outside_text(file)
    read = _json_rows if text.lstrip().startswith("{") else _csv_rows
    found: dict[str, LabelledPath] = {}
    for line, columns in read(text, file):
        labelled = _labelled(file, line, columns)
        if before := found.get(labelled.path):
            raise SqueezekitError(
                f"{file}, line {line}: '{shortened(labelled.path)}' stands in line {before.line} already; keep one of them"
            )
        found[labelled.path] = labelled
        if len(found) > MOST_ROWS:
            raise SqueezekitError(f"{file}: holds more than {MOST_ROWS:,} pictures; give fewer")
    return list(found.values())


def _csv_rows(text: str, file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    delimiter = max(DELIMITERS, key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        titles = [title.strip().lower() for title in next(reader, [])]
        if lacking := [name for name in ("path", "label") if name not in titles]:
            raise SqueezekitError(f"{file}: its first line names no column '{lacking[0]}'; begin with: path,label")
        for row in reader:
            if len(row) not in (0, len(titles)):
                raise SqueezekitError(
                    f"{file}, line {reader.line_num}: has {len(row)} columns, and the first line {len(titles)}; correct it"
                )
            if row:
                yield reader.line_num, dict(zip(titles, row, strict=True))
    except csv.Error as error:
        raise SqueezekitError(f"{file}, line {reader.line_num}: not valid CSV ({error})") from None


def _json_rows(text: str, file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_float=finite, parse_constant=finite)
        except (ValueError, RecursionError):
            raise SqueezekitError(f"{file}, line {number}: not valid JSON; give one object a line") from None
        if not isinstance(row, dict) or not {"path", "label"} <= set(row):
            raise SqueezekitError(f"{file}, line {number}: is no object with 'path' and 'label'; give both")
        if wrong := [name for name, value in row.items() if not isinstance(value, str | int | float | None)]:
            raise SqueezekitError(f"{file}, line {number}: '{shortened(wrong[0])}' is neither text nor a number; make it one")
        yield number, {str(name): "" if value is None else str(value) for name, value in row.items()}


def _labelled(file: Path, line: int, columns: dict[str, str]) -> LabelledPath:
    place, path = f"{file}, line {line}", columns["path"]
    if not path or path.startswith("/") or re.match(r"[A-Za-z]:[\\/]", path) or "\0" in path:
        raise SqueezekitError(f"{place}: '{shortened(path)}' is no path relative to the folder of the pictures; give one")
    path = posixpath.normpath(path)
    if path.split("/")[0] == "..":
        raise SqueezekitError(f"{place}: '{shortened(path)}' leads out of the folder of the pictures; give one inside")
    _check_writable(place, path, columns["label"])
    label = unicodedata.normalize("NFC", columns["label"].strip())
    if not label or len(label) > LONGEST_LABEL:
        raise SqueezekitError(f"{place}: a label of {len(label)} characters; give 1 to {LONGEST_LABEL}")
    split = columns.get("split", "").strip().lower()
    if split not in SPLITS:
        raise SqueezekitError(f"{place}: split '{shortened(split)}' is unknown; give train, val or test")
    return LabelledPath(path, label, SPLITS[split], columns, line)


def _check_writable(place: str, path: str, label: str) -> None:
    try:
        label.encode(), path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise SqueezekitError(f"{place}: holds half of a character (a lone surrogate); correct it") from None
