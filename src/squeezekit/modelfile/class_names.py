"""The names of the classes, as every kind of file holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..system.errors import SqueezekitError
from ..system.shown_text import shown

MAX_LENGTH = 1000


def check_class_names(names: Sequence[Any], count: int) -> None:
    """Raises SqueezekitError unless these are `count` different names, each of 1 to 1,000 characters that UTF-8 and C can write.

    Control characters are allowed: folders may have them. Whoever shows a name escapes them.
    """
    if not all(isinstance(name, str) for name in names) or not len(set(names)) == len(names) == count:
        raise SqueezekitError("damaged: its classes are not those of its network; get the file again")
    for name in names:
        if not 0 < len(name) <= MAX_LENGTH or any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in name):
            said = shown(name[:40])
            raise SqueezekitError(f"the name of class '{said}' is empty, too long or no text; give it another one")
