"""What a report is made of: sections of paragraphs, tables, plots and pictures, in one language."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["text", "integer", "percent", "loss", "number"]


@dataclass(frozen=True)
class Column:
    """A column of a table; `kind` says how its values are shown."""

    title: str
    kind: Kind = "text"


@dataclass(frozen=True)
class Table:
    """Values as they are, numbers unrounded; `explored` tables can be sorted and filtered."""

    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    explored: bool = False
    marked: int | None = None

    def as_csv(self) -> str:
        """The same values, unrounded."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([column.title for column in self.columns])
        writer.writerows(self.rows)
        return text.getvalue()


@dataclass(frozen=True)
class Plot:
    """A drawing in SVG, and the values that it shows."""

    name: str
    caption: str
    svg: str
    data: Table


@dataclass(frozen=True)
class Paragraph:
    """Text."""

    text: str


@dataclass(frozen=True)
class Listing:
    """Text as it is, such as a file."""

    caption: str
    text: str


@dataclass(frozen=True)
class Pictures:
    """Rows of images, each with its title, as `data:` addresses."""

    caption: str
    rows: Sequence[tuple[str, str]]


Block = Table | Plot | Paragraph | Listing | Pictures


@dataclass(frozen=True)
class Section:
    """A title and what stands below it."""

    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)
