"""The two languages of reports: texts and number formats."""

from __future__ import annotations

import json
import math
from functools import cache
from importlib import resources
from typing import Any

from squeezekit.system.errors import SqueezekitError

LANGUAGES = ("en", "fr")
# Narrow no-break space, which French groups thousands with and sets before a percent sign.
NARROW = "\u202f"


class Language:
    """Texts by key, and numbers in the format of a language; raises SqueezekitError for an unknown code."""

    def __init__(self, code: str) -> None:
        if code not in LANGUAGES:
            raise SqueezekitError(f"--lang {code}: is unknown; choose {' or '.join(LANGUAGES)}")
        self.code, self._words = code, words(code)

    def text(self, key: str, **values: Any) -> str:
        """The sentence or word of that key, with `values` in it."""
        return self._words[key].format(**values)

    def integer(self, number: float) -> str:
        """Thousands in groups."""
        return f"{number:,.0f}".replace(",", NARROW if self.code == "fr" else ",")

    def number(self, number: float, digits: int | None = None) -> str:
        """Rounded to `digits` after the point, or else to four that count."""
        if not math.isfinite(number):
            return "∞" if number > 0 else "–∞" if number < 0 else "–"
        shown = f"{number:.4g}" if digits is None else f"{number:.{digits}f}"
        return shown.replace(".", ",") if self.code == "fr" else shown

    def percent(self, share: float, digits: int = 1) -> str:
        """A share of 0…1."""
        return self.number(100 * share, digits) + (f"{NARROW}%" if self.code == "fr" else "%")

    def shown(self, value: Any, kind: str = "text") -> str:
        """A table's value."""
        if value is None or value == "":
            return "–"
        if isinstance(value, bool):
            return self.text("yes" if value else "no")
        if not isinstance(value, int | float):
            return str(value)
        if kind == "integer":
            return self.integer(value)
        if kind == "percent":
            return self.percent(value, 2)
        return self.number(value, 4 if kind == "loss" else None)


@cache
def words(code: str) -> dict[str, str]:
    """Every sentence of a language, by key."""
    found: dict[str, str] = json.loads((resources.files(__package__) / "pages" / f"{code}.json").read_text(encoding="utf-8"))
    return found
