"""How results show themselves: in one line, as a small table in a notebook, as a data frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from html import escape
from typing import TYPE_CHECKING

from squeezekit.system.errors import SqueezekitError

if TYPE_CHECKING:
    import pandas

MOST_ROWS, MOST_CHARACTERS = 30, 80

Row = Mapping[str, object]


class Presented:
    """A result with a repr of one line and an HTML table for notebooks, both of what `_shown` says.

    A dataclass keeps its own repr unless it is made with `repr=False`.
    """

    def _shown(self) -> Row:
        """What matters, by name; of a dataclass everything, unless it says otherwise."""
        assert is_dataclass(self)
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={as_text(value)}' for name, value in self._shown().items())})"

    def _repr_html_(self) -> str:
        rows = ([name, as_text(value)] for name, value in self._shown().items())
        return f"<div><strong>{escape(type(self).__name__)}</strong>{html_table((), rows)}</div>"


class Tabular(Presented):
    """A result that is also a table, of the rows that `_records` gives."""

    def _records(self) -> Sequence[Row]:
        raise NotImplementedError

    def to_frame(self) -> pandas.DataFrame:
        """The table as a `pandas.DataFrame`; raises SqueezekitError where pandas is not installed."""
        try:
            import pandas
        except ImportError:
            raise SqueezekitError("a data frame needs pandas; pip install pandas") from None
        return pandas.DataFrame([dict(record) for record in self._records()])

    def _repr_html_(self) -> str:
        records = self._records()
        heads = list(dict.fromkeys(name for record in records for name in record))
        rows = ([as_text(record.get(head)) for head in heads] for record in records[:MOST_ROWS])
        more = f"<p>and {len(records) - MOST_ROWS:,} more rows</p>" if len(records) > MOST_ROWS else ""
        return super()._repr_html_() + (html_table(heads, rows) if records else "") + more


def as_text(value: object) -> str:
    """A value in a few characters of one line."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return short(", ".join(f"{name} {as_text(each)}" for name, each in value.items())) or "–"
    if isinstance(value, list | tuple):
        return short(", ".join(map(as_text, value))) or "–"
    return short(str(value))


def percent(share: float) -> str:
    """A share, 0…1, with two decimals."""
    return f"{share:.2%}"


def short(text: str) -> str:
    """At most 80 characters, none of which moves a cursor or begins a line: names come from folders and files."""
    text = "".join(character if character.isprintable() else "�" for character in text)
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"


def html_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts, which may hold anything."""
    head = f"<tr>{''.join(f'<th>{escape(text)}</th>' for text in heads)}</tr>" if heads else ""
    body = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in rows)
    return f"<table>{head}{body}</table>"
