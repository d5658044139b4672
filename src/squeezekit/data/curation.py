"""What somebody has decided about the pictures of a folder: labels in a file, what belongs together, what is left out."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from squeezekit.system.errors import SqueezekitError
from squeezekit.system.outside_files import read_outside_text
from squeezekit.system.paths import expanded
from squeezekit.system.shown_text import shown


@dataclass(frozen=True)
class Curation:
    """Paths of files, or "" for none.

    labels: a CSV or JSON-lines file (`read_labels`). group_by: a regular expression for the paths of pictures, or a column of
    `labels`. leave_out: a list of pictures (`read_list`).
    """

    labels: str = ""
    group_by: str = ""
    leave_out: str = ""

    def settled(self) -> Curation:
        """The same from any folder: paths made absolute."""
        labels, leave_out = (str(expanded(path).absolute()) if path else "" for path in (self.labels, self.leave_out))
        return Curation(labels, self.group_by, leave_out)

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return self != Curation()


def folder_of_labels(labels: str) -> str:
    """The folder that paths in a labels file are relative to unless another one is named."""
    return str(expanded(labels).parent)


def pattern(expression: str) -> re.Pattern[str]:
    """The regular expression of --group-by; raises SqueezekitError for what is none."""
    try:
        return re.compile(expression)
    except (re.error, RecursionError, OverflowError) as error:
        raise SqueezekitError(f"--group-by '{shown(expression)}' is no regular expression ({error}); correct it") from None


def matched(expression: re.Pattern[str], paths: Sequence[str]) -> list[str | None]:
    """For each path what the first group of the expression matches, or without groups all of it; None where nothing does."""
    found = (expression.search(path) for path in paths)
    return [match and match[1 if expression.groups else 0] for match in found]


def read_list(path: Path) -> list[str]:
    """The paths in a list, one a line; a line that begins with # is none, one that begins with a quote is a JSON string.

    Raises SqueezekitError.
    """
    paths = []
    for number, line in enumerate(read_outside_text(path).split("\n"), 1):
        line = line.removesuffix("\r")
        if not line or line.startswith("#"):
            continue
        try:
            name = json.loads(line) if line.startswith('"') else line
        except (ValueError, RecursionError):
            raise SqueezekitError(f"{path}, line {number}: begins with a quote and is no JSON string; correct it") from None
        paths.append(name)
    return paths


def list_line(path: str) -> str:
    """A path as `read_list` reads it, whatever it holds."""
    plain = path and path.isprintable() and path == path.strip() and path[0] not in '"#'
    return path if plain else json.dumps(path)
