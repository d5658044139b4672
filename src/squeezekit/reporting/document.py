"""The parts of a report: sections of paragraphs, tables, plots and images, in one language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from squeezekit.system.spreadsheet import csv_text

ValueFormat = Literal["text", "integer", "percent", "loss", "number"]


@dataclass(frozen=True)
class Column:
    """A column of a table; `kind` says how its values are shown."""

    title: str
    kind: ValueFormat = "text"


@dataclass(frozen=True)
class Table:
    """Unrounded values; `explored` tables can be sorted and filtered, `marked` is the index of a highlighted row."""

    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    explored: bool = False
    marked: int | None = None

    def as_csv(self) -> str:
        """Titles and unrounded values as CSV."""
        return csv_text([[column.title for column in self.columns], *self.rows])


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
    """Preformatted text, such as a file."""

    caption: str
    text: str


@dataclass(frozen=True)
class ImageRows:
    """Rows of images, each with its title, as `data:` addresses."""

    caption: str
    rows: Sequence[tuple[str, str]]


Block = Table | Plot | Paragraph | Listing | ImageRows


@dataclass(frozen=True)
class ReportSection:
    """A title and the blocks below it."""

    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)
